// Weights unpacked for many rows, for instructions that multiply signed bytes by x, which may have to be
// unsigned (kUnsignedX). Included after quant_sums.inl.h and before quant_span.inl.h. Pure functions; any
// thread.

namespace prefixd::PREFIXD_ISA {

template <typename F>
constexpr int kUnpackedInTile = kQuantInTile;

// Bytes times the factor of each output, where no product exceeds a byte.
PREFIXD_INLINE Ints TimesFactor(Ints bytes, Ints factor) {
  const Ints factors = Or(And(factor, SpreadInt(0xFFFF)), ShiftInts<16>(factor));
  const Ints even = TimesShorts(bytes, factors), odd = TimesShorts(ShiftBits<-8>(bytes), factors);
  return Or(And(even, SpreadShort(0xFF)), ShiftBits<8>(odd));
}

// The largest of the products sign c q of a format.
template <typename F, int kSign>
constexpr int LargestProduct() {
  int largest = 0;
  for (const int c : {F::kLeastFactor, F::kLargestFactor}) {
    for (const int q : {-F::kZero, F::kLargest - F::kZero})
      largest = kSign * c * q > largest ? kSign * c * q : largest;
  }
  return largest;
}

// Adding an integer, at most 2^22 large, to the bits of 1.5 * 2^23 adds it to the number.
constexpr float kIntegerBase = 0x1.8p+23f;
constexpr int32_t kIntegerBaseBits = 0x4B400000;

// What the sums of a vector start with where x is unsigned: 128 times less than the sum of the integers,
// because x is 128 too large. Those of formats with factors of halves start at the bits of kIntegerBase, so
// that they become those of kIntegerBase + S. One fma of that by D and `less` is D S, rounded once: D has few
// bits, and its product with kIntegerBase is exact.
template <typename F, bool kUnsigned = kUnsignedX>
struct SumStarts {
  Ints start[F::kParts];
  Outputs less[F::kParts];
  PREFIXD_MEMBER void Begin(int part, Outputs scale) {
    less[part] = MulOutputs(scale, SpreadFloat(-kIntegerBase));
    start[part] = F::kByHalf ? SpreadInt(kIntegerBaseBits) : ZeroInts();
  }
  PREFIXD_MEMBER void Subtract(int part, Ints step) {
    start[part] = SubInts(start[part], ShiftInts<7>(SumOfBytes(step)));
  }
};
template <typename F>
struct SumStarts<F, false> {
  PREFIXD_MEMBER void Begin(int /*part*/, Outputs /*scale*/) {}
  PREFIXD_MEMBER void Subtract(int /*part*/, Ints /*step*/) {}
};

// What an unpacked run has for the outputs of a vector, beside its integers.
//
// Integer factors are in the integers: these are c q. Those of q3_k are within -124 .. 128, so that they are
// -c q, and the scale is -d.
//
// All this may change the sign of a product that is 0, and no other bit. The sign changes no bit of a chain:
// it starts with +0, and no sum of it is -0.
template <typename F>
struct UnpackedTerms : SumStarts<F> {
  static constexpr int kMost = LargestProduct<F, 1>(), kLeast = -LargestProduct<F, -1>();
  static constexpr bool kNegates = F::kIntegerFactors && kMost > 127;
  static_assert(!F::kIntegerFactors || (kNegates ? kMost <= 128 && kLeast >= -127 : kLeast >= -128));
  Outputs scale[F::kParts];
  Outputs offset[F::kOffset ? F::kSumsOfX : 1];
};

// The same run of kPanels panels, unpacked for the many rows that it multiplies: the integers that the codes
// stand for, as signed bytes, and the rest as the loops take it.
template <typename F, int kPanels>
struct UnpackedRun {
  using Format = F;
  static constexpr size_t kIntegerBytes = 1, kRowBlockBytes = cpu::RowBlockBytes(F::kOf, kIntegerBytes);
  using Terms = const UnpackedTerms<F>*;
  static constexpr int kVectors = kPanels * kQuantPanelVectors;
  alignas(64) std::byte codes[kQuantSteps][kPanels * kStepBytes];
  UnpackedTerms<F> terms[kVectors];

