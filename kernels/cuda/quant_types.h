// Quantised numbers in device code: blocks of activations, made by a warp, and the formats of weights. Device
// code; kernels/numerics.h, rule 9, has the arithmetic, and quant_order.h the order of the bytes.
#pragma once

#include "kernels/cuda/quant_order.h"
#include "kernels/cuda/types.h"

namespace prefixd::cuda {

// Adding an integer n, at most 2^22 large, to the bits of 1.5 * 2^23 adds n to the number: so a sum of
// integers that begins with these bits is an f32 with no conversion.
inline constexpr uint32_t kIntegerBase = 0x4B400000u;
inline constexpr float kIntegerBaseF32 = 0x1.8p+23f;

// A number of a block, and the scale of the block.
struct QuantizedNumber {
  int8_t integer;
  float scale;
};

// Quantises a block, of which each lane has a number. Collective over the warp.
PREFIXD_DEVICE QuantizedNumber QuantizeOfBlock(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x) & 0x7FFFFFFFu;  // ascend with the sizes; a NaN is the largest
  for (int mask = 16; mask > 0; mask /= 2) {
    const uint32_t other = device::ShuffleXor(bits, mask);
    bits = bits < other ? other : bits;
  }
  const float largest = std::bit_cast<float>(bits);
  if (bits >= 0x7F800000u) return {0, std::bit_cast<float>(0x7FC00000u)};
  if (largest < numerics::kQuantLeast) return {0, 0.0f};
  const float scaled = device::Mul(x, device::Div(127.0f, largest));
  const uint32_t sum = std::bit_cast<uint32_t>(device::Add(scaled, kIntegerBaseF32));  // rounds to even
  return {static_cast<int8_t>(sum - kIntegerBase), device::Div(largest, 127.0f)};
}

// The type of the activations that quantised weights multiply.
struct Quantized {};

// q8_0 and q4_0. kBits: of an integer. Block: of 16 bytes of a row from ldmatrix, makes registers of a
// fragment. SumOf: the f32 of a sum of products that began with kIntegerBase.
struct Q8 {
  static constexpr int kBits = 8;
  PREFIXD_DEVICE static float SumOf(int32_t sum) {
    return device::Add(std::bit_cast<float>(sum), -kIntegerBaseF32);
  }
  PREFIXD_DEVICE static int Integer(const std::byte* row, int column) {
    return device::LoadGlobal<int8_t>(row + column);
  }
};
// Its integers are used as 16 (q - 8), which is what the halves of a byte are in their upper places.
struct Q4 {
  static constexpr int kBits = 4;
  PREFIXD_DEVICE static uint32_t Low(uint32_t word) { return (word << 4 & 0xF0F0F0F0u) ^ 0x80808080u; }
  PREFIXD_DEVICE static uint32_t High(uint32_t word) { return (word & 0xF0F0F0F0u) ^ 0x80808080u; }
  PREFIXD_DEVICE static float SumOf(int32_t sum) {
    return device::Fma(std::bit_cast<float>(sum), 0x1p-4f, -kIntegerBaseF32 * 0x1p-4f);
  }
  PREFIXD_DEVICE static int Integer(const std::byte* row, int column) {
    const int pair = device::LoadGlobal<uint8_t>(row + column / kQuantBlock * 16 + column % 16);
    return (column % kQuantBlock < 16 ? pair & 15 : pair >> 4) - 8;
  }
};

// The two f16 scales of a word.
PREFIXD_DEVICE void WidenScales(uint32_t word, float* first, float* second) {
  *first = device::WidenF16(static_cast<uint16_t>(word));
  *second = device::WidenF16(static_cast<uint16_t>(word >> 16));
}

// Adds the products of a block to the accumulators of a lane. a, b: fragments of the integers; the scales are
// those of the rows and of the columns of the lane.
template <typename W>
PREFIXD_DEVICE void AddBlock(const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&rows)[2],
                             const float (&columns)[2], float (&acc)[4]) {
  int32_t sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = static_cast<int32_t>(kIntegerBase);
  device::Mma16832(sums, a, b);
  for (int i = 0; i < 4; ++i)
    acc[i] = device::Fma(device::Mul(rows[i / 2], columns[i % 2]), W::SumOf(sums[i]), acc[i]);
}

}  // namespace prefixd::cuda
