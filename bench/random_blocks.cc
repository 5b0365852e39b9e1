#include "bench/random_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/prng.h"
#include "kernels/numerics.h"
#include "kernels/quant_format.h"

namespace prefixd::bench {
namespace {

constexpr float kLargest = 0.02f;  // of a product; a number may be the sum of two

float LargestFactor(const QuantFormat& format) {
  if (format.factor_bits == 0) return 1;
  const bool is_signed = format.factor_zero != 0 || format.factor_bits == 8;
  return std::ldexp(1.0f, format.factor_bits - (is_signed ? 1 : 0));
}

}  // namespace

std::vector<std::byte> RandomBlocks(WeightFormat format, size_t elements) {
  const QuantFormat of = QuantFormatOf(format);
  std::vector<std::byte> blocks(elements / static_cast<size_t>(format.block()) * format.block_bytes());
  Prng prng(1);
  for (size_t at = 0; at < blocks.size(); at += sizeof(uint64_t)) {
    const uint64_t bits = prng.Next();
    std::memcpy(&blocks[at], &bits, std::min(sizeof bits, blocks.size() - at));
  }
  const int largest = std::max(of.Largest() - of.zero, of.zero);
  const float scale = kLargest / (LargestFactor(of) * static_cast<float>(largest));
  // Codes that are never negative have half of the largest one as their mean.
  const float offset = scale * static_cast<float>(largest) / 2 * (of.offset_factors ? 1.0f : -1.0f);
  const uint16_t scale_half = numerics::F32ToF16(scale), offset_half = numerics::F32ToF16(offset);
  for (size_t at = 0; at < blocks.size(); at += format.block_bytes()) {
    if (of.exponent) {
      blocks[at + of.scale_at] = static_cast<std::byte>(128 + std::ilogb(scale));  // E8M0, halved
      continue;
    }
    std::memcpy(&blocks[at + of.scale_at], &scale_half, sizeof scale_half);
    if (of.offset) std::memcpy(&blocks[at + of.offset_at], &offset_half, sizeof offset_half);
  }
  return blocks;
}

}  // namespace prefixd::bench
