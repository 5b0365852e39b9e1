// A model of the tensor cores' mma.sync with bf16 or f16 inputs and f32 accumulation, in integers: which bits
// Hopper returns. It follows the published measurements of MMA-Sim (Li et al., 2025), except for zeros, where
// it follows an H200 (bench/results). Pure functions; any thread; no CUDA header is needed.
//
//   1. One fused sum takes `products` products and the accumulator c. The products are exact.
//   2. e is the largest exponent among the terms. That of a product is the sum of its operands' exponents;
//      a product of significands in [2, 4) is not normalised first. Subnormal operands have the smallest
//      exponent of their type. A product with a zero operand takes no part in the maximum; an accumulator of
//      zero has -126.
//   3. Each term is cut, toward zero, to a multiple of 2^(e - fraction_bits). The cut terms are added
//      exactly.
//   4. The sum is cut, toward zero, to f32 with subnormals. 2^128 and above is infinite; a sum of 0 is +0.
//   5. A NaN, infinity times zero, and infinities of both signs give the NaN 0x7FFFFFFF. Other infinities
//      stay.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>

namespace prefixd::gpu {

enum class InputType { kBF16, kF16 };

// The default is Hopper, for mma.sync and wgmma. Other values serve to find out what a device does instead.
struct MmaRule {
  int products = 16;              // Ampere: 8, so k16 is two fused sums
  int fraction_bits = 25;         // Ampere: 24
  bool zero_has_exponent = false;  // true: a zero operand has the exponent -126 in the maximum
  bool round_to_nearest = false;   // true: step 4 rounds to nearest even
};

// value = significand * 2^(exponent - fraction)
struct MmaTerm {
  int64_t significand;
  int exponent;
  int fraction;
};

inline MmaTerm TermOfBits(uint32_t bits, int exponent_bits, int fraction) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int field = static_cast<int>((bits >> fraction) & ((1u << exponent_bits) - 1));
  const int64_t mantissa = bits & ((1u << fraction) - 1);
  const int64_t magnitude = field == 0 ? mantissa : mantissa | int64_t{1} << fraction;
  const int exponent = magnitude == 0 ? -126 : std::max(field, 1) - bias;
  const bool negative = (bits >> (exponent_bits + fraction)) & 1;
  return {negative ? -magnitude : magnitude, exponent, fraction};
}

inline MmaTerm TermOf(uint16_t bits, InputType type) {
  return type == InputType::kBF16 ? TermOfBits(bits, 8, 7) : TermOfBits(bits, 5, 10);
}

inline float ValueOf(uint16_t bits, InputType type) {
  if (type == InputType::kBF16) return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  if ((bits & 0x7C00u) == 0x7C00u) {  // infinity or NaN
    return std::bit_cast<float>((bits & 0x8000u) << 16 | 0x7F800000u | (bits & 0x3FFu) << 13);
  }
  const MmaTerm term = TermOf(bits, type);
  return std::ldexp(static_cast<float>(term.significand), term.exponent - term.fraction);
}

// Returns sum * 2^unit as f32.
inline float F32OfSum(int64_t sum, int unit, const MmaRule& rule) {
  if (sum == 0) return 0.0f;
  int64_t magnitude = std::abs(sum);
  const int top = 63 - std::countl_zero(static_cast<uint64_t>(magnitude)) + unit;
  const int cut = std::max(top, -126) - 23 - unit;  // bits of `magnitude` below those of the result
  if (cut > 0) {
    const int64_t rest = cut > 62 ? magnitude : magnitude & ((int64_t{1} << cut) - 1);
    magnitude = cut > 62 ? 0 : magnitude >> cut;
    const int64_t half = cut > 62 ? std::numeric_limits<int64_t>::max() : int64_t{1} << (cut - 1);
    if (rule.round_to_nearest && (rest > half || (rest == half && (magnitude & 1) != 0))) ++magnitude;
    unit += cut;
  }
  const float value = std::ldexp(static_cast<float>(magnitude), unit);  // exact, or infinite
  return magnitude != 0 && sum < 0 ? -value : value;
}

// c plus the dot product of a[0 .. count) and b[0 .. count), in one fused sum. Requires finite operands and
// count <= 16.
inline float FusedSum(const uint16_t* a, const uint16_t* b, int count, float c, InputType type,
                      const MmaRule& rule) {
  MmaTerm terms[17];
  terms[16] = TermOfBits(std::bit_cast<uint32_t>(c), 8, 23);
  int largest = terms[16].exponent;
  for (int i = 0; i < count; ++i) {
    const MmaTerm x = TermOf(a[i], type), y = TermOf(b[i], type);
    terms[i] = {x.significand * y.significand, x.exponent + y.exponent, x.fraction + y.fraction};
    if (rule.zero_has_exponent || terms[i].significand != 0) largest = std::max(largest, terms[i].exponent);
  }
  terms[count] = terms[16];
  int64_t sum = 0;
  for (int i = 0; i <= count; ++i) {
    const int left = rule.fraction_bits - terms[i].fraction + terms[i].exponent - largest;
    const int64_t magnitude = std::abs(terms[i].significand);
    const int64_t aligned = left >= 0 ? magnitude << std::min(left, 30) : left < -62 ? 0 : magnitude >> -left;
    sum += terms[i].significand < 0 ? -aligned : aligned;
  }
  return F32OfSum(sum, largest - rule.fraction_bits, rule);
}

// c plus the dot product of a[0 .. k) and b[0 .. k): fused sums of `rule.products`, in ascending order.
inline float MmaDot(const uint16_t* a, const uint16_t* b, int k, float c, InputType type,
                    const MmaRule& rule = {}) {
  for (int begin = 0; begin < k; begin += rule.products) {
    const int count = std::min(rule.products, k - begin);
    bool finite = std::isfinite(c);
    double special = c;  // in f64 no finite sum overflows, so only operands make this infinite or NaN
    for (int i = begin; i < begin + count; ++i) {
      const float x = ValueOf(a[i], type), y = ValueOf(b[i], type);
      finite = finite && std::isfinite(x) && std::isfinite(y);
      special += static_cast<double>(x) * y;
    }
    if (finite) {
      c = FusedSum(a + begin, b + begin, count, c, type, rule);
    } else {
      c = std::isnan(special) ? std::bit_cast<float>(0x7FFFFFFFu) : static_cast<float>(special);
    }
  }
  return c;
}

}  // namespace prefixd::gpu
