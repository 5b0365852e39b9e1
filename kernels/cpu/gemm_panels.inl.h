// GEMM over panels of outputs. Every output is one chain over k (numerics rules 2 and 8), in every tile size.
// Pure functions; any thread.
//
// `Product` is how the rows of a block are multiplied by panels (gemm.inl.h, gemm_dots.inl.h): Weight is an
// element of a panel, PanelWeights the number of them for some terms, RowFloats the floats that these terms
// take in a row of packed x, and Add adds the products of a tile in steps of kStepTerms terms. It may call
// PrefetchStep(ahead) in each. Where kWidens is set, WidenPart turns a part of a panel into f32,
// [terms][kPanel], in the order in which its chain adds the terms, and Wide is the product of that. Where
// kPairs is set, the weights are pairs of bf16, and panels may be compressed.

namespace prefixd::PREFIXD_ISA {

using cpu::Chain;
using cpu::GemmJob;

// With few rows a tile covers several panels, so that there are enough independent sums to hide the latency
// of fma.
constexpr int PanelsAtOnce(int rows) {
  return rows * kPanelVectors * 4 <= kAccumulators ? 4 : rows * kPanelVectors * 2 <= kAccumulators ? 2 : 1;
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

// Asks for the lines of a tile, to write them, so that they come while it is computed: the y of a wide
// product is more than the caches hold.
template <int kRows, int kVectors>
PREFIXD_INLINE void PrefetchRows(const float* y, int stride, int columns) {
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors && v * kLanes < columns; ++v)
      __builtin_prefetch(y + static_cast<size_t>(r) * stride + v * kLanes, 1);
  }
}

// A part of the terms of every chain. All parts but the last leave their sums to the next one, as f32: that
// changes no bit.
struct Part {
  int first, terms;  // multiples of kCompressedTerms, but for the terms of the last part
  bool begins, ends;
  int first_block, blocks;  // the blocks that a panel is multiplied by before the next panel is
  void* read = nullptr;     // set by GemmFewBlocks: the ReadPart of this part
};

// With so few blocks the memory takes a good part of the time of a product.
constexpr int kFewBlocks = 4;

// What a tile prefetches while it computes, so that memory and arithmetic work at the same time. A single
// block prefetches its own panels, some way ahead. Each of a few blocks prefetches its share of the next
// panel, or of the part that is read next.
template <int kPanels>
struct Ahead {
  const char* at[kPanels];
  size_t step, second;  // bytes; the second line of a step follows `second` after the first
};
// With many blocks the next panel is little of the work. With very few rows, which have many panels, the
// prefetches of the hardware are faster.
struct NothingAhead {};

// A step of Add reads `step` bytes of each panel, which has `bytes`. `block` of `blocks` is computed.
template <typename Weight, int kPanels>
PREFIXD_INLINE Ahead<kPanels> AheadOf(const Weight* const (&w)[kPanels], size_t bytes, size_t step, int block,
                                      int blocks) {
  constexpr size_t kOfSingleBlock = 8192, kLine = 64;
  const auto parts = static_cast<size_t>(blocks);
  const size_t from = blocks == 1 ? kOfSingleBlock : bytes + bytes / parts * static_cast<size_t>(block);
  Ahead<kPanels> ahead;
  for (int p = 0; p < kPanels; ++p) ahead.at[p] = reinterpret_cast<const char*>(w[p]) + from;
  ahead.step = step / parts;
  ahead.second = ahead.step > kLine ? kLine : 0;
  return ahead;
}

PREFIXD_INLINE void PrefetchStep(NothingAhead) {}
template <int kPanels>
PREFIXD_INLINE void PrefetchStep(Ahead<kPanels>& ahead) {
#pragma GCC unroll 2
  for (int p = 0; p < kPanels; ++p) {
    PrefetchFar(ahead.at[p]);
    PrefetchFar(ahead.at[p] + ahead.second);
    ahead.at[p] += ahead.step;
  }
}

// The sums of a tile between two parts: [kTileRows][kPanel].
constexpr int kSumsOfTile = kTileRows * kPanel;

template <typename Product>
PREFIXD_INLINE const typename Product::Weight* PanelAt(const GemmJob& job, int panel) {
  return static_cast<const typename Product::Weight*>(job.weights) +
         static_cast<size_t>(panel) * Product::PanelWeights(job.terms);
}

// The weights of a part of a panel.
template <typename Product>
PREFIXD_INLINE const typename Product::Weight* WeightsOf(const GemmJob& job, int panel, const Part& part) {
  return PanelAt<Product>(job, panel) + Product::PanelWeights(part.first);
}

