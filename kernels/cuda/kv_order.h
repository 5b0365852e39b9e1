// The order of the elements of a KV block on a GPU, `gpu 1` in the fingerprint. It is that of shared memory:
// a plane (the K or the V of one head in one block) is copied straight into shared memory, and eight rows of
// an 8 x 16-byte matrix then lie in eight different groups of banks. Pure functions, for host and device.
//
// A block has the planes of kernels/kv_layout.h: K of all heads of layer 0, then V, then layer 1, and so on.
// A plane has rows of 64 dims (head_dim a multiple of 64) or 32 dims (of 32), in groups of 8 tokens:
//   64: (t / 8) 16 D + (d / 64) 1024 + (t % 8) 128 + (((d / 8) % 8) ^ (t % 8)) 16 + (d % 8) 2
//   32: (t / 8) 16 D + (d / 32)  512 + (t % 8)  64 + (((d / 8) % 4) ^ ((t / 2) % 4)) 16 + (d % 8) 2
// bytes for 16-bit elements. Blocks of fewer than 8 tokens, f32, and head_dims that are no multiple of 32
// have rows of head_dim elements in token order: only plain kernels read those. Elements of 8 bits have such
// rows, too: their numbers get the order of shared memory when they are expanded. The scales of q8_0 follow
// the elements of the plane, those of a token one after the other.
#pragma once

#include <cstddef>

#include "kernels/cuda/device_base.h"

namespace prefixd::cuda {

// The byte of element `d` of token `t` in a plane. `element` is its size in bytes.
PREFIXD_HOST_DEVICE constexpr size_t PlaneOffset(int t, int d, int head_dim, int element, int block_tokens) {
  const size_t group = static_cast<size_t>(t / 8) * 8 * static_cast<size_t>(head_dim * element);
  const bool swizzled = element == 2 && block_tokens % 8 == 0;
  if (swizzled && head_dim % 64 == 0) {
    return group + static_cast<size_t>((d / 64) * 1024 + (t % 8) * 128 + (((d / 8) % 8) ^ (t % 8)) * 16 +
                                       (d % 8) * 2);
  }
  if (swizzled && head_dim % 32 == 0) {
    return group + static_cast<size_t>((d / 32) * 512 + (t % 8) * 64 + (((d / 8) % 4) ^ ((t / 2) % 4)) * 16 +
                                       (d % 8) * 2);
  }
  return static_cast<size_t>(t * head_dim + d) * static_cast<size_t>(element);
}

// The byte of the scale of the dims from 32 `block` on of token `t` in a plane of q8_0.
PREFIXD_HOST_DEVICE constexpr size_t ScaleOffset(int t, int block, int head_dim, int block_tokens) {
  return static_cast<size_t>(block_tokens * head_dim + (t * (head_dim / 32) + block) * 2);
}

}  // namespace prefixd::cuda
