// The register tile that GEMM and attention share, and the widening of stored elements to f32 lanes. The
// source of one instruction set includes this file after its vec_*.h. Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

constexpr int kLanes = 16;
constexpr int kPanel = kLanes * kPanelVectors;

PREFIXD_INLINE int Min(int a, int b) { return a < b ? a : b; }
PREFIXD_INLINE int Max(int a, int b) { return a > b ? a : b; }

// Load or store min(n, 16) lanes. Missing lanes load as zero.
PREFIXD_INLINE F32x16 LoadUpTo(const float* p, int n) { return n >= kLanes ? Load(p) : LoadFirst(p, n); }
PREFIXD_INLINE void StoreUpTo(float* p, int n, F32x16 a) { n >= kLanes ? Store(p, a) : StoreFirst(p, n, a); }

template <DType kType>
struct Element {
  using Type = uint16_t;
};
template <>
struct Element<DType::kF32> {
  using Type = float;
};

template <DType kType>
PREFIXD_INLINE F32x16 Widen(const typename Element<kType>::Type* p) {
  if constexpr (kType == DType::kF32) {
    return Load(p);
  } else if constexpr (kType == DType::kF16) {
    return FromF16(p);
  } else {
    return FromBF16(p);
  }
}

// Widen, to the order of Split where kSplit.
template <DType kType, bool kSplit>
PREFIXD_INLINE F32x16 WidenTo(const typename Element<kType>::Type* p) {
  if constexpr (kSplit) {
    static_assert(kType == DType::kBF16);
    return SplitBF16(p);
  } else {
    return Widen<kType>(p);
  }
}

// kRows x kVectors vectors of sums, kept in registers.
template <int kRows, int kVectors>
struct Tile {
  F32x16 acc[kRows][kVectors];
};

template <int kRows, int kVectors>
PREFIXD_INLINE void Clear(Tile<kRows, kVectors>& tile) {
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) tile.acc[r][v] = Zero();
  }
}

// Load and store the sums of a tile: [kRows][kVectors][kLanes].
template <int kRows, int kVectors>
PREFIXD_INLINE void LoadSums(Tile<kRows, kVectors>& tile, const float* from) {
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) tile.acc[r][v] = Load(from + (r * kVectors + v) * kLanes);
  }
}
template <int kRows, int kVectors>
PREFIXD_INLINE void StoreSums(const Tile<kRows, kVectors>& tile, float* to) {
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) Store(to + (r * kVectors + v) * kLanes, tile.acc[r][v]);
  }
}

// Computes acc[r][v] = fma(x[r][k], w[k][v], acc[r][v]) for k = 0 .. terms-1.
//   x[r][k]: at x[r * kRowStep + k * kTermStep].
//   w: kRun neighbouring vectors share one pointer; the elements for term k start k * w_step after it.
//   next[0 .. kNext - 1]: memory that is read later; term k prefetches the line k * next_step after each, to
//   L2: more reads of L2 than of L1 can be in flight.
// With kSplit the lanes of acc are in the order of Split.
template <int kRun, int kRowStep, int kTermStep, DType kType, int kNext = 0, bool kSplit = false, int kRows,
          int kVectors>
PREFIXD_INLINE void AddProducts(Tile<kRows, kVectors>& tile, const float* x,
                                const typename Element<kType>::Type* const (&w)[kVectors / kRun],
                                size_t w_step, int terms,
                                const typename Element<kType>::Type* const* next = nullptr,
                                size_t next_step = 0) {
  size_t at = 0;
  for (int k = 0; k < terms; ++k) {
    for (int i = 0; i < kNext; ++i) PrefetchFar(next[i] + k * next_step);
    if constexpr (kRows == 1) {
      // Load each weight where it is used: the weights of a single row do not all fit in registers.
      const F32x16 value = Set(x[0]);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        const F32x16 weight = WidenTo<kType, kSplit>(w[v / kRun] + at + v % kRun * kLanes);
        tile.acc[0][v] = Fma(value, weight, tile.acc[0][v]);
      }
    } else if constexpr ((kRows + 1) * kVectors >= kVectorRegisters) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        const F32x16 weight = WidenTo<kType, kSplit>(w[v / kRun] + at + v % kRun * kLanes);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) tile.acc[r][v] = Fma(Set(x[r * kRowStep]), weight, tile.acc[r][v]);
        asm volatile("" ::: "memory");  // load x again: copies of it would take the registers of sums
      }
    } else {
      F32x16 weights[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v)
        weights[v] = WidenTo<kType, kSplit>(w[v / kRun] + at + v % kRun * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const F32x16 value = Set(x[r * kRowStep]);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) tile.acc[r][v] = Fma(value, weights[v], tile.acc[r][v]);
      }
    }
    x += kTermStep;
    at += w_step;
  }
}

// Adds one of the two terms of a pair of bf16: acc[r][v] = fma(x[r], kWiden(w[k][v]), acc[r][v]). Panels of
// kPanelVectors vectors of pairs share a pointer; the pairs start `at` after it.
template <F32x16 (*kWiden)(const uint32_t*), int kRows, int kVectors>
PREFIXD_INLINE void AddTerm(Tile<kRows, kVectors>& tile, const float* x,
                            const uint32_t* const (&w)[kVectors / kPanelVectors], size_t at) {
  if constexpr (kRows == 1) {
    const F32x16 value = Set(x[0]);  // each weight is loaded where it is used, as above
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      const F32x16 weight = kWiden(w[v / kPanelVectors] + at + v % kPanelVectors * kLanes);
      tile.acc[0][v] = Fma(value, weight, tile.acc[0][v]);
    }
  } else {
    F32x16 weights[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v)
      weights[v] = kWiden(w[v / kPanelVectors] + at + v % kPanelVectors * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const F32x16 value = Set(x[r]);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) tile.acc[r][v] = Fma(value, weights[v], tile.acc[r][v]);
    }
  }
}

// Writes kLanes columns of kTileRows rows, a column after the other; swap 1: those of each pair in the other
// order. Compilers turn loops of such constant bounds into shuffles.
PREFIXD_INLINE void WriteColumns(const float (&rows)[kTileRows][kLanes], int swap, float* to) {
  for (int i = 0; i < kLanes; ++i) {
    for (int r = 0; r < kTileRows; ++r) *to++ = rows[r][i ^ swap];
  }
}

}  // namespace prefixd::PREFIXD_ISA
