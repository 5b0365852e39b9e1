// Weights unpacked for many rows, of formats whose codes are below 64, for instructions that multiply bytes:
// the codes of each step, and factors, scales and offsets as the loops take them. Included after
// quant_shorts.inl.h and before quant_many.inl.h. Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

// The same run of kPanels panels.
template <typename F, int kPanels>
struct UnpackedBytes {
  using Format = F;
  static constexpr size_t kIntegerBytes = 1, kRowBlockBytes = cpu::RowBlockBytes(F::kOf, kIntegerBytes);
  using Terms = Factors;
  static constexpr int kVectors = kPanels * kQuantPanelVectors;
  alignas(64) std::byte codes[kQuantSteps][kPanels * kStepBytes];
  Factors factors[F::kIntegerFactors ? kVectors : 1];
  Outputs scale[kVectors][F::kParts], offset[F::kOffset ? kVectors : 1][F::kSumsOfX];

  template <int kStep>
  PREFIXD_MEMBER Ints Codes(int vector) const {
    return LoadWeights(codes[kStep] + 4 * vector * kQuantLanes);
  }
  PREFIXD_MEMBER Terms TermsAt(int vector) const {
    Terms terms;
    if constexpr (F::kIntegerFactors) terms = factors[vector];
    return terms;
  }
  PREFIXD_MEMBER Outputs Scale(int vector, int part) const { return scale[vector][part]; }
  PREFIXD_MEMBER Outputs Offset(int vector, int half) const { return offset[vector][half]; }

  // Sets the vectors of one of the panels.
  PREFIXD_MEMBER void Set(int panel, const std::byte* w, const std::byte* head, int run) {
    for (int v = 0; v < kQuantPanelVectors; ++v) {
      const StoredRun<F> stored = {w + 4 * v * kQuantLanes, head, run, v};
      const int vector = panel * kQuantPanelVectors + v;
      if constexpr (F::kIntegerFactors) factors[vector] = stored.TermsAt(0);
      for (int part = 0; part < F::kParts; ++part) scale[vector][part] = stored.Scale(0, part);
      for (int half = 0; F::kOffset && half < F::kSumsOfX; ++half)
        offset[vector][half] = stored.Offset(0, half);
      SetCodes<0>(vector, stored);
    }
  }

 private:
  template <int kStep>
  PREFIXD_MEMBER void SetCodes(int vector, const StoredRun<F>& stored) {
    if constexpr (kStep < kQuantSteps) {
      StoreWeights(codes[kStep] + 4 * vector * kQuantLanes, stored.template Codes<kStep>(0));
      SetCodes<kStep + 1>(vector, stored);
    }
  }
};

template <typename F, int kPanels>
using UnpackedRun = std::conditional_t<F::kWide, UnpackedShorts<F, kPanels>, UnpackedBytes<F, kPanels>>;
// Whether a run of F is one sum of each output, with nothing to add to it before its end.
template <typename F>
constexpr bool kOneSum = F::kWide || (StepsOfPart(F::kLargest) == kQuantSteps && !F::kIntegerFactors);
// The vectors of sums of a tile, at most. Where a run is one sum, they are more than the registers: the
// products as f32 wait in memory for the end of a run, which takes longer.
template <typename F>
constexpr int kUnpackedInTile = kOneSum<F> ? (kQuantTileRows* kQuantPanelVectors) : kQuantInTile;

}  // namespace prefixd::PREFIXD_ISA
