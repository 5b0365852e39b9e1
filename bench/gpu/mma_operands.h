// Operands for the bit probes of mma: classes that exercise one rule of mma_model.h each. Pure functions of
// (class, type, tile); any thread.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "bench/gpu/mma_model.h"

namespace prefixd::gpu {

enum class OperandClass { kNormal, kCancelling, kSubnormal, kWide, kEdge, kZeros, kOverflow, kSpecial };
struct OperandClassName {
  OperandClass value;
  const char* name;
};
inline constexpr OperandClassName kOperandClasses[] = {
    {OperandClass::kNormal, "normal"},        // all from a normal distribution
    {OperandClass::kCancelling, "cancel"},    // products cancel in pairs, but for one and a small c
    {OperandClass::kSubnormal, "subnormal"},  // subnormal operands, and results near the smallest f32
    {OperandClass::kWide, "wide"},            // exponents over the whole range without overflow
    {OperandClass::kEdge, "edge"},            // one large term, the others near 2^-25 of it
    {OperandClass::kZeros, "zeros"},          // most operands +-0, others large, c small
    {OperandClass::kOverflow, "overflow"},    // sums near 2^128; with f16, only c is near it
    {OperandClass::kSpecial, "special"},      // normal, with infinities and NaN
};

// The operands of one mma.m16n8k16: a[row][k], b[column][k], c[row][column].
struct MmaTile {
  uint16_t a[16][16];
  uint16_t b[8][16];
  float c[16][8];
};

class OperandRandom {
 public:
  explicit OperandRandom(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    uint64_t x = state_;
    x = (x ^ (x >> 32)) * 0xD6E8FEB86659FD93u;
    return x ^ (x >> 32);
  }
  int Below(int n) { return static_cast<int>((Next() >> 33) % static_cast<uint64_t>(n)); }
  int Between(int low, int high) { return low + Below(high - low + 1); }
  // Bits with a random sign and mantissa and an exponent field from low to high.
  uint16_t Input(InputType type, int low, int high) {
    const int fraction = type == InputType::kBF16 ? 7 : 10;
    const int mantissa = Below(1 << fraction), field = Between(low, high);
    return static_cast<uint16_t>(Below(2) << 15 | field << fraction | mantissa);
  }
  float F32(int low, int high) {
    const uint32_t mantissa = static_cast<uint32_t>(Below(1 << 23)), sign = static_cast<uint32_t>(Below(2));
    return std::bit_cast<float>(sign << 31 | static_cast<uint32_t>(Between(low, high)) << 23 | mantissa);
  }
  double Normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += Below(1 << 20) * 0x1p-20;
    return sum;
  }

 private:
  uint64_t state_;
};

// Rounds toward zero; any input will do for a probe.
inline uint16_t InputOf(double value, InputType type) {
  const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(value));
  if (type == InputType::kBF16) return static_cast<uint16_t>(bits >> 16);
  const int field = static_cast<int>((bits >> 23) & 0xFF) - 127 + 15;
  const uint32_t sign = (bits >> 16) & 0x8000u;
  if (field <= 0) return static_cast<uint16_t>(sign);
  return static_cast<uint16_t>(sign | static_cast<uint32_t>(field) << 10 | ((bits >> 13) & 0x3FFu));
}

inline uint16_t SpecialInput(OperandRandom& random, InputType type) {
  const uint16_t infinity = type == InputType::kBF16 ? 0x7F80 : 0x7C00;
  const int kind = random.Below(4);  // infinity twice as often as NaN; or a zero
  const uint16_t bits = kind == 0 ? 0 : kind == 1 ? static_cast<uint16_t>(infinity | 1) : infinity;
  return static_cast<uint16_t>(bits | random.Below(2) << 15);
}

