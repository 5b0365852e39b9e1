// Quantises activations (numerics::QuantizeBlock) and packs them as QuantJob::x. Included after
// quant.inl.h. Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

PREFIXD_INLINE __m128i Max4(__m128i a, __m128i b) { return _mm_max_epi32(a, b); }
PREFIXD_INLINE __m128i Add4(__m128i a, __m128i b) { return _mm_add_epi32(a, b); }
// Merges the 8 lanes by an operation whose order does not matter.
template <__m128i (*kCombine)(__m128i, __m128i)>
PREFIXD_INLINE int32_t Merge8(__m256i a) {
  const __m128i four = kCombine(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  const __m128i two = kCombine(four, _mm_shuffle_epi32(four, 0b01001110));
  return _mm_cvtsi128_si32(kCombine(two, _mm_shuffle_epi32(two, 0b10110001)));
}

// Computes numerics::QuantizeBlock for a whole block. Sets the sums of the integers of each half.
PREFIXD_INLINE float QuantizeOne(const float* x, int8_t* integers, int16_t (&sums)[2]) {
  constexpr int kParts = kQuantBlock / 8;
  constexpr int32_t kInfinity = 0x7F800000;
  __m256 parts[kParts];
  __m256i largest = _mm256_setzero_si256();  // the bits of |x| are in the order of the numbers
  for (int i = 0; i < kParts; ++i) {
    parts[i] = _mm256_loadu_ps(x + 8 * i);
    const __m256i size = _mm256_and_si256(_mm256_castps_si256(parts[i]), _mm256_set1_epi32(0x7FFFFFFF));
    largest = _mm256_max_epi32(largest, size);
  }
  const int32_t bits = Merge8<Max4>(largest);
  float a;
  __builtin_memcpy(&a, &bits, sizeof(a));
  if (bits >= kInfinity || a < numerics::kQuantLeast) {
    __builtin_memset(integers, 0, kQuantBlock);
    sums[0] = sums[1] = 0;
    return bits >= kInfinity ? __builtin_nanf("") : 0.0f;
  }
  const __m256 inverse = _mm256_set1_ps(127.0f / a);
  __m256i whole[kParts];
  for (int i = 0; i < kParts; ++i) whole[i] = _mm256_cvtps_epi32(_mm256_mul_ps(parts[i], inverse));
  for (int half = 0; half < 2; ++half)
    sums[half] = static_cast<int16_t>(Merge8<Add4>(_mm256_add_epi32(whole[2 * half], whole[2 * half + 1])));
  // Packing interleaves 128-bit halves: every 4 integers are in the order 0 2 4 6 1 3 5 7.
  const __m256i packed =
      _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]), _mm256_packs_epi32(whole[2], whole[3]));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(integers),
                      _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
  return a / 127.0f;
}

void QuantPackRows(WeightFormat::Kind kind, const float* x, int count, int rows, int blocks,
                   std::byte* packed) {
  const bool offset = kUnsignedX && (rows > kQuantTileRows || KindOf(kind).wide);
  const size_t group = static_cast<size_t>(count);
  for (size_t r = 0; r < group; ++r) {
    std::byte* to = packed;
    for (int b = 0; b < blocks; ++b, x += kQuantBlock, to += group * kQuantRowBlockBytes) {
      int8_t integers[kQuantBlock];
      int16_t sums[2];
      const float scale = QuantizeOne(x, integers, sums);
      if (offset)
        for (int8_t& integer : integers) integer = static_cast<int8_t>(integer ^ -128);
      __builtin_memcpy(to + 4 * r, &scale, 4);
      __builtin_memcpy(to + 4 * (group + r), sums, 4);
      for (size_t s = 0; s < kQuantSteps; ++s)
        __builtin_memcpy(to + 8 * group + 4 * (s * group + r), integers + 4 * s, 4);
    }
  }
}

}  // namespace prefixd::PREFIXD_ISA
