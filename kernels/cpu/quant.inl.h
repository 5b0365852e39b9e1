// Products of quantised weights (numerics rule 9). quant_ops.h has the order of the operands. The source of
// one instruction set includes this file after its quant_*.h. Pure functions; any thread.

#include <utility>

namespace prefixd::PREFIXD_ISA {

using cpu::kQuantPanel;
using cpu::kQuantRowBlockBytes;
using cpu::kQuantSteps;
using cpu::QuantJob;

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

// What the loops below know of a format: constants, because they may call no function of QuantFormat (ops.h).
template <WeightFormat::Kind kFormatKind>
struct Format {
  static constexpr QuantFormat kOf = QuantFormatOf(kFormatKind);
  static constexpr int kRuns = kOf.runs(), kZero = kOf.zero, kLargest = kOf.Largest();
  static constexpr int kFactorBits = kOf.factor_bits, kFactorZero = kOf.factor_zero;
  static constexpr int kFactorsOfRun = kOf.FactorsOfRun();
  static constexpr bool kFactors = kFactorBits != 0, kByHalf = kOf.by_half;
  static constexpr bool kOffset = kOf.offset, kOffsetFactors = kOf.offset_factors, kExponent = kOf.exponent;
  static constexpr bool kHasCodebook = kOf.codebook != nullptr;
  // Integers of 8 bits, with sums of their own (Q8Sums). All other codes are below 64, and not negative.
  static constexpr bool kWide = kLargest > 63;
  static constexpr int kLow = cpu::LowBits(kOf), kHigh = cpu::HighBits(kOf);
  static constexpr size_t kRunBytes = size_t{kOf.bits} * kStepBytes;
  static constexpr size_t kFirstOffset = size_t{kOf.ScaleBytes()} * kQuantPanel;  // parts of a block
  static constexpr size_t kFirstFactor = kFirstOffset + (kOffset ? 2 * kQuantPanel : 0);
  static constexpr size_t kHeadBytes = size_t{kOf.HeadBytes()} * kQuantPanel;

