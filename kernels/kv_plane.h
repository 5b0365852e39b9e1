// K or V of one token and head in a plane of host memory, in the order of the CPU backends
// (kernels/kv_layout.h). Plain code for every type, which the fast kernels must equal: for `ref`, for tests
// and for measurements. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kv_layout.h"

namespace prefixd {

enum class KvPart : uint8_t { kK, kV };

// Stores the numbers head[head_dim] as token `token` of a plane: rounded to the type, or quantised by rule 10
// of kernels/numerics.h. Requires 0 <= token < block_tokens.
void StoreHead(const KvLayout& layout, KvPart part, int token, const float* head, std::byte* plane);

// Returns the number of dimension d of a token. Requires 0 <= token < block_tokens and 0 <= d < head_dim.
float LoadNumber(const KvLayout& layout, KvPart part, const std::byte* plane, int token, int d);

}  // namespace prefixd
