// Products of quantised weights by many rows, for instructions that multiply unsigned x (kUnsignedX): a part
// of some panels is unpacked once for all rows. Included after quant.inl.h. Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

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

// What an unpacked run has for the outputs of a vector, beside its integers.
//
// Integer factors are in the integers: these are c q. Those of q3_k are within -124 .. 128, so that they are
// -c q, and the scale is -d. The sums of formats with factors of halves begin with the bits of kIntegerBase,
// so that they become those of kIntegerBase + S. One fma of that by D and `less` is D S, rounded once: D has
// few bits, and its product with kIntegerBase is exact.
//
// All this may change the sign of a product that is 0, and no other bit. The sign changes no bit of a chain:
// it starts with +0, and no sum of it is -0.
template <typename F>
struct UnpackedTerms {
  static constexpr int kMost = LargestProduct<F, 1>(), kLeast = -LargestProduct<F, -1>();
  static constexpr bool kNegates = F::kIntegerFactors && kMost > 127;
  static_assert(!F::kIntegerFactors || (kNegates ? kMost <= 128 && kLeast >= -127 : kLeast >= -128));
  Ints start[F::kParts];  // of the sums, less what x + 128 instead of x adds
  Outputs scale[F::kParts], less[F::kParts];
  Outputs offset[F::kSumsOfX];
};

