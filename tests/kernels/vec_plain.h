// F32x16 in plain code, with the tile of AVX-512, and an instruction for pairs of bf16 by the definition. So
// the sources of GEMM that the instruction sets share (kernels/cpu/*.inl.h) run on every CPU as they do on
// one with AVX-512 and BF16. The functions are those of kernels/cpu/vec_avx2.h and avx512bf16.cc. One thread
// sets `fault`, while no other computes.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/numerics.h"

#define PREFIXD_ISA plain
#define PREFIXD_INLINE static inline __attribute__((always_inline))

namespace prefixd::plain {

constexpr int kTileRows = 12;
constexpr int kPanelVectors = 2;
constexpr int kAccumulators = 24;
constexpr int kVectorRegisters = 32;
constexpr int kChunkRows = 504, kChunkColumns = 128, kPartTerms = 2048;
constexpr bool kWidensPanels = true;
constexpr int kWidePartTerms = 1024;
constexpr bool kPrefetchesOutputs = true;

struct F32x16 {
  float v[16];
};

template <typename Lane>
F32x16 Lanes(const Lane& lane) {
  F32x16 made;
  for (int i = 0; i < 16; ++i) made.v[i] = lane(i);
  return made;
}

inline void Prefetch(const void*) {}
inline void PrefetchFar(const void*) {}
inline F32x16 Zero() { return {}; }
inline F32x16 Set(float x) {
  return Lanes([&](int) { return x; });
}
inline F32x16 LoadFirst(const float* p, int n) {
  return Lanes([&](int i) { return i < n ? p[i] : 0.0f; });
}
inline F32x16 Load(const float* p) { return LoadFirst(p, 16); }
inline void StoreFirst(float* p, int n, const F32x16& a) {
  std::memcpy(p, a.v, sizeof(float) * static_cast<size_t>(n));
}
inline void Store(float* p, const F32x16& a) { StoreFirst(p, 16, a); }
inline F32x16 FromBF16(const uint16_t* p) {
  return Lanes([&](int i) { return numerics::F32FromBF16(p[i]); });
}
inline F32x16 FromF16(const uint16_t* p) {
  return Lanes([&](int i) { return numerics::F32FromF16(p[i]); });
}
inline F32x16 FirstsOfBF16(const uint32_t* p) {
  return Lanes([&](int i) { return numerics::F32FromBF16(static_cast<uint16_t>(p[i])); });
}
inline F32x16 SecondsOfBF16(const uint32_t* p) {
  return Lanes([&](int i) { return numerics::F32FromBF16(static_cast<uint16_t>(p[i] >> 16)); });
}
inline void ToBF16(uint16_t* p, const F32x16& a) {
  for (int i = 0; i < 16; ++i) p[i] = numerics::F32ToBF16(a.v[i]);
}

// What one lane computes, with subnormals, whatever the caller has set.
enum class Fault {
  kNone,
  kFirstFirst,    // the first product of a pair is added first
  kSubnormals,    // nothing flushes
  kFlushesInput,  // subnormal operands are zeros, but results remain
  kFlushesEarly,  // a product is flushed before it is added
  kSumsProducts,  // the products are added to each other, and then to the sum
  kTinyBefore,    // a result below 2^-126 is flushed that rounds to 2^-126
  kTinyAfter,     // one remains that rounds to 2^-126 with the bits of a subnormal number
  kRoundsToZero,  // cuts the last bits off instead of rounding to nearest
};
inline Fault fault = Fault::kNone;

inline float CutFma(float a, float b, float c) {
  const double exact = std::fma(static_cast<double>(a), b, static_cast<double>(c));  // of one size: exact
  const float near = static_cast<float>(exact);
  return std::abs(near) > std::abs(exact) ? std::nextafter(near, 0.0f) : near;
}
inline float TinyBeforeFma(float a, float b, float c) {
  const double exact = std::fma(static_cast<double>(a), b, static_cast<double>(c));
  return std::abs(exact) < 0x1p-126 ? std::copysign(0.0f, static_cast<float>(exact))
                                    : numerics::FlushedFma(a, b, c);
}
inline float Step(float a, float b, float c) {
  using numerics::Flushed;
  switch (fault) {
    case Fault::kSubnormals:
      return std::fma(a, b, c);
    case Fault::kFlushesInput:
      return std::fma(Flushed(a), Flushed(b), Flushed(c));
    case Fault::kFlushesEarly:
      return numerics::FlushedFma(Flushed(Flushed(a) * Flushed(b)), 1.0f, c);
    case Fault::kTinyBefore:
      return TinyBeforeFma(Flushed(a), Flushed(b), Flushed(c));
    case Fault::kTinyAfter:
      return Flushed(std::fma(Flushed(a), Flushed(b), Flushed(c)));
    case Fault::kRoundsToZero:
      return numerics::Flushed(CutFma(Flushed(a), Flushed(b), Flushed(c)));
    default:
      return numerics::FlushedFma(a, b, c);
  }
}
// a and b are pairs: the first is the low half.
inline float PairOf(uint32_t a, uint32_t b, float sum) {
  const float a0 = numerics::F32FromBF16(static_cast<uint16_t>(a));
  const float a1 = numerics::F32FromBF16(static_cast<uint16_t>(a >> 16));
  const float b0 = numerics::F32FromBF16(static_cast<uint16_t>(b));
  const float b1 = numerics::F32FromBF16(static_cast<uint16_t>(b >> 16));
  if (fault == Fault::kFirstFirst) return Step(a1, b1, Step(a0, b0, sum));
  if (fault == Fault::kSumsProducts) return Step(1.0f, Step(a0, b0, Step(a1, b1, 0.0f)), sum);
  return Step(a0, b0, Step(a1, b1, sum));
}

// Both are calls, so that the compiler moves no arithmetic across the writes of MXCSR.
[[gnu::noinline]] inline F32x16 FlushedFmas(const F32x16& a, const F32x16& b, const F32x16& c) {
  return Lanes([&](int i) { return numerics::FlushedFma(a.v[i], b.v[i], c.v[i]); });
}
struct BF16Pairs {
  uint32_t v[16];
};
[[gnu::noinline]] inline F32x16 PairsOf(const F32x16& sum, const BF16Pairs& a, const BF16Pairs& b) {
  return Lanes([&](int i) { return PairOf(a.v[i], b.v[i], sum.v[i]); });
}

// Computes `lanes` with subnormals.
template <typename Compute>
F32x16 WithSubnormals(const Compute& compute) {
  const unsigned mxcsr = _mm_getcsr();
  _mm_setcsr(mxcsr & ~0x8040u);
  const F32x16 made = compute();
  _mm_setcsr(mxcsr);
  return made;
}

// Flushes where the caller has set FTZ, as the instructions of fma and of addition do.
inline F32x16 Fma(const F32x16& a, const F32x16& b, const F32x16& c) {
  if ((_mm_getcsr() & 0x8000u) != 0) return WithSubnormals([&] { return FlushedFmas(a, b, c); });
  return Lanes([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}
inline F32x16 Add(const F32x16& a, const F32x16& b) { return Fma(a, Set(1.0f), b); }

inline BF16Pairs LoadPairs(const uint32_t* p) {
  BF16Pairs pairs;
  std::memcpy(pairs.v, p, sizeof(pairs.v));
  return pairs;
}
inline BF16Pairs SetPair(const float* p) {
  BF16Pairs pairs;
  for (uint32_t& pair : pairs.v) std::memcpy(&pair, p, sizeof(pair));
  return pairs;
}
inline F32x16 AddDots(const F32x16& sum, const BF16Pairs& a, const BF16Pairs& b) {
  return WithSubnormals([&] { return PairsOf(sum, a, b); });
}

struct UpperBytes {
  const uint8_t* table;
};
inline UpperBytes LoadUpperBytes(const void* p) { return {static_cast<const uint8_t*>(p)}; }
inline void Decompress(UpperBytes uppers, const char* codes, const char* lowers, uint32_t* first,
                       uint32_t* last) {
  for (int i = 0; i < 64; ++i) {
    const auto both = static_cast<uint8_t>(codes[i % 32]);
    const unsigned upper = uppers.table[i < 32 ? both & 0xF : both >> 4];
    const unsigned weight = upper << 8 | static_cast<uint8_t>(lowers[i]);
    uint32_t& pair = (i / 8 % 2 == 0 ? first : last)[i / 16 * 4 + i % 8 / 2];
    pair = i % 2 == 0 ? weight : pair | weight << 16;
  }
}

}  // namespace prefixd::plain
