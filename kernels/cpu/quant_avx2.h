// Vectors of 8 outputs, and the exact sums of a run (numerics rule 9), for AVX2. quant.inl.h is written on
// these names, which quant_avx512.h has for 16 outputs. Pure functions; any thread.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kv_layout.h"

#define PREFIXD_ISA avx2
#define PREFIXD_INLINE static inline __attribute__((always_inline))
#define PREFIXD_MEMBER inline __attribute__((always_inline))

namespace prefixd::avx2 {

constexpr int kQuantLanes = 8;      // outputs of a vector
constexpr int kQuantTileRows = 6;   // their sums of one vector take 12 of the 16 registers
constexpr int kQuantInTile = 6;     // vectors of sums of a tile, at most
constexpr int kSpanPanels = 1;      // panels that are unpacked together
constexpr int kFewGroups = 2;       // groups of rows for which no panels are unpacked
constexpr bool kUnsignedX = false;  // x is packed as it is
constexpr bool kShortX = true;      // but as shorts for many rows and weights of 8 bits
constexpr bool kRowsOfX = false;    // and not as rows
constexpr int kPartRuns = 16;       // that are unpacked at once: they, and the x of a group, fit into L1

using Outputs = __m256;  // a number of each output

PREFIXD_INLINE Outputs ZeroOutputs() { return _mm256_setzero_ps(); }
PREFIXD_INLINE Outputs LoadOutputs(const float* p) { return _mm256_loadu_ps(p); }
PREFIXD_INLINE void StoreOutputs(float* p, Outputs a) { _mm256_storeu_ps(p, a); }
PREFIXD_INLINE Outputs AddOutputs(Outputs a, Outputs b) { return _mm256_add_ps(a, b); }
PREFIXD_INLINE Outputs MulOutputs(Outputs a, Outputs b) { return _mm256_mul_ps(a, b); }
PREFIXD_INLINE Outputs FmaOutputs(Outputs a, Outputs b, Outputs c) { return _mm256_fmadd_ps(a, b, c); }
PREFIXD_INLINE Outputs ToOutputs(__m256i a) { return _mm256_cvtepi32_ps(a); }
PREFIXD_INLINE Outputs AsOutputs(__m256i bits) { return _mm256_castsi256_ps(bits); }
PREFIXD_INLINE Outputs SpreadFloat(float a) { return _mm256_set1_ps(a); }
PREFIXD_INLINE Outputs LoadScales(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}
// Returns fma(scales * scale, sums, a).
PREFIXD_INLINE Outputs AddScaled(Outputs a, Outputs scales, float scale, __m256i sums) {
  return _mm256_fmadd_ps(_mm256_mul_ps(scales, _mm256_set1_ps(scale)), ToOutputs(sums), a);
}
// The powers of two whose exponents are p[8], as E8M0 has them, halved (kernels/quant_run.cc).
PREFIXD_INLINE Outputs LoadExponents(const std::byte* p) {
  const __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
  const __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
  const __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
  return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, small, is_small));
}

// Integers of each output: 4 of 8 bits, 2 of 16 bits, or one of 32 bits.
using Ints = __m256i;

