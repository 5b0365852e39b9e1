// Vectors of 16 outputs, and the exact sums of a run (numerics rule 9), for AVX-512 (F, BW, VL, DQ), for
// AVX-512 with VNNI where PREFIXD_VNNI is defined, and for AMX beside it where PREFIXD_AMX is, too. The names
// are those of quant_avx2.h, which documents them. Pure functions; any thread.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kv_layout.h"

#if defined PREFIXD_AMX
#define PREFIXD_ISA amx
#elif defined PREFIXD_VNNI
#define PREFIXD_ISA avx512_vnni
#else
#define PREFIXD_ISA avx512
#endif
#define PREFIXD_INLINE static inline __attribute__((always_inline))
#define PREFIXD_MEMBER inline __attribute__((always_inline))

namespace prefixd::PREFIXD_ISA {

constexpr int kQuantLanes = 16;
constexpr int kQuantInTile = 12;  // with their sums as f32 they take 24 of the 32 registers
// kFewGroups: groups of rows for which no panels are unpacked. kPartRuns: as for AVX2.
#if defined PREFIXD_AMX
constexpr int kQuantTileRows = 12, kSpanPanels = 2, kFewGroups = 4, kPartRuns = 24;
#elif defined PREFIXD_VNNI
constexpr int kQuantTileRows = 6, kSpanPanels = 2, kFewGroups = 8, kPartRuns = 16;
#else
constexpr int kQuantTileRows = 12, kFewGroups = 8;
#endif

using Outputs = __m512;

PREFIXD_INLINE Outputs ZeroOutputs() { return _mm512_setzero_ps(); }
PREFIXD_INLINE Outputs LoadOutputs(const float* p) { return _mm512_loadu_ps(p); }
PREFIXD_INLINE void StoreOutputs(float* p, Outputs a) { _mm512_storeu_ps(p, a); }
PREFIXD_INLINE Outputs AddOutputs(Outputs a, Outputs b) { return _mm512_add_ps(a, b); }
PREFIXD_INLINE Outputs LoadScales(const std::byte* p) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
}
PREFIXD_INLINE Outputs MulOutputs(Outputs a, Outputs b) { return _mm512_mul_ps(a, b); }
PREFIXD_INLINE Outputs FmaOutputs(Outputs a, Outputs b, Outputs c) { return _mm512_fmadd_ps(a, b, c); }
PREFIXD_INLINE Outputs ToOutputs(__m512i a) { return _mm512_cvtepi32_ps(a); }
PREFIXD_INLINE Outputs AsOutputs(__m512i bits) { return _mm512_castsi512_ps(bits); }
PREFIXD_INLINE Outputs SpreadFloat(float a) { return _mm512_set1_ps(a); }
PREFIXD_INLINE Outputs AddScaled(Outputs a, Outputs scales, float scale, __m512i sums) {
  return _mm512_fmadd_ps(_mm512_mul_ps(scales, _mm512_set1_ps(scale)), ToOutputs(sums), a);
}
PREFIXD_INLINE Outputs LoadExponents(const std::byte* p) {
  const __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
  const __m512i small = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
  const __mmask16 is_small = _mm512_cmpgt_epi32_mask(_mm512_set1_epi32(2), e);
  return _mm512_castsi512_ps(_mm512_mask_blend_epi32(is_small, normal, small));
}

using Ints = __m512i;

PREFIXD_INLINE Ints ZeroInts() { return _mm512_setzero_si512(); }
PREFIXD_INLINE Ints LoadWeights(const std::byte* p) { return _mm512_load_si512(p); }
PREFIXD_INLINE Ints Spread(const std::byte* x) {
  int four;
  __builtin_memcpy(&four, x, sizeof(four));
  return _mm512_set1_epi32(four);
}
PREFIXD_INLINE Ints SpreadInt(int32_t a) { return _mm512_set1_epi32(a); }
PREFIXD_INLINE Ints SpreadShort(int a) { return _mm512_set1_epi16(static_cast<int16_t>(a)); }
PREFIXD_INLINE Ints SpreadByte(int a) { return _mm512_set1_epi8(static_cast<char>(a)); }
PREFIXD_INLINE Ints And(Ints a, Ints b) { return _mm512_and_si512(a, b); }
PREFIXD_INLINE Ints Or(Ints a, Ints b) { return _mm512_or_si512(a, b); }
PREFIXD_INLINE Ints AddInts(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
PREFIXD_INLINE Ints SubInts(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
PREFIXD_INLINE Ints SumOfShorts(Ints a, Ints b) { return _mm512_madd_epi16(a, b); }
PREFIXD_INLINE Ints TimesInts(Ints a, Ints b) { return _mm512_mullo_epi32(a, b); }
PREFIXD_INLINE Ints TimesShorts(Ints a, int b) {
  return _mm512_mullo_epi16(a, _mm512_set1_epi16(static_cast<int16_t>(b)));
}
template <int kBy>
PREFIXD_INLINE Ints ShiftBits(Ints a) {
  if constexpr (kBy > 0) return _mm512_slli_epi16(a, kBy);
  if constexpr (kBy < 0) return _mm512_srli_epi16(a, -kBy);
  return a;
}
PREFIXD_INLINE Ints Lookup(const int8_t* table, Ints codes) {
  const __m128i entries = _mm_load_si128(reinterpret_cast<const __m128i*>(table));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(entries), codes);
}
PREFIXD_INLINE Ints IntsOf(__m128i a, int /*vector*/) { return _mm512_cvtepi8_epi32(a); }
PREFIXD_INLINE Ints ShortsOf(__m128i a, __m128i b, int /*vector*/) {
  return _mm512_cvtepi8_epi16(_mm256_set_m128i(_mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a, b)));
}
// AVX-512 has registers for sums in any order.
PREFIXD_INLINE void InOrder(Ints& /*sum*/) {}

