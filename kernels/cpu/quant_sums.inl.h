// The sums of a run (numerics rule 9), exact in integers, and what they add to the products. Included after
// quant_runs.inl.h. Pure functions; any thread.

#include <type_traits>

namespace prefixd::PREFIXD_ISA {

// The sums S of rule 9 of kRows rows and the outputs of a vector: of wide formats
template <typename Run, int kRows>
struct WideSums {
  using F = typename Run::Format;
  Q8Sums<kRows> sums;
  PREFIXD_MEMBER void Clear(const Factors<F>& /*factors*/, const std::byte* /*x*/) { sums.Clear(); }
  // Adds the products of a step, of row r: weights [lanes][4] by four integers of x.
  template <int kStep>
  PREFIXD_MEMBER void Add(int r, Ints weights, Ints x, const Factors<F>& /*factors*/) {
    sums.Add(r, weights, x);
  }
  PREFIXD_MEMBER Ints Get(int r, int32_t /*pair*/) const { return sums.Get(r); }
};

// and of codes below 64.
template <typename Run, int kRows>
struct CodeSums {
  using F = typename Run::Format;
  static constexpr int kSteps = StepsOfPart(F::kLargest);
  Ints part[kRows], total[kRows];
  PREFIXD_MEMBER void Clear(const Factors<F>& /*factors*/, const std::byte* /*x*/) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) total[r] = ZeroInts();
  }
  template <int kStep>
  PREFIXD_MEMBER void Add(int r, Ints codes, Ints x, const Factors<F>& /*factors*/) {
    part[r] = AddProducts(kStep % kSteps == 0 ? ZeroInts() : part[r], codes, x);
    if constexpr ((kStep + 1) % kSteps == 0) total[r] = AddInts(total[r], SumOfPart(part[r]));
  }
  PREFIXD_MEMBER Ints Get(int r, int32_t pair) const {
    if constexpr (F::kZero == 0) return total[r];
    return SubInts(total[r], SumOfShorts(SpreadInt(pair), SpreadShort(F::kZero)));
  }
};

// The sums U of rule 9, of formats whose halves have factors of their own, without the offset.
template <typename Run, int kRows>
struct SumsOfHalves {
  using F = typename Run::Format;
  static constexpr int kHalf = kQuantSteps / 2;
  static constexpr int kMost = StepsOfPart(F::kLargest), kSteps = kMost < kHalf ? kMost : kHalf;
  Ints part[kRows], half[kRows];
  Outputs total[kRows];
  const std::byte* x_sums;
  PREFIXD_MEMBER void Clear(const Factors<F>& /*factors*/, const std::byte* x) { x_sums = x + 4 * kRows; }
  template <int kStep>
  PREFIXD_MEMBER void Add(int r, Ints codes, Ints x, const Factors<F>& factors) {
    part[r] = AddProducts(kStep % kSteps == 0 ? ZeroInts() : part[r], codes, x);
    if constexpr ((kStep + 1) % kSteps == 0) {
      half[r] = kStep % kHalf < kSteps ? SumOfPart(part[r]) : AddInts(half[r], SumOfPart(part[r]));
    }
    if constexpr ((kStep + 1) % kHalf == 0) {
      constexpr int kOf = kStep / kHalf;
      const Outputs sum = ToOutputs(SubInts(half[r], SpreadInt(F::kZero * SumOfX(r, kOf))));
      total[r] = kOf == 0 ? MulOutputs(sum, factors.scale[0]) : FmaOutputs(sum, factors.scale[1], total[r]);
    }
  }
  PREFIXD_MEMBER Outputs Total(int r) const { return total[r]; }

 private:
  PREFIXD_MEMBER int SumOfX(int r, int of) const {
    int16_t sum;
    __builtin_memcpy(&sum, x_sums + 4 * r + 2 * of, 2);
    return sum;
  }
};

template <typename Run, int kRows>
struct SumsOf {
  using F = typename Run::Format;
  using Type =
      std::conditional_t<F::kWide, WideSums<Run, kRows>,
                         std::conditional_t<F::kByHalf, SumsOfHalves<Run, kRows>, CodeSums<Run, kRows>>>;
};

// Adds the products of the steps from kStep on.
template <int kRows, int kVectors, int kStep, typename Run, typename Sums>
PREFIXD_INLINE void AddSteps(Sums (&sums)[kVectors], const Run& run, int first,
                             const typename Run::Terms (&terms)[kVectors], const std::byte* x) {
  if constexpr (kStep < kQuantSteps) {
    Ints codes[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) codes[v] = run.template Codes<kStep>(first + v);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Ints four = Spread(x + 4 * (kStep * kRows + r));
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sums[v].template Add<kStep>(r, codes[v], four, terms[v]);
    }
    AddSteps<kRows, kVectors, kStep + 1>(sums, run, first, terms, x);
  }
}

// Adds a run to the products of kRows rows and kVectors vectors, from vector `first` of the run on.
template <int kRows, int kVectors, typename Run>
PREFIXD_INLINE void AddRun(Outputs (&acc)[kVectors][kRows], const Run& run, int first, const std::byte* x) {
  using F = typename Run::Format;
  typename Run::Terms terms[kVectors];
  typename SumsOf<Run, kRows>::Type sums[kVectors];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    terms[v] = run.TermsAt(first + v);
    sums[v].Clear(terms[v], x);
  }
  AddSteps<kRows, kVectors, 0>(sums, run, first, terms, x + 8 * kRows);
  Outputs scales[kVectors], offsets[kVectors];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    if constexpr (!F::kByHalf) scales[v] = run.Scale(first + v);
    offsets[v] = run.Offset(first + v);
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    float scale_of_x, sum_of_x;
    int32_t pair;
    __builtin_memcpy(&scale_of_x, x + 4 * r, 4);
    __builtin_memcpy(&pair, x + 4 * (kRows + r), 4);
    __builtin_memcpy(&sum_of_x, &pair, 4);  // of a format with an offset and one factor: a float
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (F::kByHalf) {
        Outputs sum = sums[v].Total(r);
        if constexpr (F::kOffset) {
          const Ints of_x = SumOfShorts(Run::OffsetFactors(terms[v]), SpreadInt(pair));
          sum = FmaOutputs(offsets[v], ToOutputs(of_x), sum);
        }
        acc[v][r] = FmaOutputs(sum, SpreadFloat(scale_of_x), acc[v][r]);
      } else {
        acc[v][r] = AddScaled(acc[v][r], scales[v], scale_of_x, sums[v].Get(r, pair));
        if constexpr (F::kOffset) acc[v][r] = FmaOutputs(offsets[v], SpreadFloat(sum_of_x), acc[v][r]);
      }
    }
  }
}

}  // namespace prefixd::PREFIXD_ISA