// The same run of kPanels panels, unpacked for the many rows that it multiplies, whose x is unsigned
// (kUnsignedX): the integers that the codes stand for, as signed bytes, and the rest as the loops take it.
template <typename F, int kPanels>
struct UnpackedRun {
  using Format = F;
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
      for (int half = 0; half < F::kSumsOfX; ++half) to.offset[half] = stored.Offset(0, half);
      for (int part = 0; part < F::kParts; ++part) {
        const Outputs scale = stored.Scale(0, part);
        to.scale[part] = To::kNegates ? SubOutputs(ZeroOutputs(), scale) : scale;
        to.less[part] = MulOutputs(to.scale[part], SpreadFloat(-kIntegerBase));
        to.start[part] = F::kByHalf ? SpreadInt(kIntegerBaseBits) : ZeroInts();
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
      Ints& start = terms[vector].start[kStep / F::kPartSteps];
      start = SubInts(start, ShiftInts<7>(SumOfBytes(step)));
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

// Runs that are unpacked at once: they, and the x of a group, fit into the L1 cache. Groups at once, those of
// the rows of most steps: the sums of their rows wait from one part of the runs to the next, as f32, which
// changes no bit.
constexpr int kPartRuns = 16;
constexpr int kGroupsAtOnce = 516 / kQuantTileRows;

struct QuantPart {
  int first, runs;  // multiples of the runs of a block
  bool begins, ends;
};

// The unpacked part of some panels, and the sums of all groups: [group][vectors][rows].
template <typename F, int kPanels>
struct QuantSpan {
  UnpackedRun<F, kPanels> runs[kPartRuns];
  Outputs sums[kGroupsAtOnce][kPanels * kQuantPanelVectors][kQuantTileRows];

  // Asks for share `i` of `shares` of the codes of a part, which is unpacked later.
  static void PrefetchShare(const QuantJob& job, int panel, int first_run, int i, int shares) {
    constexpr size_t kLines = kPartRuns * F::kRunBytes / kLine;
    const size_t each = (kLines + static_cast<size_t>(shares) - 1) / static_cast<size_t>(shares) * kLine;
    for (int p = 0; p < kPanels; ++p) {
      const std::byte* const codes = PanelAt(job, panel + p) + static_cast<size_t>(first_run) * F::kRunBytes;
      for (size_t at = 0; at < each; at += kLine) PrefetchFar(codes + static_cast<size_t>(i) * each + at);
    }
  }

  void Unpack(const QuantJob& job, int panel, const QuantPart& part) {
    for (int p = 0; p < kPanels; ++p) {
      const std::byte* const codes = PanelAt(job, panel + p);
      const std::byte* w = codes + static_cast<size_t>(part.first) * F::kRunBytes;
      const std::byte* head = codes + static_cast<size_t>(job.blocks) * F::kRunBytes +
                              static_cast<size_t>(part.first / F::kRuns) * F::kHeadBytes;
      for (int i = 0; i < part.runs; ++i, w += F::kRunBytes)
        runs[i].Set(p, w, head + static_cast<size_t>(i / F::kRuns) * F::kHeadBytes, i % F::kRuns);
    }
  }
};

// Adds a part to the products of a group and kVectors vectors of the span, from vector `first` on.
template <int kRows, int kVectors, typename F, int kPanels>
void SpanTile(const QuantJob& job, QuantSpan<F, kPanels>& span, int panel, int first, int group,
              const QuantPart& part, Outputs (*sums)[kQuantTileRows]) {
  Outputs acc[kVectors][kRows];
  for (int v = 0; v < kVectors; ++v)
    for (int r = 0; r < kRows; ++r) acc[v][r] = part.begins ? ZeroOutputs() : sums[first + v][r];
  const std::byte* x =
      PackedGroup<F>(job, group) + static_cast<size_t>(part.first) * kRows * F::kRowBlockBytes;
  for (int i = 0; i < part.runs; ++i, x += kRows * F::kRowBlockBytes)
    AddRun<kRows, kVectors>(acc, span.runs[i], first, x);
  if (part.ends) return WriteTile(job, acc, panel * kQuantPanel + first * kQuantLanes, FirstRow(group));
  for (int v = 0; v < kVectors; ++v)
    for (int r = 0; r < kRows; ++r) sums[first + v][r] = acc[v][r];
}

template <int kRows, typename F, int kPanels>
void SpanGroup(const QuantJob& job, QuantSpan<F, kPanels>& span, int panel, int group, const QuantPart& part,
               Outputs (*sums)[kQuantTileRows]) {
  if constexpr (kRows > 1) {
    if (job.rows - group * kQuantTileRows < kRows)
      return SpanGroup<kRows - 1>(job, span, panel, group, part, sums);
  }
  constexpr int kAll = kPanels * kQuantPanelVectors;
  constexpr int kVectors = kRows * kAll <= kQuantInTile ? kAll : 1;
  for (int first = 0; first < kAll; first += kVectors)
    SpanTile<kRows, kVectors>(job, span, panel, first, group, part, sums);
}

// Computes kPanels panels of the groups first_group .. end_group - 1, of which there are at most
// kGroupsAtOnce.
template <typename F, int kPanels>
void MultiplySpan(const QuantJob& job, int panel, int first_group, int end_group) {
  QuantSpan<F, kPanels> span;
  const int at_once = AtOnce(job.blocks / F::kRuns, kPartRuns / F::kRuns) * F::kRuns;
  for (int run = 0; run < job.blocks; run += at_once) {
    const int runs = job.blocks - run < at_once ? job.blocks - run : at_once;
    const QuantPart part = {run, runs, run == 0, run + runs == job.blocks};
    span.Unpack(job, panel, part);
    for (int group = first_group; group < end_group; ++group) {
      span.PrefetchShare(job, part.ends ? panel + kPanels : panel, part.ends ? 0 : run + runs,
                         group - first_group, end_group - first_group);
      SpanGroup<kQuantTileRows>(job, span, panel, group, part, span.sums[group - first_group]);
    }
  }
}

template <typename F>
void MultiplyMany(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group) {
  const int at_once = AtOnce(end_group - first_group, kGroupsAtOnce);
  for (int group = first_group; group < end_group; group += at_once) {
    const int end = end_group - group < at_once ? end_group : group + at_once;
    int panel = first_panel;
    for (; panel + kSpanPanels <= end_panel; panel += kSpanPanels)
      MultiplySpan<F, kSpanPanels>(job, panel, group, end);
    for (; panel < end_panel; ++panel) MultiplySpan<F, 1>(job, panel, group, end);
  }
}

template <int... kIndices>
PREFIXD_INLINE auto ManyOf(WeightFormat::Kind kind, std::integer_sequence<int, kIndices...>) {
  constexpr void (*kRows[])(const QuantJob&, int, int, int, int) = {
      MultiplyMany<Format<static_cast<WeightFormat::Kind>(WeightFormat::kQ8_0 + kIndices)>>...};
  return kRows[kind - WeightFormat::kQ8_0];
}

// Few rows are multiplied by the weights as they are stored.
void QuantGemmOfMany(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group) {
  if (job.rows <= kFewRows) return QuantGemm(job, first_panel, end_panel, first_group, end_group);
  constexpr int kCount = WeightFormat::kKinds - WeightFormat::kQ8_0;
  ManyOf(job.kind, std::make_integer_sequence<int, kCount>())(job, first_panel, end_panel, first_group,
                                                              end_group);
}

}  // namespace prefixd::PREFIXD_ISA