#ifdef PREFIXD_VNNI

#ifdef PREFIXD_AMX
constexpr bool kUnsignedX = false, kRowsOfX = true;
#else
constexpr bool kUnsignedX = true, kRowsOfX = false;
#endif
constexpr bool kShortX = false;

// A sum of 32 bits. dpbusd adds 4 products of unsigned and signed bytes to it, and does not saturate.
constexpr int StepsOfPart(int /*largest*/) { return kQuantBlock / 4; }
PREFIXD_INLINE Ints AddProducts(Ints part, Ints codes, Ints x) { return _mm512_dpbusd_epi32(part, codes, x); }
PREFIXD_INLINE Ints SumOfPart(Ints part) { return part; }
PREFIXD_INLINE Ints FactorOfPart(__m128i factors, int vector) { return IntsOf(factors, vector); }
PREFIXD_INLINE Ints SumOfPart(Ints part, Ints factor) { return TimesInts(part, factor); }

// What quant_many.inl.h takes beside that.
PREFIXD_INLINE void StoreWeights(std::byte* p, Ints a) { _mm512_store_si512(p, a); }
PREFIXD_INLINE Ints SubBytes(Ints a, Ints b) { return _mm512_sub_epi8(a, b); }
PREFIXD_INLINE Ints SumOfBytes(Ints a) { return AddProducts(ZeroInts(), SpreadByte(1), a); }
PREFIXD_INLINE Ints TimesShorts(Ints a, Ints b) { return _mm512_mullo_epi16(a, b); }
PREFIXD_INLINE Outputs SubOutputs(Outputs a, Outputs b) { return _mm512_sub_ps(a, b); }
template <int kBy>
PREFIXD_INLINE Ints ShiftInts(Ints a) {
  return _mm512_slli_epi32(a, kBy);
}

// x is packed as x + 128, which is unsigned, so a sum exceeds its value by 128 times the sum of the weights.
template <int kRows>
struct Q8Sums {
  __m512i sum[kRows], excess;
  PREFIXD_MEMBER void Clear() {
    excess = _mm512_setzero_si512();
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) sum[r] = _mm512_setzero_si512();
  }
  PREFIXD_MEMBER void Add(int r, Ints weights, Ints x) {
    if (r == 0) excess = AddProducts(excess, SpreadByte(-128), weights);
    sum[r] = AddProducts(sum[r], x, weights);
  }
  PREFIXD_MEMBER Ints Get(int r) const { return _mm512_sub_epi32(sum[r], excess); }
};

// Bytes; the second operand of a product is below 128.

#else

constexpr bool kUnsignedX = false, kShortX = false, kRowsOfX = false;

// As for AVX2.
constexpr int StepsOfPart(int largest) {
  int steps = kQuantBlock / 4;
  while (steps * 2 * largest * 127 > 32767) steps /= 2;
  return steps;
}
PREFIXD_INLINE Ints AddProducts(Ints part, Ints codes, Ints x) {
  return _mm512_add_epi16(part, _mm512_maddubs_epi16(codes, x));
}
PREFIXD_INLINE Ints SumOfPart(Ints part) { return SumOfShorts(part, _mm512_set1_epi16(1)); }
PREFIXD_INLINE Ints FactorOfPart(__m128i factors, int vector) { return ShortsOf(factors, factors, vector); }
PREFIXD_INLINE Ints SumOfPart(Ints part, Ints factor) { return SumOfShorts(part, factor); }

// As for AVX2, |w| by x with the sign of w. A pair is within 2 * 128 * 127.
template <int kRows>
struct Q8Sums {
  __m512i sum[kRows];
  PREFIXD_MEMBER void Clear() {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) sum[r] = _mm512_setzero_si512();
  }
  PREFIXD_MEMBER void Add(int r, Ints weights, Ints x) {
    const __mmask64 negative = _mm512_movepi8_mask(weights);
    const __m512i signed_x = _mm512_mask_sub_epi8(x, negative, _mm512_setzero_si512(), x);
    const __m512i pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(weights), signed_x);
    sum[r] = _mm512_add_epi32(sum[r], _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
  PREFIXD_MEMBER Ints Get(int r) const { return sum[r]; }
};
#endif

}  // namespace prefixd::PREFIXD_ISA
