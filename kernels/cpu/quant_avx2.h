// Vectors of 8 outputs, and the exact sums of a block (numerics rule 9), for AVX2. quant.inl.h is written on
// these names, which quant_avx512.h has for 16 outputs. Pure functions; any thread.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#define PREFIXD_ISA avx2
#define PREFIXD_INLINE static inline __attribute__((always_inline))
#define PREFIXD_MEMBER inline __attribute__((always_inline))

namespace prefixd::avx2 {

constexpr int kQuantLanes = 8;       // outputs of a vector
constexpr int kQuantTileRows = 6;    // their sums of one vector take 12 of the 16 registers
constexpr int kQuantInTile = 6;      // vectors of sums of a tile, at most
constexpr bool kQ8IsOffset = false;  // x is packed as it is

using Outputs = __m256;  // a number of each output

PREFIXD_INLINE Outputs ZeroOutputs() { return _mm256_setzero_ps(); }
PREFIXD_INLINE Outputs LoadOutputs(const float* p) { return _mm256_loadu_ps(p); }
PREFIXD_INLINE void StoreOutputs(float* p, Outputs a) { _mm256_storeu_ps(p, a); }
PREFIXD_INLINE Outputs AddOutputs(Outputs a, Outputs b) { return _mm256_add_ps(a, b); }
PREFIXD_INLINE Outputs LoadScales(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}
// Returns fma(scales * scale, sums, a).
PREFIXD_INLINE Outputs AddScaled(Outputs a, Outputs scales, float scale, __m256i sums) {
  return _mm256_fmadd_ps(_mm256_mul_ps(scales, _mm256_set1_ps(scale)), _mm256_cvtepi32_ps(sums), a);
}
PREFIXD_INLINE __m256i LoadWeights(const std::byte* p) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
}
// Four integers of x, for every output.
PREFIXD_INLINE __m256i Spread(const std::byte* x) {
  int four;
  __builtin_memcpy(&four, x, sizeof(four));
  return _mm256_set1_epi32(four);
}

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
  // Adds the products of a step: weights [lanes][4] and x [kRows][4].
  PREFIXD_MEMBER void Add(const std::byte* w, const std::byte* x) {
    const __m256i weights = LoadWeights(w), sizes = _mm256_abs_epi8(weights);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const __m256i pairs = _mm256_maddubs_epi16(sizes, _mm256_sign_epi8(Spread(x + 4 * r), weights));
      low[r] = _mm256_add_epi16(low[r], pairs);
      high[r] = _mm256_add_epi16(high[r], _mm256_srai_epi16(pairs, 8));
      asm volatile("" : "+x"(low[r]), "+x"(high[r]) : : "memory");  // row by row, or registers run out
    }
  }
  PREFIXD_MEMBER __m256i Get(int r, int32_t /*sum_of_x*/) const {
    const __m256i rest = _mm256_sub_epi16(low[r], _mm256_slli_epi16(high[r], 8));
    return _mm256_add_epi32(_mm256_madd_epi16(high[r], _mm256_set1_epi16(256)),
                            _mm256_madd_epi16(rest, _mm256_set1_epi16(1)));
  }
};

// The weights are 0 .. 15, and 8 too large. The sum of 8 pairs is within 8 * 2 * 15 * 127: 16 bits have it.
template <int kRows>
struct Q4Sums {
  __m256i sum[kRows];
  PREFIXD_MEMBER void Clear() {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) sum[r] = _mm256_setzero_si256();
  }
  // Adds the products of two steps: of the low halves of the weights by x, and of the high halves by
  // `x_of_high`.
  PREFIXD_MEMBER void Add(const std::byte* w, const std::byte* x, const std::byte* x_of_high) {
    const __m256i weights = LoadWeights(w), mask = _mm256_set1_epi8(15);
    const __m256i low = _mm256_and_si256(weights, mask);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(weights, 4), mask);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      sum[r] = _mm256_add_epi16(sum[r], _mm256_maddubs_epi16(low, Spread(x + 4 * r)));
      sum[r] = _mm256_add_epi16(sum[r], _mm256_maddubs_epi16(high, Spread(x_of_high + 4 * r)));
    }
  }
  PREFIXD_MEMBER __m256i Get(int r, int32_t sum_of_x) const {
    const __m256i sums = _mm256_madd_epi16(sum[r], _mm256_set1_epi16(1));
    return _mm256_sub_epi32(sums, _mm256_set1_epi32(8 * sum_of_x));
  }
};

}  // namespace prefixd::avx2
