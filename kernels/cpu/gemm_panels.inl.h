// GEMM over panels of outputs. Every output is one chain over k (numerics rules 2 and 8), in every tile size.
// Pure functions; any thread.
//
// `Product` is how the rows of a block are multiplied by panels (gemm.inl.h, gemm_dots.inl.h): Weight is an
// element of a panel, PanelWeights the number of them, and Add adds the products of a tile.

namespace prefixd::PREFIXD_ISA {

using cpu::Chain;
using cpu::GemmJob;

// With few rows a tile covers several panels, so that there are enough independent sums to hide the latency
// of fma.
template <int kRows>
constexpr int PanelsAtOnce() {
  return kRows * kPanelVectors * 4 <= kAccumulators ? 4 : kRows * kPanelVectors * 2 <= kAccumulators ? 2 : 1;
}

// Writes one row of a tile. Only its first `columns` outputs exist.
template <int kVectors>
PREFIXD_INLINE void WriteRow(const F32x16 (&sums)[kVectors], float* y, int columns, bool accumulate) {
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    float* to = y + v * kLanes;
    const int n = columns - v * kLanes;
    if (n >= kLanes) {
      Store(to, accumulate ? Add(Load(to), sums[v]) : sums[v]);
    } else if (n > 0) {
      StoreFirst(to, n, accumulate ? Add(LoadFirst(to, n), sums[v]) : sums[v]);
    }
  }
}

// Computes one tile: kRows rows of a block by kPanels panels.
template <typename Product, int kRows, int kPanels>
void GemmTile(const GemmJob& job, int panel, int block) {
  constexpr int kVectors = kPanels * kPanelVectors;
  using Weight = typename Product::Weight;
  const Weight* w[kPanels];
  for (int p = 0; p < kPanels; ++p)
    w[p] = static_cast<const Weight*>(job.weights) + (panel + p) * Product::PanelWeights(job.terms);
  const size_t first_row = static_cast<size_t>(block) * kTileRows;
  Tile<kRows, kVectors> tile;
  Clear(tile);
  Product::Add(tile, job.x + first_row * job.terms, w, job.terms);
  float* y = job.y + first_row * job.outputs + static_cast<size_t>(panel) * kPanel;
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    WriteRow<kVectors>(tile.acc[r], y + static_cast<size_t>(r) * job.outputs, job.outputs - panel * kPanel,
                       job.accumulate);
  }
}

template <typename Product, int kRows>
void GemmPanels(const GemmJob& job, int panel, int end, int block) {
  constexpr int kPanels = PanelsAtOnce<kRows>();
  for (; panel + kPanels <= end; panel += kPanels) GemmTile<Product, kRows, kPanels>(job, panel, block);
  if constexpr (kPanels > 1) {
    for (; panel < end; ++panel) GemmTile<Product, kRows, 1>(job, panel, block);
  }
}

// Selects the tile height that fits the number of rows in the block.
template <typename Product, int kRows = kTileRows>
void GemmBlock(const GemmJob& job, int panel, int end, int block) {
  if constexpr (kRows > 1) {
    if (job.rows - block * kTileRows < kRows) return GemmBlock<Product, kRows - 1>(job, panel, end, block);
  }
  GemmPanels<Product, kRows>(job, panel, end, block);
}

template <typename Product>
void GemmOf(const GemmJob& job, int first_panel, int end_panel, int first_block, int end_block) {
  if (end_block - first_block == 1) return GemmBlock<Product>(job, first_panel, end_panel, first_block);
  for (int panel = first_panel; panel < end_panel; ++panel) {  // a panel stays in the CPU cache for all rows
    for (int block = first_block; block < end_block; ++block)
      GemmBlock<Product>(job, panel, panel + 1, block);
  }
}

// The same under FTZ and DAZ. GemmOf is a call of its own there, so that the compiler moves no arithmetic
// across the writes of MXCSR.
template <typename Product>
[[gnu::noinline]] void GemmApart(const GemmJob& job, int first_panel, int end_panel, int first_block,
                                 int end_block) {
  GemmOf<Product>(job, first_panel, end_panel, first_block, end_block);
}
template <typename Product>
void GemmFlushing(const GemmJob& job, int first_panel, int end_panel, int first_block, int end_block) {
  constexpr unsigned kFlush = 0x8000, kDenormalsAreZeros = 0x0040;
  const unsigned mxcsr = _mm_getcsr();
  _mm_setcsr(mxcsr | kFlush | kDenormalsAreZeros);
  GemmApart<Product>(job, first_panel, end_panel, first_block, end_block);
  _mm_setcsr(mxcsr);
}

}  // namespace prefixd::PREFIXD_ISA
