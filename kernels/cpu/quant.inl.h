// Products of quantised weights (numerics rule 9). quant_ops.h has the order of the operands. The source of
// one instruction set includes this file after its quant_*.h. Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

using cpu::kQuantPanel;
using cpu::kQuantRowBlockBytes;
using cpu::QuantJob;

constexpr int kSteps = kQuantBlock / 4;
constexpr size_t kStepBytes = size_t{4} * kQuantPanel;  // of weights of one byte
// With few rows the weights come from memory, and are asked for so many bytes ahead: the CPU alone keeps too
// few of its reads in flight.
constexpr int kPrefetchRows = 2;
constexpr size_t kPrefetchBytes = 4096;
constexpr size_t kLine = 64;
PREFIXD_INLINE void Prefetch(const std::byte* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
}
constexpr int kQuantPanelVectors = kQuantPanel / kQuantLanes;

// The formats: the bytes of a block of a panel without its scales, and the sums of a block.
struct Q8 {
  static constexpr size_t kBlockBytes = kSteps * kStepBytes;
  template <int kRows>
  using Sums = Q8Sums<kRows>;
  template <int kRows, int kVectors>
  PREFIXD_INLINE void Add(Sums<kRows> (&sums)[kVectors], const std::byte* w, const std::byte* x) {
#pragma GCC unroll 8
    for (int s = 0; s < kSteps; ++s) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v)
        sums[v].Add(w + s * kStepBytes + 4 * v * kQuantLanes, x + 4 * s * kRows);
    }
  }
};

struct Q4 {
  static constexpr size_t kBlockBytes = kSteps / 2 * kStepBytes;
  template <int kRows>
  using Sums = Q4Sums<kRows>;
  template <int kRows, int kVectors>
  PREFIXD_INLINE void Add(Sums<kRows> (&sums)[kVectors], const std::byte* w, const std::byte* x) {
#pragma GCC unroll 8
    for (int s = 0; s < kSteps / 2; ++s) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v)
        sums[v].Add(w + s * kStepBytes + 4 * v * kQuantLanes, x + 4 * s * kRows,
                    x + 4 * (s + kSteps / 2) * kRows);
    }
  }
};

// Writes a vector of a row. Only the first `columns` outputs exist.
PREFIXD_INLINE void WriteOutputs(Outputs sums, float* y, int columns, bool accumulate) {
  if (columns >= kQuantLanes) return StoreOutputs(y, accumulate ? AddOutputs(LoadOutputs(y), sums) : sums);
  float row[kQuantLanes];
  StoreOutputs(row, sums);
  for (int i = 0; i < columns; ++i) y[i] = accumulate ? y[i] + row[i] : row[i];
}

// Computes kRows rows of a group by kVectors vectors of a panel, from vector `first` on.
template <typename Format, int kRows, int kVectors>
void QuantTile(const QuantJob& job, int panel, int first, int group) {
  const std::byte* const weights = job.weights + static_cast<size_t>(panel) * job.panel_bytes;
  const std::byte* w = weights + static_cast<size_t>(first) * 4 * kQuantLanes;
  const std::byte* scales = weights + static_cast<size_t>(job.blocks) * Format::kBlockBytes +
                            static_cast<size_t>(first) * 2 * kQuantLanes;
  const size_t first_row = static_cast<size_t>(group) * kQuantTileRows;
  const std::byte* x = job.x + first_row * static_cast<size_t>(job.blocks) * kQuantRowBlockBytes;
  Outputs acc[kVectors][kRows];
  for (int v = 0; v < kVectors; ++v)
    for (int r = 0; r < kRows; ++r) acc[v][r] = ZeroOutputs();
  for (int b = 0; b < job.blocks; ++b) {
    if constexpr (kRows <= kPrefetchRows) {
      for (size_t at = 0; at < Format::kBlockBytes; at += kLine) Prefetch(w + kPrefetchBytes + at);
    }
    typename Format::template Sums<kRows> sums[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sums[v].Clear();
    Format::template Add<kRows, kVectors>(sums, w, x + 8 * kRows);
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      const Outputs scale = LoadScales(scales + 2 * v * kQuantLanes);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        float scale_of_x;
        int32_t sum_of_x;
        __builtin_memcpy(&scale_of_x, x + 4 * r, 4);
        __builtin_memcpy(&sum_of_x, x + 4 * (kRows + r), 4);
        acc[v][r] = AddScaled(acc[v][r], scale, scale_of_x, sums[v].Get(r, sum_of_x));
      }
    }
    w += Format::kBlockBytes;
    scales += 2 * kQuantPanel;
    x += kRows * kQuantRowBlockBytes;
  }
  const int column = panel * kQuantPanel + first * kQuantLanes;
  float* const y = job.y + first_row * static_cast<size_t>(job.stride) + column;
  for (int v = 0; v < kVectors; ++v) {
    for (int r = 0; r < kRows; ++r) {
      WriteOutputs(acc[v][r], y + static_cast<size_t>(r) * static_cast<size_t>(job.stride) + v * kQuantLanes,
                   job.outputs - column - v * kQuantLanes, job.accumulate);
    }
  }
}

