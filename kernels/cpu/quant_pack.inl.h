// Quantises activations (numerics::QuantizeBlock) and packs them as QuantJob::x. Included after
// quant_job.inl.h. Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

// The largest of 8 integers.
PREFIXD_INLINE int32_t LargestOf(__m256i a) {
  const __m128i four = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  const __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0b01001110));
  return _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0b10110001)));
}

// A block as numerics::QuantizeBlock makes it.
struct QuantizedX {
  float scale;
  __m256i integers;  // 32 bytes
};

PREFIXD_INLINE QuantizedX QuantizeOne(const float* x) {
  constexpr int kParts = kQuantBlock / 8;
  constexpr int32_t kInfinity = 0x7F800000;
  __m256 parts[kParts];
  __m256i largest = _mm256_setzero_si256();  // the bits of |x| are in the order of the numbers
  for (int i = 0; i < kParts; ++i) {
    parts[i] = _mm256_loadu_ps(x + 8 * i);
    const __m256i size = _mm256_and_si256(_mm256_castps_si256(parts[i]), _mm256_set1_epi32(0x7FFFFFFF));
    largest = _mm256_max_epi32(largest, size);
  }
  const int32_t bits = LargestOf(largest);
  float a;
  __builtin_memcpy(&a, &bits, sizeof(a));
  if (bits >= kInfinity || a < numerics::kQuantLeast)
    return {bits >= kInfinity ? __builtin_nanf("") : 0.0f, _mm256_setzero_si256()};
  const __m256 inverse = _mm256_set1_ps(127.0f / a);
  __m256i whole[kParts];
  for (int i = 0; i < kParts; ++i) whole[i] = _mm256_cvtps_epi32(_mm256_mul_ps(parts[i], inverse));
  // Packing interleaves 128-bit halves: every 4 integers are in the order 0 2 4 6 1 3 5 7.
  const __m256i packed =
      _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]), _mm256_packs_epi32(whole[2], whole[3]));
  return {a / 127.0f, _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))};
}

// The sums of the integers of each half of a block.
struct HalfSums {
  int16_t of[2];
};

PREFIXD_INLINE HalfSums SumHalves(__m256i integers) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), integers);
  const __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  const __m256i eights = _mm256_hadd_epi32(fours, fours), halves = _mm256_hadd_epi32(eights, eights);
  return {{static_cast<int16_t>(_mm256_cvtsi256_si32(halves)),
           static_cast<int16_t>(_mm_cvtsi128_si32(_mm256_extracti128_si256(halves, 1)))}};
}

PREFIXD_INLINE bool PacksShorts(const QuantFacts& of, int rows) {
  return kShortX && rows > kFewRows && of.wide;
}

size_t QuantRowBlockBytes(WeightFormat::Kind kind, int rows) {
  const QuantFacts of = FactsOf(kind);
  return of.row_block_bytes[PacksShorts(of, rows) ? 1 : 0];
}

// Writes the four-byte steps of a row, which are `apart` bytes apart.
PREFIXD_INLINE void WriteSteps(__m256i steps, std::byte* to, size_t apart) {
  alignas(32) std::byte bytes[kQuantBlock];
  _mm256_store_si256(reinterpret_cast<__m256i*>(bytes), steps);
  for (size_t s = 0; s < kQuantSteps; ++s) __builtin_memcpy(to + s * apart, bytes + 4 * s, 4);
}

void QuantPackRows(WeightFormat::Kind kind, const float* x, int count, int rows, int blocks,
                   std::byte* packed) {
  const QuantFacts of = FactsOf(kind);
  const bool is_unsigned = kUnsignedX && (rows > kFewRows || of.wide), is_short = PacksShorts(of, rows);
  const __m256i sign_bits = _mm256_set1_epi8(is_unsigned ? -128 : 0);
  const size_t group = static_cast<size_t>(count), head = 4 * (1 + static_cast<size_t>(of.sums_of_x));
  const size_t step = 4 * group, run = group * QuantRowBlockBytes(kind, rows);
  for (size_t r = 0; r < group; ++r) {
    std::byte* to = packed;
    for (int b = 0; b < blocks; ++b, x += kQuantBlock, to += run) {
      const QuantizedX block = QuantizeOne(x);
      __builtin_memcpy(to + 4 * r, &block.scale, 4);
      const HalfSums sums = SumHalves(block.integers);
      if (of.offset) {
        const int all = of.sums_of_x == 1 ? sums.of[1] : 0;
        const float first = block.scale * static_cast<float>(sums.of[0] + all);
        const float second = block.scale * static_cast<float>(sums.of[1]);
        __builtin_memcpy(to + 4 * (group + r), &first, 4);
        if (of.sums_of_x == 2) __builtin_memcpy(to + 4 * (2 * group + r), &second, 4);
      } else {
        __builtin_memcpy(to + 4 * (group + r), sums.of, 4);
      }
      std::byte* const integers = to + head * group + (kRowsOfX ? kQuantBlock : 4) * r;
      if (kRowsOfX) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(integers), block.integers);
      } else if (is_short) {
        const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(block.integers, 8), 8);
        WriteSteps(even, integers, 2 * step);
        WriteSteps(_mm256_srai_epi16(block.integers, 8), integers + step, 2 * step);
      } else {
        WriteSteps(_mm256_xor_si256(block.integers, sign_bits), integers, step);
      }
    }
  }
}

}  // namespace prefixd::PREFIXD_ISA
