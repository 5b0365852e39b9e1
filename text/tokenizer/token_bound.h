// How much text a token can stand for, from what a tokenizer is made of: what tells that a text is too long
// before it is encoded. Pure; any thread.
#pragma once

#include <cstddef>

#include "text/tokenizer/spec.h"

namespace prefixd {

// A text of n bytes gives at least n / this tokens. 0: nothing can be promised, since some text leaves no
// trace in the tokens.
size_t MaxBytesPerToken(const TokenizerSpec& spec);

}  // namespace prefixd