// Selects the tile height that fits the number of rows in the group.
template <typename Format, int kRows = kQuantTileRows>
void QuantGroup(const QuantJob& job, int panel, int group) {
  if constexpr (kRows > 1) {
    if (job.rows - group * kQuantTileRows < kRows) return QuantGroup<Format, kRows - 1>(job, panel, group);
  }
  constexpr int kVectors = kRows * kQuantPanelVectors <= kQuantInTile ? kQuantPanelVectors : 1;
  for (int first = 0; first < kQuantPanelVectors; first += kVectors)
    QuantTile<Format, kRows, kVectors>(job, panel, first, group);
}

template <typename Format>
void QuantGemmOf(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group) {
  for (int panel = first_panel; panel < end_panel; ++panel) {  // a panel stays in the CPU cache for all rows
    for (int group = first_group; group < end_group; ++group) QuantGroup<Format>(job, panel, group);
  }
}

void QuantGemm(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group) {
  if (job.kind == WeightFormat::kQ8_0)
    return QuantGemmOf<Q8>(job, first_panel, end_panel, first_group, end_group);
  return QuantGemmOf<Q4>(job, first_panel, end_panel, first_group, end_group);
}

PREFIXD_INLINE __m128i Max4(__m128i a, __m128i b) { return _mm_max_epi32(a, b); }
PREFIXD_INLINE __m128i Add4(__m128i a, __m128i b) { return _mm_add_epi32(a, b); }
// Merges the 8 lanes by an operation whose order does not matter.
template <__m128i (*kCombine)(__m128i, __m128i)>
PREFIXD_INLINE int32_t Merge8(__m256i a) {
  const __m128i four = kCombine(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  const __m128i two = kCombine(four, _mm_shuffle_epi32(four, 0b01001110));
  return _mm_cvtsi128_si32(kCombine(two, _mm_shuffle_epi32(two, 0b10110001)));
}

// Computes numerics::QuantizeBlock for a whole block. Sets the sum of the integers.
PREFIXD_INLINE float QuantizeOne(const float* x, int8_t* integers, int32_t* sum) {
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
    *sum = 0;
    return bits >= kInfinity ? __builtin_nanf("") : 0.0f;
  }
  const __m256 inverse = _mm256_set1_ps(127.0f / a);
  __m256i whole[kParts];
  for (int i = 0; i < kParts; ++i) whole[i] = _mm256_cvtps_epi32(_mm256_mul_ps(parts[i], inverse));
  *sum = Merge8<Add4>(
      _mm256_add_epi32(_mm256_add_epi32(whole[0], whole[1]), _mm256_add_epi32(whole[2], whole[3])));
  // Packing interleaves 128-bit halves: every 4 integers are in the order 0 2 4 6 1 3 5 7.
  const __m256i packed =
      _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]), _mm256_packs_epi32(whole[2], whole[3]));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(integers),
                      _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
  return a / 127.0f;
}

void QuantPackRows(WeightFormat::Kind kind, const float* x, int count, int blocks, std::byte* packed) {
  const bool offset = kQ8IsOffset && kind == WeightFormat::kQ8_0;
  const size_t group = static_cast<size_t>(count);
  for (size_t r = 0; r < group; ++r) {
    std::byte* to = packed;
    for (int b = 0; b < blocks; ++b, x += kQuantBlock, to += group * kQuantRowBlockBytes) {
      int8_t integers[kQuantBlock];
      int32_t sum;
      const float scale = QuantizeOne(x, integers, &sum);
      if (offset)
        for (int8_t& integer : integers) integer = static_cast<int8_t>(integer ^ -128);
      __builtin_memcpy(to + 4 * r, &scale, 4);
      __builtin_memcpy(to + 4 * (group + r), &sum, 4);
      for (size_t s = 0; s < kSteps; ++s)
        __builtin_memcpy(to + 8 * group + 4 * (s * group + r), integers + 4 * s, 4);
    }
  }
}

}  // namespace prefixd::PREFIXD_ISA