  struct Codebook {
    alignas(16) int8_t entries[16];
  };
  // Of what is stored as it is multiplied.
  static constexpr Codebook kCodebook = [] {
    Codebook codebook = {};
    for (int code = 0; kHasCodebook && code < 16; ++code)
      codebook.entries[code] = static_cast<int8_t>(kOf.codebook[code] - (kWide ? kZero : 0));
    return codebook;
  }();
};

// Returns the bits of a step in a plane (quant_ops.h), shifted to the left by kTo.
template <int kBits, int kTo, int kStep>
PREFIXD_INLINE Ints BitsOf(const std::byte* plane) {
  const Ints word = LoadWeights(plane + (kStep % kBits) * kStepBytes);
  if constexpr (kBits == 8) {
    return word;
  } else {
    return And(ShiftBits<kTo - kStep / kBits * kBits>(word), SpreadByte(((1 << kBits) - 1) << kTo));
  }
}

// Returns the codes of a step of a run, or what the codebook has for them.
template <typename F, int kStep>
PREFIXD_INLINE Ints CodesOf(const std::byte* run) {
  Ints codes = BitsOf<F::kLow, 0, kStep>(run);
  if constexpr (F::kHigh > 0) codes = Or(codes, BitsOf<F::kHigh, F::kLow, kStep>(run + F::kLow * kStepBytes));
  if constexpr (F::kHasCodebook) codes = Lookup(F::kCodebook.entries, codes);
  return codes;
}

// The factors of a run, of all outputs of a panel, and of those of a vector.
struct FactorBytes {
  __m128i c[2], n[2];
};
template <typename F>
struct Factors {
  Ints c[2];  // as they multiply a part of the sum, or the whole sum of a wide format
  Ints zero;  // c[0] and c[1], times what codes are too large
  Ints n;     // n[0] and n[1]
};

// Returns factor i of a block, of each output.
template <typename F>
PREFIXD_INLINE __m128i LoadFactor(const std::byte* factors, int i) {
  const auto row = [factors](int r) {
    return _mm_load_si128(reinterpret_cast<const __m128i*>(factors + r * kQuantPanel));
  };
  if constexpr (F::kFactorBits == 8) return row(i);
  __m128i factor = _mm_and_si128(_mm_srl_epi16(row(i / 2), _mm_cvtsi32_si128(i % 2 * 4)), _mm_set1_epi8(15));
  if constexpr (F::kFactorBits == 6) {
    constexpr int kFirst = F::kRuns * F::kFactorsOfRun / 2;
    const __m128i high = _mm_srl_epi16(row(kFirst + i / 4), _mm_cvtsi32_si128(i % 4 * 2));
    factor = _mm_or_si128(factor, _mm_slli_epi16(_mm_and_si128(high, _mm_set1_epi8(3)), 4));
  }
  return factor;
}

template <typename F>
PREFIXD_INLINE FactorBytes LoadFactors(const std::byte* head, int run) {
  FactorBytes bytes;
  const std::byte* const factors = head + F::kFirstFactor;
  const int first = run * F::kFactorsOfRun;
  constexpr int kEach = F::kOffsetFactors ? 2 : 1;  // of a half
  const __m128i zero = _mm_set1_epi8(static_cast<char>(F::kFactorZero));
  for (int half = 0; half < 2; ++half) {
    const int i = first + (F::kByHalf ? half * kEach : 0);
    bytes.c[half] = _mm_sub_epi8(LoadFactor<F>(factors, i), zero);
    if constexpr (F::kOffsetFactors) bytes.n[half] = LoadFactor<F>(factors, i + 1);
  }
  return bytes;
}

template <typename F>
PREFIXD_INLINE Factors<F> FactorsOf(const FactorBytes& bytes, int vector) {
  Factors<F> factors;
  if constexpr (F::kWide) {
    factors.c[0] = IntsOf(bytes.c[0], vector);
  } else {
    for (int half = 0; half < 2; ++half) factors.c[half] = FactorOfPart(bytes.c[half], vector);
    factors.zero = TimesShorts(ShortsOf(bytes.c[0], bytes.c[1], vector), F::kZero);
  }
  if constexpr (F::kOffsetFactors) factors.n = ShortsOf(bytes.n[0], bytes.n[1], vector);
  return factors;
}

// The sum of the integers of a run of x, whose halves have the sums `pair`.
PREFIXD_INLINE int32_t SumOfPair(int32_t pair) { return static_cast<int16_t>(pair) + (pair >> 16); }

// The sums S of rule 9 of kRows rows and the outputs of a vector.
template <typename F, int kRows>
struct WideSums {
  Q8Sums<kRows> sums;
  PREFIXD_MEMBER void Clear() { sums.Clear(); }
  template <int kStep>
  PREFIXD_MEMBER void Add(Ints weights, const std::byte* x, const Factors<F>& /*factors*/) {
    sums.Add(weights, x);
  }
  PREFIXD_MEMBER Ints Get(int r, int32_t /*pair*/, const Factors<F>& factors) const {
    if constexpr (F::kFactors) return TimesInts(sums.Get(r), factors.c[0]);
    return sums.Get(r);
  }
};

// The same of codes below 64. The steps that a part of the sum holds have the same factor.
template <typename F, int kRows>
struct CodeSums {
  static constexpr int kMost = StepsOfPart(F::kLargest);
  static constexpr int kSteps = F::kByHalf && kMost > kQuantSteps / 2 ? kQuantSteps / 2 : kMost;
  Ints part[kRows], total[kRows];
  PREFIXD_MEMBER void Clear() {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) total[r] = ZeroInts();
  }
  template <int kStep>
  PREFIXD_MEMBER void Add(Ints codes, const std::byte* x, const Factors<F>& factors) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      part[r] = AddProducts(kStep % kSteps == 0 ? ZeroInts() : part[r], codes, Spread(x + 4 * r));
      if constexpr ((kStep + 1) % kSteps == 0) {
        if constexpr (F::kFactors)
          total[r] = AddInts(total[r], SumOfPart(part[r], factors.c[kStep / (kQuantSteps / 2)]));
        else
          total[r] = AddInts(total[r], SumOfPart(part[r]));
      }
    }
  }
  PREFIXD_MEMBER Ints Get(int r, int32_t pair, const Factors<F>& factors) const {
    if constexpr (F::kZero == 0) return total[r];
    if constexpr (F::kFactors) return SubInts(total[r], SumOfShorts(factors.zero, SpreadInt(pair)));
    return SubInts(total[r], SpreadInt(F::kZero * SumOfPair(pair)));
  }
};

