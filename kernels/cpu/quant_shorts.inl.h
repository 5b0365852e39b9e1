// Weights unpacked for many rows, for instructions that multiply shorts (kShortX), of formats with integers
// of 8 bits: the products of pairs of shorts need no more than 32 bits, where those of pairs of bytes would
// not add up in 16. Formats of fewer bits are faster as bytes. Included after quant.inl.h and before
// quant_many.inl.h. Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

// The same run of kPanels panels, whose integers are shorts: of each step the first and third of four, then
// the second and fourth.
template <typename F, int kPanels>
struct UnpackedShorts {
  using Format = F;
  static constexpr size_t kIntegerBytes = 2, kRowBlockBytes = cpu::RowBlockBytes(F::kOf, kIntegerBytes);
  struct Terms {};
  static constexpr int kVectors = kPanels * kQuantPanelVectors;
  alignas(64) std::byte codes[2 * kQuantSteps][kPanels * kStepBytes];
  Outputs scale[kVectors];

  template <int kStep>
  PREFIXD_MEMBER Ints Codes(int vector) const {
    return LoadWeights(codes[kStep] + 4 * vector * kQuantLanes);
  }
  PREFIXD_MEMBER Terms TermsAt(int /*vector*/) const { return {}; }
  PREFIXD_MEMBER Outputs Scale(int vector, int /*part*/) const { return scale[vector]; }

  // Sets the vectors of one of the panels.
  PREFIXD_MEMBER void Set(int panel, const std::byte* w, const std::byte* head, int run) {
    for (int v = 0; v < kQuantPanelVectors; ++v) {
      const StoredRun<F> stored = {w + 4 * v * kQuantLanes, head, run, v};
      const int vector = panel * kQuantPanelVectors + v;
      scale[vector] = stored.Scale(0, 0);
      SetCodes<0>(vector, stored);
    }
  }

 private:
  template <int kStep>
  PREFIXD_MEMBER void SetCodes(int vector, const StoredRun<F>& stored) {
    if constexpr (kStep < kQuantSteps) {
      const Ints step = stored.template Codes<kStep>(0);
      StoreWeights(codes[2 * kStep] + 4 * vector * kQuantLanes, EvenShorts(step));
      StoreWeights(codes[2 * kStep + 1] + 4 * vector * kQuantLanes, OddShorts(step));
      SetCodes<kStep + 1>(vector, stored);
    }
  }
};

// The sums S of rule 9 of UnpackedShorts, of kRows rows and the outputs of a vector.
template <typename Terms, int kRows>
struct ShortSums {
  Ints sum[kRows];
  PREFIXD_MEMBER void Clear(const Terms& /*terms*/) {}
  template <int kStep>
  PREFIXD_MEMBER void Add(int r, Ints weights, Ints x, const Terms& /*terms*/) {
    const Ints pairs = SumOfShorts(weights, x);
    sum[r] = kStep == 0 ? pairs : AddInts(sum[r], pairs);
    InOrder(sum[r]);
  }
  PREFIXD_MEMBER Ints Get(int r, int32_t /*pair*/, const Terms& /*terms*/) const { return sum[r]; }
};

template <typename F, int kPanels, int kRows, int kPart>
struct SumsOf<UnpackedShorts<F, kPanels>, kRows, kPart> {
  static_assert(F::kWide && kPart == 0);
  using Type = ShortSums<typename UnpackedShorts<F, kPanels>::Terms, kRows>;
};

}  // namespace prefixd::PREFIXD_ISA
