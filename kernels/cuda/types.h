// The types of stored elements in device code, and what every kernel does with a warp. Device code; the
// conversions are those of kernels/numerics.h.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/numerics.h"

namespace prefixd::cuda {

struct Bf16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};

PREFIXD_DEVICE float ToF32(Bf16 value) { return numerics::F32FromBF16(value.bits); }
PREFIXD_DEVICE float ToF32(F16 value) { return numerics::F32FromF16(value.bits); }
PREFIXD_DEVICE float ToF32(float value) { return value; }

template <typename T>
struct Rounded;
template <>
struct Rounded<Bf16> {
  PREFIXD_DEVICE static Bf16 From(float value) { return {numerics::F32ToBF16(value)}; }
  static constexpr device::HalfType kHalf = device::HalfType::kBF16;
};
template <>
struct Rounded<F16> {
  PREFIXD_DEVICE static F16 From(float value) { return {numerics::F32ToF16(value)}; }
  static constexpr device::HalfType kHalf = device::HalfType::kF16;
};
template <>
struct Rounded<float> {
  PREFIXD_DEVICE static float From(float value) { return value; }
};

PREFIXD_DEVICE float LoadF32(const float* at) { return device::LoadGlobal<float>(at); }

// kernels/cuda/numerics.h, rule 2. Collective over the warp; every lane gets the sum.
PREFIXD_DEVICE float WarpSum(float value) {
  for (int mask = 16; mask > 0; mask /= 2)
    value =
        device::Add(value, std::bit_cast<float>(device::ShuffleXor(std::bit_cast<uint32_t>(value), mask)));
  return value;
}

// Exp of kernels/numerics.h.
PREFIXD_DEVICE float Exp(float x) {
  using namespace numerics;  // NOLINT: the constants
  if (x < kExpMin) return 0.0f;
  if (x > kExpMax) return std::bit_cast<float>(0x7F800000u);
  const float shifted = device::Fma(x, kLog2E, kRound);
  const float n = device::Add(shifted, -kRound);
  const float r = device::Fma(n, -kLn2Low, device::Fma(n, -kLn2High, x));
  float p = device::Fma(kExp6, r, kExp5);
  p = device::Fma(p, r, kExp4);
  p = device::Fma(p, r, kExp3);
  p = device::Fma(p, r, kExp2);
  p = device::Fma(p, r, 1.0f);
  p = device::Fma(p, r, 1.0f);
  return device::Mul(p, std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) << 23) + 0x3F800000u));
}

}  // namespace prefixd::cuda
