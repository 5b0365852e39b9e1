// Vectors of 16 outputs, and the exact sums of a block (numerics rule 9), for AVX-512 (F, BW, VL, DQ), and
// for AVX-512 with VNNI where PREFIXD_VNNI is defined. The names are those of quant_avx2.h, which documents
// them. Pure functions; any thread.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#ifdef PREFIXD_VNNI
#define PREFIXD_ISA avx512_vnni
#else
#define PREFIXD_ISA avx512
#endif
#define PREFIXD_INLINE static inline __attribute__((always_inline))
#define PREFIXD_MEMBER inline __attribute__((always_inline))

namespace prefixd::PREFIXD_ISA {

constexpr int kQuantLanes = 16;
constexpr int kQuantTileRows = 12;  // with their sums as f32 they take 24 of the 32 registers
constexpr int kQuantInTile = 12;

using Outputs = __m512;

PREFIXD_INLINE Outputs ZeroOutputs() { return _mm512_setzero_ps(); }
PREFIXD_INLINE Outputs LoadOutputs(const float* p) { return _mm512_loadu_ps(p); }
PREFIXD_INLINE void StoreOutputs(float* p, Outputs a) { _mm512_storeu_ps(p, a); }
PREFIXD_INLINE Outputs AddOutputs(Outputs a, Outputs b) { return _mm512_add_ps(a, b); }
PREFIXD_INLINE Outputs LoadScales(const std::byte* p) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
}
PREFIXD_INLINE Outputs AddScaled(Outputs a, Outputs scales, float scale, __m512i sums) {
  return _mm512_fmadd_ps(_mm512_mul_ps(scales, _mm512_set1_ps(scale)), _mm512_cvtepi32_ps(sums), a);
}
PREFIXD_INLINE __m512i LoadWeights(const std::byte* p) { return _mm512_load_si512(p); }
PREFIXD_INLINE __m512i Spread(const std::byte* x) {
  int four;
  __builtin_memcpy(&four, x, sizeof(four));
  return _mm512_set1_epi32(four);
}

#ifdef PREFIXD_VNNI

constexpr bool kQ8IsOffset = true;

// Adds 4 products of unsigned and signed bytes to each 32-bit lane. It does not saturate.
PREFIXD_INLINE __m512i AddProducts(__m512i sum, __m512i of_unsigned, __m512i of_signed) {
  return _mm512_dpbusd_epi32(sum, of_unsigned, of_signed);
}

// x is packed as x + 128, which is unsigned; `excess` is 128 times the sum of the weights.
template <int kRows>
struct Q8Sums {
  __m512i sum[kRows], excess;
  PREFIXD_MEMBER void Clear() {
    excess = _mm512_setzero_si512();
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) sum[r] = _mm512_setzero_si512();
  }
  PREFIXD_MEMBER void Add(const std::byte* w, const std::byte* x) {
    const __m512i weights = LoadWeights(w);
    excess = AddProducts(excess, _mm512_set1_epi8(-128), weights);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) sum[r] = AddProducts(sum[r], Spread(x + 4 * r), weights);
  }
  PREFIXD_MEMBER __m512i Get(int r, int32_t /*sum_of_x*/) const { return _mm512_sub_epi32(sum[r], excess); }
};

#else

constexpr bool kQ8IsOffset = false;

// The same without VNNI, for pairs of products that do not saturate 16 bits.
PREFIXD_INLINE __m512i AddProducts(__m512i sum, __m512i of_unsigned, __m512i of_signed) {
  const __m512i pairs = _mm512_maddubs_epi16(of_unsigned, of_signed);
  return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

// As for AVX2, |w| by x with the sign of w. A pair is within 2 * 128 * 127.
template <int kRows>
struct Q8Sums {
  __m512i sum[kRows];
  PREFIXD_MEMBER void Clear() {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) sum[r] = _mm512_setzero_si512();
  }
  PREFIXD_MEMBER void Add(const std::byte* w, const std::byte* x) {
    const __m512i weights = LoadWeights(w), sizes = _mm512_abs_epi8(weights);
    const __mmask64 negative = _mm512_movepi8_mask(weights);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const __m512i four = Spread(x + 4 * r);
      sum[r] = AddProducts(sum[r], sizes, _mm512_mask_sub_epi8(four, negative, _mm512_setzero_si512(), four));
    }
  }
  PREFIXD_MEMBER __m512i Get(int r, int32_t /*sum_of_x*/) const { return sum[r]; }
};

#endif

// The weights are 0 .. 15, and 8 too large.
template <int kRows>
struct Q4Sums {
  __m512i sum[kRows];
  PREFIXD_MEMBER void Clear() {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) sum[r] = _mm512_setzero_si512();
  }
  PREFIXD_MEMBER void Add(const std::byte* w, const std::byte* x, const std::byte* x_of_high) {
    const __m512i weights = LoadWeights(w), mask = _mm512_set1_epi8(15);
    const __m512i low = _mm512_and_si512(weights, mask);
    const __m512i high = _mm512_and_si512(_mm512_srli_epi16(weights, 4), mask);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      sum[r] = AddProducts(sum[r], low, Spread(x + 4 * r));
      sum[r] = AddProducts(sum[r], high, Spread(x_of_high + 4 * r));
    }
  }
  PREFIXD_MEMBER __m512i Get(int r, int32_t sum_of_x) const {
    return _mm512_sub_epi32(sum[r], _mm512_set1_epi32(8 * sum_of_x));
  }
};

}  // namespace prefixd::PREFIXD_ISA
