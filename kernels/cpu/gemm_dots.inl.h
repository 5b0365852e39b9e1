// GEMM of bf16 weights by an instruction that adds both products of a pair as numerics rule 8 says. Included
// after gemm_panels.inl.h and a definition of BF16Pairs, 16 pairs in the lanes of a vector:
//   LoadPairs(p)       loads 16 pairs
//   SetPair(p)         loads the pair at p into every lane
//   AddDots(sum, a, b) adds a[i] * b[i] of every lane to `sum`, the second product of the pair first
// Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

// Weights [terms / 2][kPanel][2] and x [terms / 2][rows][2], all bf16. `terms` is even. The caller has set
// FTZ and DAZ, for the sum with y.
struct Dots {
  using Weight = uint32_t;
  static constexpr bool kPairs = true;
  static constexpr int kStepTerms = 2;
  static constexpr bool kWidens = false;
  static size_t PanelWeights(int terms) { return static_cast<size_t>(terms / 2) * kPanel; }
  static size_t RowFloats(int terms) { return static_cast<size_t>(terms / 2); }
  template <int kRows, int kVectors, typename AheadType>
  PREFIXD_INLINE void Add(Tile<kRows, kVectors>& tile, const float* x,
                          const Weight* const (&w)[kVectors / kPanelVectors], int terms, AheadType& ahead) {
    size_t at = 0;
    for (int k = 0; k < terms / 2; ++k, x += kRows, at += kPanel) {
      PrefetchStep(ahead);
      BF16Pairs weights[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v)
        weights[v] = LoadPairs(w[v / kPanelVectors] + at + v % kPanelVectors * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const BF16Pairs value = SetPair(x + r);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) tile.acc[r][v] = AddDots(tile.acc[r][v], value, weights[v]);
      }
    }
  }
};

void GemmOfDots(const GemmJob& job, int first_panel, int end_panel, int first_block, int end_block) {
  GemmFlushing<Dots>(job, first_panel, end_panel, first_block, end_block);
}

// [terms / 2][count][2], rounded to bf16, and to an even number of terms. A pair takes the place of a float.
void PackDots(const float* x, int count, int terms, float* packed) {
  for (int r = 0; r < count; ++r) {
    const float* row = x + static_cast<size_t>(r) * terms;
    for (int k = 0; k < terms; k += kLanes) {
      uint16_t halves[kLanes];
      ToBF16(halves, LoadUpTo(row + k, terms - k));
      const int pairs = Min(kLanes, terms + terms % 2 - k) / 2;
      for (int i = 0; i < pairs; ++i)
        __builtin_memcpy(packed + static_cast<size_t>(k / 2 + i) * count + r, halves + 2 * i, 4);
    }
  }
}

}  // namespace prefixd::PREFIXD_ISA
