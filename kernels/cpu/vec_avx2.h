// F32x16 for AVX2, FMA and F16C: 16 lanes in two registers. kernels/numerics.h defines its sums over 16
// partial sums, so the operations (*.inl.h) are written for 16 lanes only. They are compiled once with this
// header and once with vec_avx512.h. Pure functions; any thread.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define PREFIXD_ISA avx2
#define PREFIXD_INLINE static inline __attribute__((always_inline))

namespace prefixd::avx2 {

// A tile of 6 rows x 1 vector (two registers) accumulates in 12 of the 16 registers. Tiles over several
// panels accumulate in at most 10, which leaves registers for the weights of two panels.
constexpr int kTileRows = 6;
constexpr int kPanelVectors = 1;
constexpr int kAccumulators = 5;                                        // in vectors
constexpr int kVectorRegisters = 8;                                     // in vectors
constexpr int kAttentionSums = 6, kQuantAttentionSums = 4;              // in vectors: attention_tile.inl.h
constexpr int kChunkRows = 96, kChunkColumns = 256, kPartTerms = 1024;  // gemm_panels.inl.h
constexpr bool kWidensPanels = false;
constexpr int kWidePartTerms = 1024;
constexpr bool kPrefetchesOutputs = false;  // gemm_panels.inl.h; no gain was measured

struct F32x16 {
  __m256 lo, hi;
};

// Returns all ones in the first n of 8 lanes and zeros in the others. n below 0 or above 8 counts as 0 or 8.
PREFIXD_INLINE __m256i FirstLanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// Asks for the cache line at p. Any address is allowed; it need not be mapped.
PREFIXD_INLINE void Prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
// To L2.
PREFIXD_INLINE void PrefetchFar(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }
PREFIXD_INLINE F32x16 Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
PREFIXD_INLINE F32x16 Set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
PREFIXD_INLINE F32x16 Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
// Loads the first n floats, 0 <= n < 16, and zeros for the other lanes. Reads no memory past them.
PREFIXD_INLINE F32x16 LoadFirst(const float* p, int n) {
  return {_mm256_maskload_ps(p, FirstLanes(n)), _mm256_maskload_ps(p + 8, FirstLanes(n - 8))};
}
PREFIXD_INLINE void Store(float* p, F32x16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
PREFIXD_INLINE void StoreFirst(float* p, int n, F32x16 a) {
  _mm256_maskstore_ps(p, FirstLanes(n), a.lo);
  _mm256_maskstore_ps(p + 8, FirstLanes(n - 8), a.hi);
}
// Takes the first n lanes, 0 <= n < 16, from a and the others from b.
PREFIXD_INLINE F32x16 SelectFirst(int n, F32x16 a, F32x16 b) {
  return {_mm256_blendv_ps(b.lo, a.lo, _mm256_castsi256_ps(FirstLanes(n))),
          _mm256_blendv_ps(b.hi, a.hi, _mm256_castsi256_ps(FirstLanes(n - 8)))};
}

PREFIXD_INLINE F32x16 Add(F32x16 a, F32x16 b) {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
PREFIXD_INLINE F32x16 Sub(F32x16 a, F32x16 b) {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
PREFIXD_INLINE F32x16 Mul(F32x16 a, F32x16 b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
PREFIXD_INLINE F32x16 Div(F32x16 a, F32x16 b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
PREFIXD_INLINE F32x16 Sqrt(F32x16 a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
PREFIXD_INLINE F32x16 Max(F32x16 a, F32x16 b) {
  return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
PREFIXD_INLINE F32x16 Negate(F32x16 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_xor_ps(a.lo, sign), _mm256_xor_ps(a.hi, sign)};
}
PREFIXD_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
// Computes x < y ? a : b in every lane. The comparison is false where x or y is a NaN.
PREFIXD_INLINE F32x16 WhereLess(F32x16 x, F32x16 y, F32x16 a, F32x16 b) {
  return {_mm256_blendv_ps(b.lo, a.lo, _mm256_cmp_ps(x.lo, y.lo, _CMP_LT_OQ)),
          _mm256_blendv_ps(b.hi, a.hi, _mm256_cmp_ps(x.hi, y.hi, _CMP_LT_OQ))};
}
// Returns 2^n for the integer n, -127 < n < 128, in the low mantissa bits of each lane.
PREFIXD_INLINE __m256 LowBitsAsPowerOfTwo8(__m256 a) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(a), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3F800000)));
}
PREFIXD_INLINE F32x16 LowBitsAsPowerOfTwo(F32x16 a) {
  return {LowBitsAsPowerOfTwo8(a.lo), LowBitsAsPowerOfTwo8(a.hi)};
}

PREFIXD_INLINE __m256 FromBF16x8(const uint16_t* p) {
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}
PREFIXD_INLINE F32x16 FromBF16(const uint16_t* p) { return {FromBF16x8(p), FromBF16x8(p + 8)}; }
// Widening to an order that takes fewer instructions, which FMA leaves less room for: the elements 0, 2, ..
// 14, 1, 3, .. 15. Split and Join convert to this order and back.
constexpr bool kSplitsBF16 = true;
PREFIXD_INLINE F32x16 SplitBF16(const uint16_t* p) {
  const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)),
          _mm256_castsi256_ps(_mm256_blend_epi16(pairs, _mm256_setzero_si256(), 0b01010101))};
}
PREFIXD_INLINE F32x16 Split(F32x16 a) {
  const __m256 first = _mm256_permute2f128_ps(a.lo, a.hi, 0x20);   // 0 .. 3, 8 .. 11
  const __m256 second = _mm256_permute2f128_ps(a.lo, a.hi, 0x31);  // 4 .. 7, 12 .. 15
  return {_mm256_shuffle_ps(first, second, 0b10001000), _mm256_shuffle_ps(first, second, 0b11011101)};
}
PREFIXD_INLINE F32x16 Join(F32x16 a) {
  const __m256 first = _mm256_unpacklo_ps(a.lo, a.hi);   // 0 .. 3, 8 .. 11
  const __m256 second = _mm256_unpackhi_ps(a.lo, a.hi);  // 4 .. 7, 12 .. 15
  return {_mm256_permute2f128_ps(first, second, 0x20), _mm256_permute2f128_ps(first, second, 0x31)};
}
PREFIXD_INLINE F32x16 FromF16(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
// Widen one element of each of 16 pairs: the second or the first.
PREFIXD_INLINE __m256 LoadPairs8(const uint32_t* p) {
  return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
}
// Two shifts, because a mask would take the register that a tile of GEMM lacks.
PREFIXD_INLINE __m256 SecondsOfBF16x8(const uint32_t* p) {
  const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_srli_epi32(pairs, 16), 16));
}
PREFIXD_INLINE F32x16 SecondsOfBF16(const uint32_t* p) {
  return {SecondsOfBF16x8(p), SecondsOfBF16x8(p + 8)};
}
PREFIXD_INLINE F32x16 FirstsOfBF16(const uint32_t* p) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(LoadPairs8(p)), 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(LoadPairs8(p + 8)), 16))};
}
// The table of a compressed panel (compressed_panel.h), in every run of 16 bytes.
struct UpperBytes {
  __m256i v;
};
PREFIXD_INLINE UpperBytes LoadUpperBytes(const void* p) {
  return {_mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}
// Writes 16 outputs of a step, of which these are the codes and the lower bytes, as pairs: of the first two
// terms to first[16], and of the last two to last[16].
PREFIXD_INLINE void Decompress(UpperBytes uppers, const char* codes, const char* lowers, uint32_t* first,
                               uint32_t* last) {
  const __m256i half = _mm256_set1_epi8(0xF);
  const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
  const __m256i upper[] = {_mm256_shuffle_epi8(uppers.v, _mm256_and_si256(both, half)),
                           _mm256_shuffle_epi8(uppers.v, _mm256_and_si256(_mm256_srli_epi16(both, 4), half))};
  for (int i = 0; i < 2; ++i) {
    const __m256i lower = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lowers) + i);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(first) + i, _mm256_unpacklo_epi8(lower, upper[i]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(last) + i, _mm256_unpackhi_epi8(lower, upper[i]));
  }
}
// Computes numerics::F32ToBF16 in eight lanes; the results are in the low halves of eight 32-bit lanes.
PREFIXD_INLINE __m256i ToBF16x8(__m256 a) {
  const __m256i bits = _mm256_castps_si256(a);
  const __m256i upper = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
  const __m256i sum = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
  const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(_mm256_srli_epi32(sum, 16), quiet, nan);
}
PREFIXD_INLINE void ToBF16(uint16_t* p, F32x16 a) {
  const __m256i packed = _mm256_packus_epi32(ToBF16x8(a.lo), ToBF16x8(a.hi));  // 128-bit halves interleaved
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0b11011000));
}
PREFIXD_INLINE void ToF16(uint16_t* p, F32x16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}

