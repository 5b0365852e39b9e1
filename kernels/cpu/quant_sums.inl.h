// The sums of a run (numerics rule 9), exact in integers, and what they add to the products. Included after
// quant_runs.inl.h. Pure functions; any thread.

#include <type_traits>

namespace prefixd::PREFIXD_ISA {

// The sums S of rule 9 of kRows rows and the outputs of a vector: of wide formats
template <typename Run, int kRows>
struct WideSums {
  using F = typename Run::Format;
  Q8Sums<kRows> sums;
  PREFIXD_MEMBER void Clear(const Factors& /*factors*/) { sums.Clear(); }
  // Adds the products of a step, of row r: weights [lanes][4] by four integers of x.
  template <int kStep>
  PREFIXD_MEMBER void Add(int r, Ints weights, Ints x, const Factors& /*factors*/) {
    sums.Add(r, weights, x);
  }
  PREFIXD_MEMBER Ints Get(int r, int32_t /*pair*/, const Factors& /*factors*/) const { return sums.Get(r); }
};

// and of codes below 64. `kPart`: the part of the run.
template <typename Run, int kRows, int kPart>
struct CodeSums {
  using F = typename Run::Format;
  static constexpr int kMost = StepsOfPart(F::kLargest);
  static constexpr int kSteps = F::kByHalf && kMost > kQuantSteps / 2 ? kQuantSteps / 2 : kMost;
  Ints part[kRows], total[kRows];
  PREFIXD_MEMBER void Clear(const Factors& /*factors*/) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) total[r] = ZeroInts();
  }
  template <int kStep>
  PREFIXD_MEMBER void Add(int r, Ints codes, Ints x, const Factors& factors) {
    part[r] = AddProducts(kStep % kSteps == 0 ? ZeroInts() : part[r], codes, x);
    if constexpr ((kStep + 1) % kSteps == 0) {
      if constexpr (F::kIntegerFactors)
        total[r] = AddInts(total[r], SumOfPart(part[r], factors.c[kStep / (kQuantSteps / 2)]));
      else
        total[r] = AddInts(total[r], SumOfPart(part[r]));
      InOrder(total[r]);
    }
  }
  PREFIXD_MEMBER Ints Get(int r, int32_t pair, const Factors& factors) const {
    if constexpr (F::kZero == 0) return total[r];
    if constexpr (F::kIntegerFactors) return SubInts(total[r], SumOfShorts(factors.zero, SpreadInt(pair)));
    const int32_t of_halves = F::kParts == 1 ? F::kZero * 0x10001 : F::kZero << 16 * kPart;
    return SubInts(total[r], SumOfShorts(SpreadInt(pair), SpreadInt(of_halves)));
  }
  // The product d S, of formats whose halves have factors of their own.
  PREFIXD_MEMBER Outputs Scaled(int r, int32_t pair, const Factors& factors, Outputs scale) const {
    return MulOutputs(scale, ToOutputs(Get(r, pair, factors)));
  }
};

template <typename Run, int kRows, int kPart>
struct SumsOf {
  using Type = std::conditional_t<Run::Format::kWide, WideSums<Run, kRows>, CodeSums<Run, kRows, kPart>>;
};

// Adds the products of the steps from kStep to kEnd, each of 4 bytes of a row of x.
template <int kRows, int kVectors, int kStep, int kEnd, typename Run, typename Sums>
PREFIXD_INLINE void AddSteps(Sums (&sums)[kVectors], const Run& run, int first,
                             const typename Run::Terms (&terms)[kVectors], const std::byte* x) {
  if constexpr (kStep < kEnd) {
    Ints codes[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) codes[v] = run.template Codes<kStep>(first + v);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Ints four = Spread(x + 4 * (kStep * kRows + r));
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sums[v].template Add<kStep>(r, codes[v], four, terms[v]);
    }
    AddSteps<kRows, kVectors, kStep + 1, kEnd>(sums, run, first, terms, x);
  }
}

// Adds part kPart of a run, without the offsets, to the products of kRows rows and kVectors vectors, from
// vector `first` of the run on.
template <int kRows, int kVectors, int kPart, typename Run>
PREFIXD_INLINE void AddPart(Outputs (&acc)[kVectors][kRows], const Run& run, int first, const std::byte* x) {
  using F = typename Run::Format;
  typename Run::Terms terms[kVectors];
  typename SumsOf<Run, kRows, kPart>::Type sums[kVectors];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    terms[v] = run.TermsAt(first + v);
    sums[v].Clear(terms[v]);
  }
  constexpr int kSteps = F::kPartSteps * static_cast<int>(Run::kIntegerBytes);
  AddSteps<kRows, kVectors, kPart * kSteps, (kPart + 1) * kSteps>(sums, run, first, terms,
                                                                  x + 4 * kRows * (1 + F::kSumsOfX));
  Outputs scales[kVectors];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) scales[v] = run.Scale(first + v, kPart);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    float scale_of_x;
    int32_t pair;
    __builtin_memcpy(&scale_of_x, x + 4 * r, 4);
    __builtin_memcpy(&pair, x + 4 * (kRows + r), 4);
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (F::kByHalf)
        acc[v][r] =
            FmaOutputs(sums[v].Scaled(r, pair, terms[v], scales[v]), SpreadFloat(scale_of_x), acc[v][r]);
      else
        acc[v][r] = AddScaled(acc[v][r], scales[v], scale_of_x, sums[v].Get(r, pair, terms[v]));
    }
  }
}

// Adds a run to the same.
template <int kRows, int kVectors, typename Run>
PREFIXD_INLINE void AddRun(Outputs (&acc)[kVectors][kRows], const Run& run, int first, const std::byte* x) {
  using F = typename Run::Format;
  AddPart<kRows, kVectors, 0>(acc, run, first, x);
  if constexpr (F::kParts == 2) AddPart<kRows, kVectors, 1>(acc, run, first, x);
  if constexpr (F::kOffset) {
#pragma GCC unroll 2
    for (int half = 0; half < F::kSumsOfX; ++half) {
      Outputs offsets[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) offsets[v] = run.Offset(first + v, half);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const Outputs sum = AsOutputs(Spread(x + 4 * ((1 + half) * kRows + r)));
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) acc[v][r] = FmaOutputs(offsets[v], sum, acc[v][r]);
      }
    }
  }
}

}  // namespace prefixd::PREFIXD_ISA
