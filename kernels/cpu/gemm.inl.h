// GEMM by fma: the products of all types of weights, in both chains. Included after gemm_panels.inl.h. Pure
// functions; any thread.

namespace prefixd::PREFIXD_ISA {

// Weights [terms][kPanel], in ascending order.
template <DType kType>
struct Terms {
  using Weight = typename Element<kType>::Type;
  static constexpr bool kPairs = false;
  static constexpr int kStepTerms = 1;
  static size_t PanelWeights(int terms) { return static_cast<size_t>(terms) * kPanel; }
  static size_t RowFloats(int terms) { return static_cast<size_t>(terms); }
  template <int kRows, int kVectors, typename AheadType>
  PREFIXD_INLINE void Add(Tile<kRows, kVectors>& tile, const float* x,
                          const Weight* const (&w)[kVectors / kPanelVectors], int terms,
                          AheadType& /*ahead*/) {
    AddProducts<kPanelVectors, 1, kRows, kType>(tile, x, w, kPanel, terms);
  }
  static constexpr bool kWidens = kType != DType::kF32;
  using Wide = Terms<DType::kF32>;
  PREFIXD_INLINE void WidenPart(const Weight* from, int terms, float* to) {
    for (int i = 0; i < terms * kPanel; i += kLanes) Store(to + i, Widen<kType>(from + i));
  }
};

// Widens one of the terms of kPanel pairs.
template <F32x16 (*kWiden)(const uint32_t*)>
PREFIXD_INLINE void WidenTerm(const uint32_t* from, float* to) {
  for (int i = 0; i < kPanel; i += kLanes) Store(to + i, kWiden(from + i));
}

// The same of bf16, in pairs: weights [(terms + 1) / 2][kPanel][2].
struct TermsOfPairs {
  using Weight = uint32_t;
  static constexpr bool kPairs = true;
  static constexpr int kStepTerms = 2;
  static size_t PanelWeights(int terms) { return static_cast<size_t>(terms / 2 + terms % 2) * kPanel; }
  static size_t RowFloats(int terms) { return static_cast<size_t>(terms); }
  template <int kRows, int kVectors, typename AheadType>
  PREFIXD_INLINE void Add(Tile<kRows, kVectors>& tile, const float* x,
                          const Weight* const (&w)[kVectors / kPanelVectors], int terms, AheadType& ahead) {
    size_t at = 0;
    for (int k = 0; k < terms / 2; ++k, x += 2 * kRows, at += kPanel) {
      PrefetchStep(ahead);
      AddTerm<FirstsOfBF16>(tile, x, w, at);
      AddTerm<SecondsOfBF16>(tile, x + kRows, w, at);
    }
    if (terms % 2 != 0) AddTerm<FirstsOfBF16>(tile, x, w, at);
  }
  static constexpr bool kWidens = true;
  using Wide = Terms<DType::kF32>;
  PREFIXD_INLINE void WidenPart(const Weight* from, int terms, float* to) {
    int k = 0;
    for (; k < terms / 2 * 2; k += 2, from += kPanel, to += 2 * kPanel) {
      WidenTerm<FirstsOfBF16>(from, to);
      WidenTerm<SecondsOfBF16>(from, to + kPanel);
    }
    if (k < terms) WidenTerm<FirstsOfBF16>(from, to);
  }
};

// Pairs of bf16 by numerics rule 8: the second term of a pair comes first, in packed x as well. `terms` is
// even. The caller has set FTZ and DAZ.
struct Pairs {
  using Weight = uint32_t;
  static constexpr bool kPairs = true;
  static constexpr int kStepTerms = 2;
  static size_t PanelWeights(int terms) { return static_cast<size_t>(terms / 2) * kPanel; }
  static size_t RowFloats(int terms) { return static_cast<size_t>(terms); }
  template <int kRows, int kVectors, typename AheadType>
  PREFIXD_INLINE void Add(Tile<kRows, kVectors>& tile, const float* x,
                          const Weight* const (&w)[kVectors / kPanelVectors], int terms, AheadType& ahead) {
    size_t at = 0;
    for (int k = 0; k < terms / 2; ++k, x += 2 * kRows, at += kPanel) {
      PrefetchStep(ahead);
      AddTerm<SecondsOfBF16>(tile, x, w, at);
      AddTerm<FirstsOfBF16>(tile, x + kRows, w, at);
    }
  }
  static constexpr bool kWidens = true;
  using Wide = Terms<DType::kF32>;
  PREFIXD_INLINE void WidenPart(const Weight* from, int terms, float* to) {
    for (int k = 0; k < terms; k += 2, from += kPanel, to += 2 * kPanel) {
      WidenTerm<SecondsOfBF16>(from, to);
      WidenTerm<FirstsOfBF16>(from, to + kPanel);
    }
  }
};

void Gemm(const GemmJob& job, int first_panel, int end_panel, int first_block, int end_block) {
  switch (job.dtype) {
    case DType::kF32:
      return GemmOf<Terms<DType::kF32>>(job, first_panel, end_panel, first_block, end_block);
    case DType::kF16:
      return GemmOf<Terms<DType::kF16>>(job, first_panel, end_panel, first_block, end_block);
    case DType::kBF16:
      if (job.chain == Chain::kPairs)
        return GemmFlushing<Pairs>(job, first_panel, end_panel, first_block, end_block);
      return GemmOf<TermsOfPairs>(job, first_panel, end_panel, first_block, end_block);
  }
}

// kTerms: [terms][count]. kPairs: the same, rounded to bf16, with an even number of terms, the second term of
// each pair before the first.
void PackRows(Chain chain, const float* x, int count, int terms, float* packed) {
  const int width = chain == Chain::kPairs ? terms + terms % 2 : terms;
  const int swap = chain == Chain::kPairs ? 1 : 0;
  for (int k = 0; k < width; k += kLanes) {
    float rows[kTileRows][kLanes];
    for (int r = 0; r < count; ++r) {
      F32x16 values = LoadUpTo(x + static_cast<size_t>(r) * terms + k, terms - k);
      if (chain == Chain::kPairs) {
        uint16_t halves[kLanes];
        ToBF16(halves, values);
        values = FromBF16(halves);
      }
      Store(rows[r], values);
    }
    float* to = packed + static_cast<size_t>(k) * count;
    if (count == kTileRows && width - k >= kLanes) {  // the usual case
      swap == 0 ? WriteColumns(rows, 0, to) : WriteColumns(rows, 1, to);
      continue;
    }
    for (int i = 0; i < Min(kLanes, width - k); ++i) {
      for (int r = 0; r < count; ++r) *to++ = rows[r][i ^ swap];
    }
  }
}

}  // namespace prefixd::PREFIXD_ISA
