// Computes the longest text that one token can encode. With it, a text that is too long can be rejected
// before it is encoded. Pure function; any thread.
#pragma once

#include <cstddef>

#include "text/tokenizer/spec.h"

namespace prefixd {

// Returns a number such that a text of n bytes gives at least n / number tokens. Returns 0 if there is no
// such number, because some text gives no tokens.
size_t MaxBytesPerToken(const TokenizerSpec& spec);

}  // namespace prefixd