// Starts to read a panel at term `first`.
template <typename Product>
PREFIXD_INLINE PairReader ReadPanel(const GemmJob& job, int panel, int first) {
  return ReadFrom(PanelAt<Product>(job, panel), job.compressed[panel] != 0, job.terms, first);
}

// Adds all products of a tile of whole panels, of a matrix of which some are compressed. Each step is
// multiplied as soon as it is read, so that memory and arithmetic work at the same time.
template <typename Product, int kRows, int kVectors>
PREFIXD_INLINE void AddPanels(Tile<kRows, kVectors>& tile, const GemmJob& job, int panel, const float* x) {
  constexpr int kPanels = kVectors / kPanelVectors;
  constexpr size_t kAhead = 6144, kLine = 64;
  alignas(64) uint32_t pairs[kPanels][cpu::kCompressedTerms / 2 * kPanel];
  PairReader readers[kPanels];
  const uint32_t* w[kPanels];
  for (int p = 0; p < kPanels; ++p) {
    readers[p] = ReadPanel<Product>(job, panel + p, 0);
    w[p] = pairs[p];
    PrefetchHeader(PanelAt<Product>(job, panel + kPanels + p), job.terms);
  }
  for (int term = 0; term < job.terms; term += cpu::kCompressedTerms) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      if constexpr (kPanels <= 2) {
        for (size_t line = 0; line < kCompressedStep; line += kLine)
          PrefetchFar(readers[p].at + kAhead + line);
      }
      ReadPairs(readers[p], 1, pairs[p]);
    }
    NothingAhead ahead;
    Product::Add(tile, x, w, cpu::kCompressedTerms, ahead);
    x += Product::RowFloats(cpu::kCompressedTerms) * kRows;
  }
}

// A part of a panel that few blocks multiply, of a matrix of which some panels are compressed. The first
// block reads it, to memory that L1 holds, and multiplies each step as soon as it is read. The others
// multiply it from there.
constexpr int kReadTerms = 128;
template <typename Product, bool kWidens>
struct MultipliedAs {
  using Type = Product;
};
template <typename Product>
struct MultipliedAs<Product, true> {
  using Type = typename Product::Wide;
};
template <typename Product>
struct ReadPart {
  static constexpr bool kWidens = kWidensPanels && Product::kWidens;
  using Multiplied = typename MultipliedAs<Product, kWidens>::Type;
  PairReader reader;
  const char* next;  // what is read after this part
  alignas(64) typename Multiplied::Weight weights[kReadTerms * kPanel / (kWidens ? 1 : 2)];
};

template <typename Product, int kRows>
PREFIXD_INLINE void AddPart(Tile<kRows, kPanelVectors>& tile, const Part& part, int block, const float* x) {
  constexpr int kTerms = cpu::kCompressedTerms;
  using Read = ReadPart<Product>;
  using Multiplied = typename Read::Multiplied;
  auto& read = *static_cast<Read*>(part.read);
  typename Multiplied::Weight* weights = read.weights;
  // This block prefetches its share of what is read next.
  constexpr size_t kLine = 64;
  const auto blocks = static_cast<size_t>(part.blocks), at = static_cast<size_t>(block - part.first_block);
  const size_t step = kCompressedStep / blocks;
  Ahead<1> ahead = {{read.next + StepsOf(part.terms) * step * at}, step, step > kLine ? kLine : 0};
  for (int term = 0; term < part.terms; term += kTerms) {
    if (block == part.first_block) {
      if constexpr (Read::kWidens) {
        alignas(64) uint32_t pairs[kTerms / 2 * kPanel];
        ReadPairs(read.reader, 1, pairs);
        Product::WidenPart(pairs, kTerms, weights);
      } else {
        ReadPairs(read.reader, 1, weights);
      }
    }
    PrefetchStep(ahead);
    const typename Multiplied::Weight* const w[1] = {weights};
    NothingAhead nothing;
    Multiplied::Add(tile, x, w, kTerms, nothing);
    weights += Multiplied::PanelWeights(kTerms);
    x += Multiplied::RowFloats(kTerms) * kRows;
  }
}