PREFIXD_INLINE Ints ZeroInts() { return _mm256_setzero_si256(); }
PREFIXD_INLINE Ints LoadWeights(const std::byte* p) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
}
PREFIXD_INLINE void StoreWeights(std::byte* p, Ints a) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(p), a);
}
// Four bytes, for every output.
PREFIXD_INLINE Ints Spread(const std::byte* x) {
  int four;
  __builtin_memcpy(&four, x, sizeof(four));
  return _mm256_set1_epi32(four);
}
PREFIXD_INLINE Ints SpreadInt(int32_t a) { return _mm256_set1_epi32(a); }
PREFIXD_INLINE Ints SpreadShort(int a) { return _mm256_set1_epi16(static_cast<int16_t>(a)); }
PREFIXD_INLINE Ints SpreadByte(int a) { return _mm256_set1_epi8(static_cast<char>(a)); }
PREFIXD_INLINE Ints And(Ints a, Ints b) { return _mm256_and_si256(a, b); }
PREFIXD_INLINE Ints Or(Ints a, Ints b) { return _mm256_or_si256(a, b); }
PREFIXD_INLINE Ints AddInts(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
PREFIXD_INLINE Ints SubInts(Ints a, Ints b) { return _mm256_sub_epi32(a, b); }
// The sum of both products of 16 bits.
PREFIXD_INLINE Ints SumOfShorts(Ints a, Ints b) { return _mm256_madd_epi16(a, b); }
// The first and third of four signed bytes as shorts, and the second and fourth.
PREFIXD_INLINE Ints EvenShorts(Ints a) { return _mm256_srai_epi16(_mm256_slli_epi16(a, 8), 8); }
PREFIXD_INLINE Ints OddShorts(Ints a) { return _mm256_srai_epi16(a, 8); }
PREFIXD_INLINE Ints TimesShorts(Ints a, int b) {
  return _mm256_mullo_epi16(a, _mm256_set1_epi16(static_cast<int16_t>(b)));
}
// Shifts 16 bits to the left, or to the right if kBy is below 0.
template <int kBy>
PREFIXD_INLINE Ints ShiftBits(Ints a) {
  if constexpr (kBy > 0) return _mm256_slli_epi16(a, kBy);
  if constexpr (kBy < 0) return _mm256_srli_epi16(a, -kBy);
  return a;
}
// table[16], by bytes of `codes`.
PREFIXD_INLINE Ints Lookup(const int8_t* table, Ints codes) {
  const __m128i entries = _mm_load_si128(reinterpret_cast<const __m128i*>(table));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(entries), codes);
}
// The bytes of the outputs of a vector, out of the 16 outputs of a panel: one as 32 bits, and two as 16 bits.
PREFIXD_INLINE Ints IntsOf(__m128i a, int vector) {
  return _mm256_cvtepi8_epi32(vector == 0 ? a : _mm_srli_si128(a, 8));
}
PREFIXD_INLINE Ints ShortsOf(__m128i a, __m128i b, int vector) {
  return _mm256_cvtepi8_epi16(vector == 0 ? _mm_unpacklo_epi8(a, b) : _mm_unpackhi_epi8(a, b));
}

// Makes the compiler compute `sum` before the sums that follow. Else it adds the products of many steps in an
// order of its own, which takes more registers than there are.
PREFIXD_INLINE void InOrder(Ints& sum) { asm volatile("" : "+x"(sum)); }

// Part of the sum of a run, for codes, which are not negative: two sums of 16 bits of each output. They hold
// the products of so many steps by codes up to `largest`.
constexpr int StepsOfPart(int largest) {
  int steps = kQuantBlock / 4;
  while (steps * 2 * largest * 127 > 32767) steps /= 2;
  return steps;
}
PREFIXD_INLINE Ints AddProducts(Ints part, Ints codes, Ints x) {
  Ints sum = _mm256_add_epi16(part, _mm256_maddubs_epi16(codes, x));
  InOrder(sum);
  return sum;
}
PREFIXD_INLINE Ints SumOfPart(Ints part) { return SumOfShorts(part, _mm256_set1_epi16(1)); }
// The sum times a factor of each output.
PREFIXD_INLINE Ints FactorOfPart(__m128i factors, int vector) { return ShortsOf(factors, factors, vector); }
PREFIXD_INLINE Ints SumOfPart(Ints part, Ints factor) { return SumOfShorts(part, factor); }

// maddubs multiplies unsigned by signed bytes and adds pairs of products: |w| by x with the sign of w. A pair
// is within 2 * 128 * 127, so nothing saturates. The sum t of 8 pairs needs more than 16 bits, and to widen
// each pair would take the only port that multiplies. So `low` is t modulo 2^16, and `high` the sum of the
// pairs shifted right by 8. What the shifts cut off sums to t - 256 * high, which is 0 .. 8 * 255, so `low`
// tells it.
template <int kRows>
struct Q8Sums {
  __m256i low[kRows], high[kRows];
  PREFIXD_MEMBER void Clear() {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) low[r] = high[r] = _mm256_setzero_si256();
  }
  // Adds the products of a step, of row r: weights [lanes][4] by four integers of x.
  PREFIXD_MEMBER void Add(int r, Ints weights, Ints x) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
    low[r] = _mm256_add_epi16(low[r], pairs);
    high[r] = _mm256_add_epi16(high[r], _mm256_srai_epi16(pairs, 8));
    asm volatile("" : "+x"(low[r]), "+x"(high[r]) : : "memory");  // row by row, or registers run out
  }
  PREFIXD_MEMBER Ints Get(int r) const {
    const __m256i rest = _mm256_sub_epi16(low[r], _mm256_slli_epi16(high[r], 8));
    return _mm256_add_epi32(_mm256_madd_epi16(high[r], _mm256_set1_epi16(256)),
                            _mm256_madd_epi16(rest, _mm256_set1_epi16(1)));
  }
};

}  // namespace prefixd::avx2
