// What a panel of quantised weights holds, in the order of quant_ops.h: the codes and factors of its runs,
// its scales and offsets. The source of one instruction set includes this file after its quant_*.h. Pure
// functions; any thread.

namespace prefixd::PREFIXD_ISA {

using cpu::kQuantPanel;
using cpu::kQuantSteps;
using cpu::QuantJob;

constexpr size_t kStepBytes = size_t{4} * kQuantPanel;  // of weights of one byte
constexpr int kQuantPanelVectors = kQuantPanel / kQuantLanes;

// What the loops know of a format: constants, because they may call no function of QuantFormat (ops.h).
template <WeightFormat::Kind kFormatKind>
struct Format {
  static constexpr WeightFormat::Kind kKind = kFormatKind;
  static constexpr QuantFormat kOf = QuantFormatOf(kFormatKind);
  static constexpr int kRuns = kOf.runs(), kZero = kOf.zero, kLargest = kOf.Largest();
  static constexpr int kFactorBits = kOf.factor_bits, kFactorZero = kOf.factor_zero;
  static constexpr int kLeastFactor = kOf.LeastFactor(), kLargestFactor = kOf.LargestFactor();
  static constexpr int kFactorsOfRun = kOf.FactorsOfRun();
  static constexpr bool kFactors = kFactorBits != 0, kByHalf = kOf.by_half;
  static constexpr bool kOffset = kOf.offset, kOffsetFactors = kOf.offset_factors, kExponent = kOf.exponent;
  // Parts of a run that have a scale and a sum of their own (rule 9). Where halves have other factors, these
  // multiply integers.
  static constexpr int kParts = kByHalf && kFactorBits == 8 ? 2 : 1, kPartSteps = kQuantSteps / kParts;
  static constexpr bool kIntegerFactors = kByHalf && kParts == 1;
  static constexpr int kSumsOfX = cpu::SumsOfX(kOf);
  static constexpr bool kHasCodebook = kOf.codebook != nullptr;
  // Integers of 8 bits, with sums of their own (Q8Sums). All other codes are below 64, and not negative.
  static constexpr bool kWide = kLargest > 63;
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

// Returns a piece of the codes of a step, at its place in them, and the other pieces with it.
template <int kBits, int kStep, int kPiece = 0>
PREFIXD_INLINE Ints PiecesAt(const std::byte* run) {
  constexpr cpu::CodePieces kPieces = cpu::PiecesOf(kBits, kStep);
  constexpr cpu::CodePiece kOf = kPieces.piece[kPiece];
  Ints codes = LoadWeights(run + kOf.word * kStepBytes);
  if constexpr (kOf.bits < 8)
    codes = And(ShiftBits<kOf.to - kOf.at>(codes), SpreadByte(((1 << kOf.bits) - 1) << kOf.to));
  if constexpr (kPiece + 1 < kPieces.count) codes = Or(codes, PiecesAt<kBits, kStep, kPiece + 1>(run));
  return codes;
}

// Returns the codes of a step of a run, or what the codebook has for them.
template <typename F, int kStep>
PREFIXD_INLINE Ints CodesOf(const std::byte* run) {
  Ints codes = PiecesAt<F::kOf.bits, kStep>(run);
  if constexpr (F::kHasCodebook) codes = Lookup(F::kCodebook.entries, codes);
  return codes;
}

// The factors of a run, of all outputs of a panel, and, as they multiply integers, of those of a vector.
struct FactorBytes {
  __m128i c[2], n[2];
};
struct Factors {
  Ints c[2];  // as they multiply a part of the sum
  Ints zero;  // c[0] and c[1], times what codes are too large
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
PREFIXD_INLINE Factors FactorsOf(const FactorBytes& bytes, int vector) {
  static_assert(!F::kWide);
  Factors factors;
  for (int half = 0; half < 2; ++half) factors.c[half] = FactorOfPart(bytes.c[half], vector);
  factors.zero = TimesShorts(ShortsOf(bytes.c[0], bytes.c[1], vector), F::kZero);
  return factors;
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

// A run of a panel as it is stored. It has the members that the loops of quant_sums.inl.h need of a run, for
// the vectors from `first` on.
template <typename F>
struct StoredRun {
  using Format = F;
  // The bytes of an integer of x and of the weights, and those of a run of a packed row of x.
  static constexpr size_t kIntegerBytes = 1, kRowBlockBytes = cpu::RowBlockBytes(F::kOf, kIntegerBytes);
  const std::byte* w;     // the codes of the run, from vector `first` on
  const std::byte* head;  // of its block
  int run, first;
  template <int kStep>
  PREFIXD_MEMBER Ints Codes(int vector) const {
    return CodesOf<F, kStep>(w + 4 * vector * kQuantLanes);
  }
  using Terms = Factors;  // set where factors multiply integers
  PREFIXD_MEMBER Terms TermsAt(int vector) const {
    Terms terms;
    if constexpr (F::kIntegerFactors) terms = FactorsOf<F>(LoadFactors<F>(head, run), first + vector);
    return terms;
  }
  // D of rule 9, of a part, and its M[half].
  PREFIXD_MEMBER Outputs Scale(int vector, int part) const {
    const Outputs scale = LoadScale<F>(head, first + vector);
    if constexpr (!F::kFactors || F::kIntegerFactors) return scale;
    return MulOutputs(scale, ToOutputs(IntsOf(LoadFactors<F>(head, run).c[part], first + vector)));
  }
  PREFIXD_MEMBER Outputs Offset(int vector, int half) const {
    const Outputs offset = LoadOffset<F>(head, first + vector);
    if constexpr (!F::kOffsetFactors) return offset;
    return MulOutputs(offset, ToOutputs(IntsOf(LoadFactors<F>(head, run).n[half], first + vector)));
  }
};

}  // namespace prefixd::PREFIXD_ISA