// Draws an element. `operand` is 0 for A, 1 for B; `k` its place in the sum.
inline uint16_t DrawInput(OperandRandom& random, OperandClass kind, InputType type, int operand, int k) {
  const bool bf16 = type == InputType::kBF16;
  const int bias = bf16 ? 127 : 15;
  switch (kind) {
    case OperandClass::kSubnormal:
      if (!bf16) return random.Input(type, 0, 2);
      return operand == 0 ? random.Input(type, 0, 3) : random.Input(type, bias - 24, bias + 6);
    case OperandClass::kWide:
      return bf16 ? random.Input(type, bias - 61, bias + 61) : random.Input(type, 0, 30);
    case OperandClass::kEdge: {
      if (operand == 1) return random.Input(type, bias - 1, bias);
      if (k == 0) return random.Input(type, bias + (bf16 ? 0 : 15), bias + (bf16 ? 0 : 15));
      return bf16 ? random.Input(type, bias - 28, bias - 20) : random.Input(type, 0, 9);
    }
    case OperandClass::kZeros:
      if (random.Below(4) != 0) return static_cast<uint16_t>(random.Below(2) << 15);
      return bf16 ? random.Input(type, bias - 60, bias + 60) : random.Input(type, 0, 30);
    case OperandClass::kOverflow:
      return bf16 ? random.Input(type, bias + 61, bias + 63) : random.Input(type, 28, 30);
    case OperandClass::kSpecial:
      if (random.Below(100) == 0) return SpecialInput(random, type);
      return InputOf(random.Normal(), type);
    case OperandClass::kNormal:
    case OperandClass::kCancelling:
      return InputOf(random.Normal(), type);
  }
  return 0;
}

inline float DrawC(OperandRandom& random, OperandClass kind, InputType type) {
  const bool bf16 = type == InputType::kBF16;
  switch (kind) {
    case OperandClass::kNormal:
      return static_cast<float>(random.Normal() * 4);
    case OperandClass::kCancelling:
      return random.F32(127 - 40, 127 - 8);
    case OperandClass::kSubnormal:
      return bf16 ? random.F32(0, 24) : random.Below(4) == 0 ? random.F32(0, 1) : random.F32(70, 104);
    case OperandClass::kWide:
      return bf16 ? random.F32(1, 250) : random.F32(127 - 60, 127 + 40);
    case OperandClass::kEdge:
      return random.Below(4) == 0 ? random.F32(127 + 18, 127 + 28) : random.F32(127 - 30, 127);
    case OperandClass::kZeros:
      return random.Below(4) == 0 ? (random.Below(2) == 0 ? -0.0f : 0.0f) : random.F32(0, 40);
    case OperandClass::kOverflow:
      return random.F32(250, 254);
    case OperandClass::kSpecial:
      if (random.Below(100) != 0) return static_cast<float>(random.Normal());
      return random.Below(2) == 0 ? std::bit_cast<float>(0x7F800000u) : std::bit_cast<float>(0xFFC00123u);
  }
  return 0;
}

inline void DrawTile(MmaTile& tile, OperandClass kind, InputType type, uint64_t seed) {
  OperandRandom random(seed * 64 + static_cast<uint64_t>(kind) * 2 + static_cast<uint64_t>(type));
  for (auto& row : tile.a) {
    for (int k = 0; k < 16; ++k) row[k] = DrawInput(random, kind, type, 0, k);
  }
  for (auto& column : tile.b) {
    for (int k = 0; k < 16; ++k) column[k] = DrawInput(random, kind, type, 1, k);
  }
  for (auto& row : tile.c) {
    for (float& c : row) c = DrawC(random, kind, type);
  }
  if (kind != OperandClass::kCancelling) return;
  const int odd = random.Below(8);  // this pair does not cancel
  for (auto& row : tile.a) {
    for (int k = 0; k < 8; ++k) row[15 - k] = row[k];
  }
  for (auto& column : tile.b) {
    for (int k = 0; k < 8; ++k)
      column[15 - k] = static_cast<uint16_t>(column[k] ^ (k == odd ? 0x8001 : 0x8000));
  }
}

}  // namespace prefixd::gpu
