// F32x16 for AVX-512 (F, BW, VL, DQ): 16 lanes in one register. The functions are those of vec_avx2.h, which
// documents them. Pure functions; any thread.
#pragma once

#include <immintrin.h>

#include <cstdint>

#ifndef PREFIXD_ISA
#define PREFIXD_ISA avx512
#endif
#define PREFIXD_INLINE static inline __attribute__((always_inline))

namespace prefixd::PREFIXD_ISA {

// A tile of 12 rows x 2 vectors accumulates in 24 of the 32 registers.
constexpr int kTileRows = 12;
constexpr int kPanelVectors = 2;
constexpr int kAccumulators = 24;
constexpr int kVectorRegisters = 32;
constexpr int kAttentionSums = 16, kQuantAttentionSums = 16;             // attention_tile.inl.h
constexpr int kChunkRows = 504, kChunkColumns = 128, kPartTerms = 2048;  // gemm_panels.inl.h
constexpr bool kWidensPanels = true;
constexpr int kWidePartTerms = 1024;
constexpr bool kPrefetchesOutputs = true;

struct F32x16 {
  __m512 v;
};

PREFIXD_INLINE __mmask16 FirstLanes(int n) { return static_cast<__mmask16>((1u << n) - 1); }

PREFIXD_INLINE void Prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
// To L2.
PREFIXD_INLINE void PrefetchFar(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }
PREFIXD_INLINE F32x16 Zero() { return {_mm512_setzero_ps()}; }
PREFIXD_INLINE F32x16 Set(float x) { return {_mm512_set1_ps(x)}; }
PREFIXD_INLINE F32x16 Load(const float* p) { return {_mm512_loadu_ps(p)}; }
PREFIXD_INLINE F32x16 LoadFirst(const float* p, int n) { return {_mm512_maskz_loadu_ps(FirstLanes(n), p)}; }
PREFIXD_INLINE void Store(float* p, F32x16 a) { _mm512_storeu_ps(p, a.v); }
PREFIXD_INLINE void StoreFirst(float* p, int n, F32x16 a) { _mm512_mask_storeu_ps(p, FirstLanes(n), a.v); }
PREFIXD_INLINE F32x16 SelectFirst(int n, F32x16 a, F32x16 b) {
  return {_mm512_mask_blend_ps(FirstLanes(n), b.v, a.v)};
}

PREFIXD_INLINE F32x16 Add(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
PREFIXD_INLINE F32x16 Sub(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
PREFIXD_INLINE F32x16 Mul(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
PREFIXD_INLINE F32x16 Div(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
PREFIXD_INLINE F32x16 Sqrt(F32x16 a) { return {_mm512_sqrt_ps(a.v)}; }
PREFIXD_INLINE F32x16 Max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
PREFIXD_INLINE F32x16 Negate(F32x16 a) { return {_mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f))}; }
PREFIXD_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
PREFIXD_INLINE F32x16 WhereLess(F32x16 x, F32x16 y, F32x16 a, F32x16 b) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.v, y.v, _CMP_LT_OQ), b.v, a.v)};
}
PREFIXD_INLINE F32x16 LowBitsAsPowerOfTwo(F32x16 a) {
  const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(a.v), 23);
  return {_mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3F800000)))};
}

PREFIXD_INLINE F32x16 FromBF16(const uint16_t* p) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16))};
}
// Another order of the elements would gain nothing (vec_avx2.h).
constexpr bool kSplitsBF16 = false;
PREFIXD_INLINE F32x16 SplitBF16(const uint16_t* p) { return FromBF16(p); }
PREFIXD_INLINE F32x16 Split(F32x16 a) { return a; }
PREFIXD_INLINE F32x16 Join(F32x16 a) { return a; }
PREFIXD_INLINE F32x16 FromF16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
PREFIXD_INLINE F32x16 SecondsOfBF16(const uint32_t* p) {
  return {_mm512_castsi512_ps(
      _mm512_and_epi32(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xFFFF0000))))};
}
PREFIXD_INLINE F32x16 FirstsOfBF16(const uint32_t* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16))};
}
struct UpperBytes {
  __m512i v;
};
PREFIXD_INLINE UpperBytes LoadUpperBytes(const void* p) {
  return {_mm512_broadcast_i32x4(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}
PREFIXD_INLINE void Decompress(UpperBytes uppers, const char* codes, const char* lowers, uint32_t* first,
                               uint32_t* last) {
  const __m512i both = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
  const __m512i shifted = _mm512_srlv_epi64(both, _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4));
  const __m512i upper = _mm512_shuffle_epi8(uppers.v, _mm512_and_si512(shifted, _mm512_set1_epi8(0xF)));
  const __m512i lower = _mm512_loadu_si512(lowers);
  _mm512_storeu_si512(first, _mm512_unpacklo_epi8(lower, upper));
  _mm512_storeu_si512(last, _mm512_unpackhi_epi8(lower, upper));
}
PREFIXD_INLINE void ToBF16(uint16_t* p, F32x16 a) {
  const __m512i bits = _mm512_castps_si512(a.v);
  const __m512i upper = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
  const __m512i sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  const __m512i quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  const __m512i half = _mm512_mask_blend_epi32(nan, _mm512_srli_epi32(sum, 16), quiet);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(half));
}
PREFIXD_INLINE void ToF16(uint16_t* p, F32x16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}

PREFIXD_INLINE F32x16 SetF16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_set1_epi16(static_cast<int16_t>(*p)))};
}
PREFIXD_INLINE F32x16 FromI8(const int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
PREFIXD_INLINE void ToI8(int8_t* p, F32x16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.v)));
}

PREFIXD_INLINE float MergeSum(F32x16 a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
PREFIXD_INLINE float MergeMax(F32x16 a) { return _mm512_reduce_max_ps(a.v); }

struct U32x8 {
  __m512i v;
};

PREFIXD_INLINE U32x8 SetU32(uint32_t x) { return {_mm512_set1_epi64(x)}; }
PREFIXD_INLINE U32x8 CountFrom(uint32_t first) {
  return {_mm512_add_epi32(_mm512_set1_epi64(first), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7))};
}
PREFIXD_INLINE U32x8 WideProduct(U32x8 a, U32x8 b) { return {_mm512_mul_epu32(a.v, b.v)}; }
PREFIXD_INLINE U32x8 UpperHalves(U32x8 a) { return {_mm512_srli_epi64(a.v, 32)}; }
PREFIXD_INLINE U32x8 Xor(U32x8 a, U32x8 b) { return {_mm512_xor_si512(a.v, b.v)}; }
PREFIXD_INLINE void StoreHalved(int32_t* p, U32x8 a, U32x8 b, U32x8 c, U32x8 d) {
  constexpr __mmask16 kUpper = 0xAAAA;
  const __m512i ab = _mm512_srli_epi32(_mm512_mask_blend_epi32(kUpper, a.v, _mm512_slli_epi64(b.v, 32)), 1);
  const __m512i cd = _mm512_srli_epi32(_mm512_mask_blend_epi32(kUpper, c.v, _mm512_slli_epi64(d.v, 32)), 1);
  const __m512i even = _mm512_unpacklo_epi64(ab, cd);  // of lanes 0, 2, 4 and 6
  const __m512i odd = _mm512_unpackhi_epi64(ab, cd);   // of lanes 1, 3, 5 and 7
  const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  _mm512_storeu_si512(p, _mm512_permutex2var_epi64(even, first, odd));
  _mm512_storeu_si512(p + 16, _mm512_permutex2var_epi64(even, second, odd));
}

}  // namespace prefixd::PREFIXD_ISA