template <bool kWide, typename F, int kRows>
struct SumsOf {
  using Type = CodeSums<F, kRows>;
};
template <typename F, int kRows>
struct SumsOf<true, F, kRows> {
  using Type = WideSums<F, kRows>;
};

// Adds the products of the steps from kStep on.
template <typename F, int kRows, int kVectors, int kStep, typename Sums>
PREFIXD_INLINE void AddSteps(Sums (&sums)[kVectors], const Factors<F> (&factors)[kVectors],
                             const std::byte* w, const std::byte* x) {
  if constexpr (kStep < kQuantSteps) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      sums[v].template Add<kStep>(CodesOf<F, kStep>(w + 4 * v * kQuantLanes), x + 4 * kStep * kRows,
                                  factors[v]);
    }
    AddSteps<F, kRows, kVectors, kStep + 1>(sums, factors, w, x);
  }
}

template <typename F>
PREFIXD_INLINE Outputs LoadScale(const std::byte* head, int vector) {
  if constexpr (F::kExponent) return LoadExponents(head + vector * kQuantLanes);
  return LoadScales(head + 2 * vector * kQuantLanes);
}

template <typename F>
PREFIXD_INLINE Outputs LoadOffset(const std::byte* head, int vector) {
  if constexpr (!F::kOffset) return ZeroOutputs();
  return LoadScales(head + F::kFirstOffset + 2 * vector * kQuantLanes);
}

// Adds a run to the products of kRows rows and kVectors vectors of a panel, from vector `first` on.
template <typename F, int kRows, int kVectors>
PREFIXD_INLINE void AddRun(Outputs (&acc)[kVectors][kRows], const std::byte* w, const std::byte* head,
                           int run, int first, const std::byte* x) {
  Factors<F> factors[kVectors];
  if constexpr (F::kFactors) {
    const FactorBytes bytes = LoadFactors<F>(head, run);
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) factors[v] = FactorsOf<F>(bytes, first + v);
  }
  typename SumsOf<F::kWide, F, kRows>::Type sums[kVectors];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) sums[v].Clear();
  AddSteps<F, kRows, kVectors, 0>(sums, factors, w, x + 8 * kRows);
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    const Outputs scale = LoadScale<F>(head, first + v);
    const Outputs offset = LoadOffset<F>(head, first + v);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      float scale_of_x;
      int32_t pair;
      __builtin_memcpy(&scale_of_x, x + 4 * r, 4);
      __builtin_memcpy(&pair, x + 4 * (kRows + r), 4);
      acc[v][r] = AddScaled(acc[v][r], scale, scale_of_x, sums[v].Get(r, pair, factors[v]));
      if constexpr (F::kOffsetFactors)
        acc[v][r] = AddScaled(acc[v][r], offset, scale_of_x, SumOfShorts(factors[v].n, SpreadInt(pair)));
      else if constexpr (F::kOffset)
        acc[v][r] = AddScaled(acc[v][r], offset, scale_of_x, SpreadInt(SumOfPair(pair)));
    }
  }
}

