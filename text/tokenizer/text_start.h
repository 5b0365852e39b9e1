// Where a text that is encoded begins: at the start of the input, behind an added token, or within text that
// goes on. Some tokenizers add a blank at the start of the input, or behind each added token.
#pragma once

namespace prefixd {

enum class TextStart : unsigned char { kInput, kPiece, kWithin };

}  // namespace prefixd
