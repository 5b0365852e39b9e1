// Integer types that every part of prefixd shares.
#pragma once

#include <cstdint>

namespace prefixd {

using TokenId = int32_t;   // index into a model's vocabulary; valid ids are >= 0
using BlockId = uint32_t;  // index of a KV block in the pool of one tier

}  // namespace prefixd