// Computes one tile: kRows rows of a block by kPanels panels, whose weights begin at `weights`. Tiles of
// several panels have a single part.
template <typename Product, bool kFew, int kRows, int kPanels>
void GemmTile(const GemmJob& job, int panel, int block, const Part& part, float* sums,
              const typename Product::Weight* weights) {
  constexpr int kVectors = kPanels * kPanelVectors;
  using Weight = typename Product::Weight;
  const Weight* w[kPanels];
  for (int p = 0; p < kPanels; ++p) w[p] = weights + p * Product::PanelWeights(job.terms);
  const size_t first_row = static_cast<size_t>(block) * job.block_rows;
  Tile<kRows, kVectors> tile;
  if (part.begins) {
    Clear(tile);
  } else {
    LoadSums(tile, sums);
  }
  const int columns = job.outputs - panel * kPanel;
  float* const y = job.y + first_row * job.stride + static_cast<size_t>(panel) * kPanel;
  if (kPrefetchesOutputs && !kFew && part.ends) PrefetchRows<kRows, kVectors>(y, job.stride, columns);
  const float* x = job.x + first_row * job.terms + Product::RowFloats(part.first) * kRows;
  const bool compressed = kFew && Product::kPairs && job.compressed != nullptr;
  if constexpr (kFew && Product::kPairs) {
    if (compressed && part.read == nullptr) AddPanels<Product>(tile, job, panel, x);
    if constexpr (kPanels == 1) {
      if (compressed && part.read != nullptr) AddPart<Product>(tile, part, block, x);
    }
  }
  if constexpr (kFew && kPanels <= 2) {
    Ahead<kPanels> ahead = AheadOf(w, Product::PanelWeights(job.terms) * sizeof(Weight),
                                   Product::PanelWeights(Product::kStepTerms) * sizeof(Weight),
                                   block - part.first_block, part.blocks);
    if (!compressed) Product::Add(tile, x, w, part.terms, ahead);
  } else {
    NothingAhead nothing;
    if (!compressed) Product::Add(tile, x, w, part.terms, nothing);
  }
  if (!part.ends) return StoreSums(tile, sums);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    WriteRow<kVectors>(tile.acc[r], y + static_cast<size_t>(r) * job.stride, columns, job.accumulate);
  }
}

template <typename Product, bool kFew, int kRows>
void GemmPanels(const GemmJob& job, int panel, int end, int block, const Part& part, float* sums,
                const typename Product::Weight* weights) {
  constexpr int kPanels = PanelsAtOnce(kRows);
  const size_t step = Product::PanelWeights(job.terms);
  for (; panel + kPanels <= end; panel += kPanels, weights += kPanels * step)
    GemmTile<Product, kFew, kRows, kPanels>(job, panel, block, part, sums, weights);
  if constexpr (kPanels > 1) {
    for (; panel < end; ++panel, weights += step)
      GemmTile<Product, kFew, kRows, 1>(job, panel, block, part, sums, weights);
  }
}

// Selects the tile height that fits the number of rows in the block.
template <typename Product, bool kFew, int kRows = kTileRows>
void GemmBlock(const GemmJob& job, int panel, int end, int block, const Part& part, float* sums,
               const typename Product::Weight* weights) {
  if constexpr (kRows > 1) {
    if (Min(job.rows - block * job.block_rows, job.block_rows) < kRows)
      return GemmBlock<Product, kFew, kRows - 1>(job, panel, end, block, part, sums, weights);
  }
  GemmPanels<Product, kFew, kRows>(job, panel, end, block, part, sums, weights);
}

// Few blocks by panels of a matrix of which some are compressed.
template <typename Product>
void GemmFewBlocks(const GemmJob& job, int first_panel, int end_panel, int first_block, int end_block) {
  if constexpr (Product::kPairs) {
    ReadPart<Product> read;
    alignas(64) float sums[kFewBlocks * kSumsOfTile];
    for (int panel = first_panel; panel < end_panel; ++panel) {
      read.reader = ReadPanel<Product>(job, panel, 0);
      for (int term = 0; term < job.terms; term += kReadTerms) {
        const int terms = Min(kReadTerms, job.terms - term);
        const bool ends = term + terms == job.terms;
        const Part part = {term, terms, term == 0, ends, first_block, end_block - first_block, &read};
        read.next = ends ? reinterpret_cast<const char*>(PanelAt<Product>(job, panel + 1))
                         : read.reader.at + StepsOf(terms) * kCompressedStep;
        float* of_block = sums;
        for (int block = first_block; block < end_block; ++block, of_block += kSumsOfTile)
          GemmBlock<Product, true>(job, panel, panel + 1, block, part, of_block,
                                   WeightsOf<Product>(job, panel, part));
      }
    }
  }
}

// The memory of a chunk for a part of a panel: read from a compressed one, or widened to f32.
template <typename Product, bool kWidens>
struct PartMemory {
  using Multiplied = Product;
  alignas(64) uint32_t pairs[Product::kPairs ? kPartTerms / 2 * kPanel : 1];

  PREFIXD_INLINE const typename Product::Weight* Weights(const GemmJob& job, int panel, const Part& part,
                                                         PartMemory& memory) {
    if constexpr (Product::kPairs) {
      if (job.compressed != nullptr && job.compressed[panel] != 0) {
        PairReader reader = ReadPanel<Product>(job, panel, part.first);
        ReadPairs(reader, StepsOf(part.terms), memory.pairs);
        return memory.pairs;
      }
    }
    return WeightsOf<Product>(job, panel, part);
  }
};
template <typename Product>
struct PartMemory<Product, true> {
  using Multiplied = typename Product::Wide;
  alignas(64) float wide[kWidePartTerms * kPanel];

