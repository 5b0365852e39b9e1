// ByteTokenizerSpec: a tokenizer without a file, for a model whose text has no meaning. Each byte of a text
// is a token. Pure function; any thread.
#pragma once

#include "text/tokenizer/spec.h"

namespace prefixd {

// The ids 0 .. 255 are the bytes. No text gives the further ids; the id n is written " tn", so that an answer
// shows them. Satisfies the invariants of a TokenizerSpec. Requires 256 <= vocab <= kMaxTokenId + 1.
TokenizerSpec ByteTokenizerSpec(int vocab);

}  // namespace prefixd