// Writes a vector of a row. Only the first `columns` outputs exist.
PREFIXD_INLINE void WriteOutputs(Outputs sums, float* y, int columns, bool accumulate) {
  if (columns >= kQuantLanes) return StoreOutputs(y, accumulate ? AddOutputs(LoadOutputs(y), sums) : sums);
  float row[kQuantLanes];
  StoreOutputs(row, sums);
  for (int i = 0; i < columns; ++i) y[i] = accumulate ? y[i] + row[i] : row[i];
}

// Computes kRows rows of a group by kVectors vectors of a panel, from vector `first` on.
template <typename F, int kRows, int kVectors>
void QuantTile(const QuantJob& job, int panel, int first, int group) {
  const std::byte* const codes = job.weights + static_cast<size_t>(panel) * job.panel_bytes;
  const std::byte* w = codes + static_cast<size_t>(first) * 4 * kQuantLanes;
  const std::byte* head = codes + static_cast<size_t>(job.blocks) * F::kRunBytes;
  const size_t first_row = static_cast<size_t>(group) * kQuantTileRows;
  const std::byte* x = job.x + first_row * static_cast<size_t>(job.blocks) * kQuantRowBlockBytes;
  Outputs acc[kVectors][kRows];
  for (int v = 0; v < kVectors; ++v)
    for (int r = 0; r < kRows; ++r) acc[v][r] = ZeroOutputs();
  for (int b = 0; b < job.blocks; b += F::kRuns, head += F::kHeadBytes) {
    for (int run = 0; run < F::kRuns; ++run) {
      if constexpr (kRows <= kPrefetchRows) {
        for (size_t at = 0; at < F::kRunBytes; at += kLine) Prefetch(w + kPrefetchBytes + at);
      }
      AddRun<F, kRows, kVectors>(acc, w, head, run, first, x);
      w += F::kRunBytes;
      x += kRows * kQuantRowBlockBytes;
    }
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
template <typename F, int kRows = kQuantTileRows>
void QuantGroup(const QuantJob& job, int panel, int group) {
  if constexpr (kRows > 1) {
    if (job.rows - group * kQuantTileRows < kRows) return QuantGroup<F, kRows - 1>(job, panel, group);
  }
  constexpr int kVectors = kRows * kQuantPanelVectors <= kQuantInTile ? kQuantPanelVectors : 1;
  for (int first = 0; first < kQuantPanelVectors; first += kVectors)
    QuantTile<F, kRows, kVectors>(job, panel, first, group);
}

template <WeightFormat::Kind kKind>
void QuantGemmOf(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group) {
  for (int panel = first_panel; panel < end_panel; ++panel) {  // a panel stays in the CPU cache for all rows
    for (int group = first_group; group < end_group; ++group) QuantGroup<Format<kKind>>(job, panel, group);
  }
}

// The functions and facts of a format that its kind chooses.
struct QuantKind {
  void (*gemm)(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group);
  bool wide;
};
template <typename Indices>
struct QuantKinds;
template <int... kIndices>
struct QuantKinds<std::integer_sequence<int, kIndices...>> {
  template <int kIndex>
  static constexpr auto kKind = static_cast<WeightFormat::Kind>(WeightFormat::kQ8_0 + kIndex);
  static constexpr QuantKind kRows[] = {
      QuantKind{QuantGemmOf<kKind<kIndices>>, Format<kKind<kIndices>>::kWide}...};
};
PREFIXD_INLINE QuantKind KindOf(WeightFormat::Kind kind) {
  constexpr int kCount = WeightFormat::kKinds - WeightFormat::kQ8_0;
  return QuantKinds<std::make_integer_sequence<int, kCount>>::kRows[kind - WeightFormat::kQ8_0];
}

void QuantGemm(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group) {
  KindOf(job.kind).gemm(job, first_panel, end_panel, first_group, end_group);
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

void QuantPackRows(WeightFormat::Kind kind, const float* x, int count, int blocks, std::byte* packed) {
  const bool offset = kQ8IsOffset && KindOf(kind).wide;
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
