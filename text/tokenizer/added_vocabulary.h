// AddTokens puts added tokens into a TokenizerSpec as the tokenizers library (0.23) puts them into a
// tokenizer: those of a tokenizer.json, and after them those that other files of a model name. Plain values;
// any thread.
//
// Rules, which are those of the library
//   1. The id of a token to add is not read. A token that is added already, or is in the vocabulary, keeps
//      its id. Another one gets the next id: one past the added tokens, or the size of the vocabulary where
//      that is more.
//   2. A token that is added again takes its flags from the later one.
//   3. Once special, a token stays special. Once searched in normalised text, it stays decoded in its
//      normalised form.
//   4. A token of empty text is ignored.
#pragma once

#include <cstddef>
#include <span>

#include "base/status.h"
#include "text/tokenizer/spec.h"

namespace prefixd {

inline constexpr size_t kMaxAddedTokens = size_t{1} << 22;
inline constexpr size_t kMaxAddedTokenBytes = 1024;  // bounds the work at every position of a text

// Keeps the invariants of the spec. kUnsupported, and the spec is then of no use: the next id is taken, which
// the library does not check, or a limit above is exceeded.
Status AddTokens(std::span<const AddedTokenSpec> tokens, TokenizerSpec* spec);

}  // namespace prefixd
