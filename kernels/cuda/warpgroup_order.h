// How the multiplications of a warpgroup find K and V in a tile of attention_staged.h, and which pieces of a
// tile bulk copies bring. A tile has the order of a plane of its tokens (kv_order.h): rows of 64 dims, 128
// bytes, swizzled in groups of 8 tokens, which is the swizzle of 128 bytes of the hardware where the tile
// begins at a multiple of 1024. Pure functions, for host and device; the tests decode what they give as the
// manual of PTX defines it.
#pragma once

#include <cstdint>

#include "kernels/cuda/device_base.h"

namespace prefixd::cuda {

// The b of WarpgroupMma, with that swizzle, from the address `at` of shared memory on: a multiple of 16 in
// the first row of a group. Where the 16 elements of a column lie together, each column is a row of a group,
// and the next 8 columns are `stride_bytes` away; `leading_bytes` has no meaning. Where the elements of a row
// lie together, 64 of each are a row of a group, the next 64 are `leading_bytes` away, and the next 8 rows
// `stride_bytes`.
PREFIXD_HOST_DEVICE constexpr uint64_t MatrixDescriptor(uint32_t at, int leading_bytes, int stride_bytes) {
  constexpr uint64_t kSwizzle128 = 1;
  return (at & 0x3FFFF) >> 4 | static_cast<uint64_t>(leading_bytes >> 4) << 16 |
         static_cast<uint64_t>(stride_bytes >> 4) << 32 | kSwizzle128 << 62;
}

// Of a tile at `tile`, head_dim a multiple of 64: 16 dims of K from 16 `step` on, for the scores of its
// tokens; and V of its 16 tokens from 16 `step` on, all dims.
PREFIXD_HOST_DEVICE constexpr uint64_t KeysDescriptor(uint32_t tile, int step, int head_dim) {
  const int dim = 16 * step;
  return MatrixDescriptor(tile + static_cast<uint32_t>(dim / 64 * 1024 + dim % 64 * 2), 16, 16 * head_dim);
}
PREFIXD_HOST_DEVICE constexpr uint64_t ValuesDescriptor(uint32_t tile, int step, int head_dim) {
  return MatrixDescriptor(tile + static_cast<uint32_t>(step * 32 * head_dim), 1024, 16 * head_dim);
}

// Tokens from `first` to before `end`.
struct TokenRange {
  int first, end;
  PREFIXD_HOST_DEVICE constexpr int count() const { return end > first ? end - first : 0; }
};
// What is copied of the tile of `tokens` tokens from `tile` on, of which somebody sees [first, last]: whole
// groups of 8 tokens. What nobody sees of them is zeroed afterwards: nobody may have written it.
PREFIXD_HOST_DEVICE constexpr TokenRange CopiedTokens(int tile, int tokens, int first, int last) {
  const int begin = first / 8 * 8, end = last / 8 * 8 + 8;
  return {begin > tile ? begin : tile, end < tile + tokens ? end : tile + tokens};
}
// Of those, what one copy brings that begins with group number `group` of the tile: groups of one block,
// which lie together. Empty: no copy begins there.
PREFIXD_HOST_DEVICE constexpr TokenRange CopyOf(int tile, int group, TokenRange copied, int block_tokens) {
  const int token = tile + group * 8, in_block = token % block_tokens;
  const bool begins = token >= copied.first && (token == copied.first || in_block == 0);
  const int end = token - in_block + block_tokens;
  return {token, !begins ? token : end < copied.end ? end : copied.end};
}

}  // namespace prefixd::cuda