// Sixteen f16 with the value at p, and sixteen integers of 8 bits, as f32.
PREFIXD_INLINE F32x16 SetF16(const uint16_t* p) {
  const __m256 all = _mm256_cvtph_ps(_mm_set1_epi16(static_cast<int16_t>(*p)));
  return {all, all};
}
PREFIXD_INLINE __m256 FromI8x8(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
PREFIXD_INLINE F32x16 FromI8(const int8_t* p) { return {FromI8x8(p), FromI8x8(p + 8)}; }
// Rounds to the nearest integer, ties to even. Requires lanes within -127 .. 127.
PREFIXD_INLINE void ToI8(int8_t* p, F32x16 a) {
  const __m256i half = _mm256_packs_epi32(_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi));
  const __m256i ordered = _mm256_permute4x64_epi64(half, 0b11011000);  // packing interleaves 128-bit halves
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1)));
}

// Merge 16 partial sums (numerics rule 3), and find the largest lane.
PREFIXD_INLINE float MergeSum(F32x16 a) {
  const __m256 eight = _mm256_add_ps(a.lo, a.hi);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
PREFIXD_INLINE float MergeMax(F32x16 a) {
  const __m256 eight = _mm256_max_ps(a.lo, a.hi);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// Eight unsigned integers of 32 bits, each in the lower half of a lane of 64 bits. The upper halves hold what
// operations leave there.
struct U32x8 {
  __m256i lo, hi;
};

PREFIXD_INLINE U32x8 SetU32(uint32_t x) {
  const __m256i lanes = _mm256_set1_epi64x(x);
  return {lanes, lanes};
}
// Returns first, first + 1, ...
PREFIXD_INLINE U32x8 CountFrom(uint32_t first) {
  const __m256i lanes = _mm256_set1_epi64x(first);
  return {_mm256_add_epi32(lanes, _mm256_setr_epi64x(0, 1, 2, 3)),
          _mm256_add_epi32(lanes, _mm256_setr_epi64x(4, 5, 6, 7))};
}
// Returns the products in all 64 bits of the lanes.
PREFIXD_INLINE U32x8 WideProduct(U32x8 a, U32x8 b) {
  return {_mm256_mul_epu32(a.lo, b.lo), _mm256_mul_epu32(a.hi, b.hi)};
}
// Moves the upper halves of the lanes down.
PREFIXD_INLINE U32x8 UpperHalves(U32x8 a) {
  return {_mm256_srli_epi64(a.lo, 32), _mm256_srli_epi64(a.hi, 32)};
}
PREFIXD_INLINE U32x8 Xor(U32x8 a, U32x8 b) {
  return {_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)};
}
PREFIXD_INLINE void StoreHalved4(int32_t* p, __m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i ab = _mm256_srli_epi32(_mm256_blend_epi32(a, _mm256_slli_epi64(b, 32), 0b10101010), 1);
  const __m256i cd = _mm256_srli_epi32(_mm256_blend_epi32(c, _mm256_slli_epi64(d, 32), 0b10101010), 1);
  const __m256i even = _mm256_unpacklo_epi64(ab, cd);  // of lanes 0 and 2
  const __m256i odd = _mm256_unpackhi_epi64(ab, cd);   // of lanes 1 and 3
  __m256i* const to = reinterpret_cast<__m256i*>(p);
  _mm256_storeu_si256(to, _mm256_permute2x128_si256(even, odd, 0x20));
  _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(even, odd, 0x31));
}
// Stores a[0] / 2, b[0] / 2, c[0] / 2, d[0] / 2, a[1] / 2, ...: 32 integers.
PREFIXD_INLINE void StoreHalved(int32_t* p, U32x8 a, U32x8 b, U32x8 c, U32x8 d) {
  StoreHalved4(p, a.lo, b.lo, c.lo, d.lo);
  StoreHalved4(p + 16, a.hi, b.hi, c.hi, d.hi);
}

}  // namespace prefixd::avx2
