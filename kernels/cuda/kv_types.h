// How KV of each type is stored on a device, and the numbers that attention makes of it. Device code; H is a
// type of elements, or a tag of a type whose numbers are expanded. numerics.h, rule 6, has the arithmetic,
// kv_order.h the order of the bytes.
//
//   Number           what q has, and what attention multiplies
//   kElement         bytes of an element in a plane
//   kExpanded        the numbers are made of the elements; others are read as they are
//   HeadBytes(dim)   of a token and head
//   Expand           of expanded ones: two numbers
//   Store            of expanded ones: stores dim d of a token. Collective over the warp, of which the lanes
//                    have 32 dims from a multiple of 32 on
#pragma once

#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/kv_order.h"
#include "kernels/cuda/quant_types.h"
#include "kernels/cuda/types.h"

namespace prefixd::cuda {

template <typename H>
struct Kv {
  using Number = H;
  static constexpr int kElement = sizeof(H);
  static constexpr bool kExpanded = false;
  PREFIXD_HOST_DEVICE static constexpr int HeadBytes(int dim) { return dim * kElement; }
};

// q8_0.
struct KvQ8 {};
template <>
struct Kv<KvQ8> {
  using Number = F16;
  static constexpr int kElement = 1;
  static constexpr bool kExpanded = true;
  PREFIXD_HOST_DEVICE static constexpr int HeadBytes(int dim) { return dim + dim / kQuantBlock * 2; }

  // The numbers of two elements, in the low bytes of `pair`, with the bits of their scale twice. The integer
  // q is made of the f16 1024 + (q + 128), whose last bits are those of q + 128.
  PREFIXD_DEVICE static uint32_t Expand(uint32_t pair, uint32_t scales) {
    const uint32_t biased = pair ^ 0x8080u;
    const uint32_t numbers = (biased & 0xFFu) | (biased & 0xFF00u) << 8 | 0x64006400u;
    return device::MulF16x2(device::AddF16x2(numbers, 0xE480E480u), scales);
  }
  PREFIXD_DEVICE static void Store(const KvBlocks& kv, std::byte* plane, int token, int d, float value) {
    const QuantizedNumber number = QuantizeOfBlock(value);
    device::StoreGlobal(plane + PlaneOffset(token, d, kv.head_dim, kElement, kv.block_tokens),
                        number.integer);
    if (device::Lane() == 0)
      device::StoreGlobal(plane + ScaleOffset(token, d / kQuantBlock, kv.head_dim, kv.block_tokens),
                          numerics::F32ToF16(number.scale));
  }
};

// fp8.
struct KvFp8 {};
template <>
struct Kv<KvFp8> {
  using Number = F16;
  static constexpr int kElement = 1;
  static constexpr bool kExpanded = true;
  PREFIXD_HOST_DEVICE static constexpr int HeadBytes(int dim) { return dim; }
  PREFIXD_DEVICE static uint32_t Expand(uint32_t pair, uint32_t /*scales*/) {
    return device::WidenE4M3x2(pair);
  }
  PREFIXD_DEVICE static void Store(const KvBlocks& kv, std::byte* plane, int token, int d, float value) {
    device::StoreGlobal(plane + PlaneOffset(token, d, kv.head_dim, kElement, kv.block_tokens),
                        numerics::F32ToE4M3(value));
  }
};

// Whether the elements of a token have scales.
template <typename H>
inline constexpr bool kHasScales = Kv<H>::HeadBytes(kQuantBlock) > kQuantBlock* Kv<H>::kElement;

// Two neighbouring dims of a token in a plane, and one dim, as 16-bit numbers. `token` is that of the block,
// and d is even in a pair.
template <typename H>
PREFIXD_DEVICE uint32_t PairInPlane(const KvBlocks& kv, const std::byte* plane, int token, int d) {
  const std::byte* const at = plane + PlaneOffset(token, d, kv.head_dim, Kv<H>::kElement, kv.block_tokens);
  if constexpr (!Kv<H>::kExpanded) {
    return device::LoadGlobal<uint32_t>(at);
  } else {
    uint32_t scale = 0;
    if constexpr (kHasScales<H>)
      scale = device::LoadGlobal<uint16_t>(plane +
                                           ScaleOffset(token, d / kQuantBlock, kv.head_dim, kv.block_tokens));
    return Kv<H>::Expand(device::LoadGlobal<uint16_t>(at), scale * 0x10001u);
  }
}
template <typename H>
PREFIXD_DEVICE uint16_t NumberInPlane(const KvBlocks& kv, const std::byte* plane, int token, int d) {
  if constexpr (!Kv<H>::kExpanded) {
    return device::LoadGlobal<uint16_t>(plane +
                                        PlaneOffset(token, d, kv.head_dim, Kv<H>::kElement, kv.block_tokens));
  } else {
    return static_cast<uint16_t>(PairInPlane<H>(kv, plane, token, d / 2 * 2) >> (d % 2 * 16));
  }
}

}  // namespace prefixd::cuda
