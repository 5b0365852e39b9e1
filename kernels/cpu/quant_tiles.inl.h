// Groups of rows by an unpacked part of some panels, with the tile instructions of AMX: one multiplies the x
// of a group by the weights of 16 outputs. Included after quant_sums.inl.h and quant_span.inl.h. These
// functions change the tiles of the calling thread; any thread.

namespace prefixd::PREFIXD_ISA {

// The tiles, whose numbers GCC takes as literals alone:
//   0, 1  sums [rows][16] of two vectors
//   2     x [rows][columns of a part]
//   3, 4  weights [columns of a part / 4][16][4] of two vectors, as UnpackedRun has them
constexpr int kTileOfX = 2, kTileOfWeights = 3, kTilesUsed = 5;

// The operand of LDTILECFG.
struct alignas(64) TileShapes {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
// By the rows of a group, less 1. Constants: GCC 12 takes stores that LDTILECFG alone reads for dead.
struct ShapesOfRows {
  TileShapes of[kQuantTileRows];
};
template <int kPartSteps>
constexpr ShapesOfRows MakeShapes() {
  ShapesOfRows shapes = {};
  for (int rows = 1; rows <= kQuantTileRows; ++rows) {
    TileShapes& to = shapes.of[rows - 1];
    to.palette = 1;
    for (int t = 0; t < kTilesUsed; ++t) {
      to.row_bytes[t] = t == kTileOfX ? 4 * kPartSteps : kStepBytes;
      to.rows[t] = static_cast<uint8_t>(t >= kTileOfWeights ? kPartSteps : rows);
    }
  }
  return shapes;
}
template <int kPartSteps>
constexpr ShapesOfRows kTileShapes = MakeShapes<kPartSteps>();

// The sums S of rule 9, or those of c q, of a group and kVectors vectors.
template <typename F, int kVectors>
struct TileSums {
  static_assert(kVectors <= 2);
  alignas(64) int32_t of[F::kParts][kVectors][kQuantTileRows][kQuantLanes];

  // Computes those of a part of a run in tiles. x: [rows][32].
  template <typename Run>
  PREFIXD_MEMBER void Multiply(int part, const Run& run, const std::byte* x) const {
    constexpr size_t kStep = sizeof(run.codes[0]);
    const std::byte* const codes = run.codes[part * F::kPartSteps];
    _tile_loadd(2, x + part * 4 * F::kPartSteps, kQuantBlock);
    _tile_zero(0);
    _tile_loadd(3, codes, kStep);
    _tile_dpbssd(0, 2, 3);
    if constexpr (kVectors == 2) {
      _tile_zero(1);
      _tile_loadd(4, codes + kStepBytes, kStep);
      _tile_dpbssd(1, 2, 4);
    }
  }
  // Stores what Multiply computed.
  PREFIXD_MEMBER void Save(int part) {
    constexpr size_t kRowBytes = sizeof(of[0][0][0]);
    _tile_stored(0, of[part][0], kRowBytes);
    if constexpr (kVectors == 2) _tile_stored(1, of[part][1], kRowBytes);
  }
  PREFIXD_MEMBER Ints Get(int part, int v, int r) const { return _mm512_load_si512(of[part][v][r]); }
};

// The products of a group of `rows` rows and the vectors of a span. All loops over rows and vectors are
// unrolled, so that the products are in registers; those of the last group, which is not whole (kWhole), end
// at its rows.
template <bool kWhole, typename F, int kPanels>
struct GroupProducts {
  using Run = UnpackedRun<F, kPanels>;
  static constexpr int kVectors = kPanels * kQuantPanelVectors;
  using Sums = TileSums<F, kVectors>;
  Outputs acc[kVectors][kQuantTileRows];