  PREFIXD_INLINE const float* Weights(const GemmJob& job, int panel, const Part& part, PartMemory& memory) {
    if constexpr (Product::kPairs) {
      if (job.compressed != nullptr && job.compressed[panel] != 0) {
        alignas(64) uint32_t pairs[kReadTerms / 2 * kPanel];
        PairReader reader = ReadPanel<Product>(job, panel, part.first);
        for (int term = 0; term < part.terms; term += kReadTerms) {
          const int terms = Min(kReadTerms, part.terms - term);
          ReadPairs(reader, StepsOf(terms), pairs);
          Product::WidenPart(pairs, terms, memory.wide + term * kPanel);
        }
        return memory.wide;
      }
    }
    Product::WidenPart(WeightsOf<Product>(job, panel, part), part.terms, memory.wide);
    return memory.wide;
  }
};

// A chunk of blocks by a chunk of panels. With many blocks the terms are parted as well, so that the x of all
// its blocks stays in a cache while the panels pass: without that, the x of a long chain comes from memory
// for every panel. With few blocks x is small, and a panel is read from memory in one run. Each chunk of
// rows reads all the weights, so it has many rows; what the caches hold of x bounds it (kChunkRows,
// kPartTerms).
//
// Many blocks multiply a part of a panel that is widened once for all of them: with AVX-512 the ports that
// widen are those that multiply. A part of a compressed panel is read once for them, too.
constexpr int kChunkBlocks = kChunkRows / kTileRows;
constexpr int kChunkPanels = kChunkColumns / kPanel;
constexpr int kPartedBlocks = 48 / kTileRows;

template <typename Product, bool kFew>
void GemmChunk(const GemmJob& job, int first_panel, int end_panel, int first_block, int end_block) {
  constexpr bool kWidens = kWidensPanels && Product::kWidens && !kFew;
  using Memory = PartMemory<Product, kWidens>;
  constexpr int kMostTerms = kWidens ? kWidePartTerms : kPartTerms;
  constexpr int kMultiple = cpu::kCompressedTerms;
  static_assert(kMostTerms % kMultiple == 0);
  alignas(64) float sums[kChunkPanels * kChunkBlocks * kSumsOfTile];
  Memory memory;
  // What is read or widened is a part of at most kMostTerms terms.
  static_assert(!kWidens || kPartedBlocks <= kFewBlocks + 1);
  const bool many = end_block - first_block >= kPartedBlocks || job.compressed != nullptr;
  const int at_once = many && job.terms > kMostTerms
                          ? (AtOnce(job.terms, kMostTerms) + kMultiple - 1) / kMultiple * kMultiple
                          : job.terms;
  for (int term = 0; term < job.terms; term += at_once) {
    const Part part = {term,        Min(at_once, job.terms - term), term == 0, term + at_once >= job.terms,
                       first_block, end_block - first_block};
    float* of_tile = sums;
    for (int panel = first_panel; panel < end_panel; ++panel) {
      const auto* const weights = Memory::Weights(job, panel, part, memory);
      for (int block = first_block; block < end_block; ++block, of_tile += kSumsOfTile)
        GemmBlock<typename Memory::Multiplied, kFew>(job, panel, panel + 1, block, part, of_tile, weights);
    }
  }
}

template <typename Product>
void GemmOf(const GemmJob& job, int first_panel, int end_panel, int first_block, int end_block) {
  if (end_block - first_block == 1) {
    const Part all = {0, job.terms, true, true, first_block, 1};
    return GemmBlock<Product, true>(job, first_panel, end_panel, first_block, all, nullptr,
                                    WeightsOf<Product>(job, first_panel, all));
  }
  const bool compressed = job.compressed != nullptr;
  if (compressed && end_block - first_block <= kFewBlocks)
    return GemmFewBlocks<Product>(job, first_panel, end_panel, first_block, end_block);
  const int blocks = AtOnce(end_block - first_block, kChunkBlocks);
  const int panels = AtOnce(end_panel - first_panel, kChunkPanels);
  for (int block = first_block; block < end_block; block += blocks) {
    for (int panel = first_panel; panel < end_panel; panel += panels) {
      const int end = Min(panel + panels, end_panel), last = Min(block + blocks, end_block);
      if (last - block > kFewBlocks) {
        GemmChunk<Product, false>(job, panel, end, block, last);
      } else if (compressed) {
        GemmFewBlocks<Product>(job, panel, end, block, last);
      } else {
        GemmChunk<Product, true>(job, panel, end, block, last);
      }
    }
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