  template <int kStep>
  PREFIXD_MEMBER Ints Codes(int vector) const {
    return LoadWeights(codes[kStep] + 4 * vector * kQuantLanes);
  }
  PREFIXD_MEMBER Terms TermsAt(int vector) const { return &terms[vector]; }
  PREFIXD_MEMBER Outputs Scale(int vector, int part) const { return terms[vector].scale[part]; }
  PREFIXD_MEMBER Outputs Offset(int vector, int half) const { return terms[vector].offset[half]; }

  // Sets the vectors of one of the panels.
  PREFIXD_MEMBER void Set(int panel, const std::byte* w, const std::byte* head, int run) {
    for (int v = 0; v < kQuantPanelVectors; ++v) {
      const StoredRun<F> stored = {w + 4 * v * kQuantLanes, head, run, v};
      const Factors factors = stored.TermsAt(0);
      const int vector = panel * kQuantPanelVectors + v;
      using To = UnpackedTerms<F>;
      To& to = terms[vector];
      for (int half = 0; F::kOffset && half < F::kSumsOfX; ++half) to.offset[half] = stored.Offset(0, half);
      for (int part = 0; part < F::kParts; ++part) {
        const Outputs scale = stored.Scale(0, part);
        to.scale[part] = To::kNegates ? SubOutputs(ZeroOutputs(), scale) : scale;
        to.Begin(part, to.scale[part]);
      }
      SetCodes<0>(vector, stored, factors);
    }
  }

 private:
  template <int kStep>
  PREFIXD_MEMBER void SetCodes(int vector, const StoredRun<F>& stored, const Factors& factors) {
    if constexpr (kStep < kQuantSteps) {
      Ints step = stored.template Codes<kStep>(0);
      if constexpr (!F::kWide && F::kZero != 0) step = SubBytes(step, SpreadByte(F::kZero));
      if constexpr (F::kIntegerFactors) {
        const Ints factor = factors.c[kStep / (kQuantSteps / 2)];
        step = TimesFactor(step, UnpackedTerms<F>::kNegates ? SubInts(ZeroInts(), factor) : factor);
      }
      terms[vector].Subtract(kStep / F::kPartSteps, step);
      StoreWeights(codes[kStep] + 4 * vector * kQuantLanes, step);
      SetCodes<kStep + 1>(vector, stored, factors);
    }
  }
};

// The sums S of rule 9 of part kPart of an UnpackedRun, of kRows rows and the outputs of a vector, or D S.
template <typename F, int kRows, int kPart>
struct SignedSums {
  using Terms = const UnpackedTerms<F>*;
  Ints sum[kRows];
  PREFIXD_MEMBER void Clear(Terms /*terms*/) {}
  template <int kStep>
  PREFIXD_MEMBER void Add(int r, Ints weights, Ints x, Terms terms) {
    sum[r] = AddProducts(kStep % F::kPartSteps == 0 ? terms->start[kPart] : sum[r], x, weights);
  }
  PREFIXD_MEMBER Ints Get(int r, int32_t /*pair*/, Terms /*terms*/) const { return sum[r]; }
  PREFIXD_MEMBER Outputs Scaled(int r, int32_t /*pair*/, Terms terms, Outputs scale) const {
    return FmaOutputs(AsOutputs(sum[r]), scale, terms->less[kPart]);
  }
};

template <typename F, int kPanels, int kRows, int kPart>
struct SumsOf<UnpackedRun<F, kPanels>, kRows, kPart> {
  using Type = SignedSums<F, kRows, kPart>;
};

}  // namespace prefixd::PREFIXD_ISA