  PREFIXD_MEMBER void Begin(int rows, const Outputs (*sums)[kQuantTileRows], bool begins) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 16
      for (int r = 0; r < kQuantTileRows && (kWhole || r < rows); ++r)
        acc[v][r] = begins ? ZeroOutputs() : sums[v][r];
    }
  }
  PREFIXD_MEMBER void Leave(int rows, Outputs (*sums)[kQuantTileRows]) const {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 16
      for (int r = 0; r < kQuantTileRows && (kWhole || r < rows); ++r) sums[v][r] = acc[v][r];
    }
  }
  // Adds part kPart of a run, whose sums these are, without the offsets.
  template <int kPart>
  PREFIXD_MEMBER void AddPart(const Run& run, int rows, const Sums& sums, const std::byte* x) {
    Outputs scales[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) scales[v] = run.Scale(v, kPart);
#pragma GCC unroll 16
    for (int r = 0; r < kQuantTileRows && (kWhole || r < rows); ++r) {
      float scale_of_x;
      __builtin_memcpy(&scale_of_x, x + 4 * r, 4);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        const Ints sum = sums.Get(kPart, v, r);
        if constexpr (F::kByHalf)
          acc[v][r] = FmaOutputs(MulOutputs(scales[v], ToOutputs(sum)), SpreadFloat(scale_of_x), acc[v][r]);
        else
          acc[v][r] = AddScaled(acc[v][r], scales[v], scale_of_x, sum);
      }
    }
  }
  PREFIXD_MEMBER void AddOffsets(const Run& run, int rows, const std::byte* x) {
#pragma GCC unroll 2
    for (int half = 0; F::kOffset && half < F::kSumsOfX; ++half) {
      Outputs offsets[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) offsets[v] = run.Offset(v, half);
#pragma GCC unroll 16
      for (int r = 0; r < kQuantTileRows && (kWhole || r < rows); ++r) {
        const Outputs sum = AsOutputs(Spread(x + 4 * ((1 + half) * rows + r)));
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) acc[v][r] = FmaOutputs(offsets[v], sum, acc[v][r]);
      }
    }
  }
};

// Adds a part to the products of a group, which has `rows` rows. The tiles multiply a run while the sums of
// the one before are added; they are stored after that, because a store waits for its product.
template <bool kWhole, typename F, int kPanels>
void TileGroup(const QuantJob& job, QuantSpan<F, kPanels>& span, int panel, int group, const QuantPart& part,
               Outputs (*sums)[kQuantTileRows], int rows) {
  using Products = GroupProducts<kWhole, F, kPanels>;
  using Run = typename Products::Run;
  const size_t bytes = static_cast<size_t>(rows) * Run::kRowBlockBytes;
  const size_t head = static_cast<size_t>(rows) * 4 * (1 + F::kSumsOfX);
  if (span.shaped_rows != rows) _tile_loadconfig(&kTileShapes<F::kPartSteps>.of[rows - 1]);
  span.shaped_rows = rows;
  if (kWhole && part.ends)
    PrefetchTile<kQuantTileRows, Products::kVectors>(job, panel * kQuantPanel, FirstRow(group));
  const std::byte* x = PackedGroup<Run>(job, group) + static_cast<size_t>(part.first) * bytes;
  typename Products::Sums of_runs[2];
  const auto multiply = [&](int i) __attribute__((always_inline)) {
    const std::byte* const integers = x + static_cast<size_t>(i) * bytes + head;
    of_runs[i % 2].Multiply(0, span.runs[i], integers);
    if constexpr (F::kParts == 2) {
      of_runs[i % 2].Save(0);
      of_runs[i % 2].Multiply(1, span.runs[i], integers);
    }
  };
  Products products;
  products.Begin(rows, sums, part.begins);
  multiply(0);
  of_runs[0].Save(F::kParts - 1);
  for (int i = 0; i < part.runs; ++i) {
    const std::byte* const of_run = x + static_cast<size_t>(i) * bytes;
    if (i + 1 < part.runs) multiply(i + 1);
    products.template AddPart<0>(span.runs[i], rows, of_runs[i % 2], of_run);
    if constexpr (F::kParts == 2) products.template AddPart<1>(span.runs[i], rows, of_runs[i % 2], of_run);
    products.AddOffsets(span.runs[i], rows, of_run);
    if (i + 1 < part.runs) of_runs[(i + 1) % 2].Save(F::kParts - 1);
  }
  products.Leave(rows, sums);
  if (!part.ends) return;
  for (int v = 0; v < Products::kVectors; ++v) {
    const int column = (panel + v) * kQuantPanel;
    for (int r = 0; r < rows; ++r) {
      const size_t row = FirstRow(group) + static_cast<size_t>(r);
      WriteOutputs(sums[v][r], job.y + row * static_cast<size_t>(job.stride) + column, job.outputs - column,
                   job.accumulate);
    }
  }
}

template <typename F, int kPanels>
PREFIXD_INLINE void MultiplyGroup(const QuantJob& job, QuantSpan<F, kPanels>& span, int panel, int group,
                                  const QuantPart& part, Outputs (*sums)[kQuantTileRows]) {
  const int rows = job.rows - group * kQuantTileRows;
  if (rows >= kQuantTileRows) return TileGroup<true>(job, span, panel, group, part, sums, kQuantTileRows);
  TileGroup<false>(job, span, panel, group, part, sums, rows);
}

}  // namespace prefixd::PREFIXD_ISA
