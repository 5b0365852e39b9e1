// Products of quantised weights (numerics rule 9). quant_ops.h has the order of the operands. Included after
// quant_runs.inl.h and quant_sums.inl.h. Pure functions; any thread.
//
// A group of rows alone is multiplied by the weights as they are stored: they come from memory once. More
// rows share the weights: a part of some panels is unpacked once for all of them.

#include <utility>

namespace prefixd::PREFIXD_ISA {

// Writes a vector of a row. Only the first `columns` outputs exist.
PREFIXD_INLINE void WriteOutputs(Outputs sums, float* y, int columns, bool accumulate) {
  if (columns >= kQuantLanes) return StoreOutputs(y, accumulate ? AddOutputs(LoadOutputs(y), sums) : sums);
  float row[kQuantLanes];
  StoreOutputs(row, sums);
  for (int i = 0; i < columns; ++i) y[i] = accumulate ? y[i] + row[i] : row[i];
}

// Writes the products of the rows from first_row on and the outputs from `column` on.
template <int kRows, int kVectors>
PREFIXD_INLINE void WriteTile(const QuantJob& job, const Outputs (&acc)[kVectors][kRows], int column,
                              size_t first_row) {
  const size_t stride = static_cast<size_t>(job.stride);
  float* const y = job.y + first_row * stride + column;
  for (int v = 0; v < kVectors; ++v) {
    for (int r = 0; r < kRows; ++r) {
      WriteOutputs(acc[v][r], y + static_cast<size_t>(r) * stride + v * kQuantLanes,
                   job.outputs - column - v * kQuantLanes, job.accumulate);
    }
  }
}

// So few rows are multiplied by the weights as they are stored: unpacking them does not pay, and the memory
// would wait for it.
constexpr int kFewRows = kFewGroups * kQuantTileRows;

PREFIXD_INLINE size_t FirstRow(int group) { return static_cast<size_t>(group) * kQuantTileRows; }
template <typename Run>
PREFIXD_INLINE const std::byte* PackedGroup(const QuantJob& job, int group) {
  return job.x + FirstRow(group) * static_cast<size_t>(job.blocks) * Run::kRowBlockBytes;
}
PREFIXD_INLINE const std::byte* PanelAt(const QuantJob& job, int panel) {
  return job.weights + static_cast<size_t>(panel) * job.panel_bytes;
}

// The first pass over a panel reads it from memory, and asks for so many bytes ahead: the CPU alone keeps too
// few of its reads in flight. They come to L2, because more reads of L2 than of L1 can be in flight. Later
// passes find the panel in the caches.
constexpr size_t kPrefetchBytes = 8192;
constexpr size_t kLine = 64;
// To L2.
PREFIXD_INLINE void PrefetchFar(const std::byte* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
}

// Asks for the lines that WriteTile will write, so that they come while the tile is computed: the y of a wide
// product is more than the caches hold.
template <int kRows, int kVectors>
PREFIXD_INLINE void PrefetchTile(const QuantJob& job, int column, size_t first_row) {
  const size_t stride = static_cast<size_t>(job.stride);
  const float* const y = job.y + first_row * stride + column;
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors && column + v * kQuantLanes < job.outputs; ++v)
      __builtin_prefetch(y + static_cast<size_t>(r) * stride + v * kQuantLanes, 1);
  }
}

// Computes a group of kRows rows by kVectors vectors of a panel, from vector `first_vector` on.
// `first_pass`: nothing has read these weights before.
template <typename F, int kRows, int kVectors>
void StoredTile(const QuantJob& job, int panel, int first_vector, int group, bool first_pass) {
  const int first = kVectors == kQuantPanelVectors ? 0 : first_vector;  // a whole panel: a constant
  const std::byte* const codes = PanelAt(job, panel);
  const std::byte* w = codes + static_cast<size_t>(first) * 4 * kQuantLanes;
  const std::byte* head = codes + static_cast<size_t>(job.blocks) * F::kRunBytes;
  const std::byte* x = PackedGroup<StoredRun<F>>(job, group);
  Outputs acc[kVectors][kRows];
  for (int v = 0; v < kVectors; ++v)
    for (int r = 0; r < kRows; ++r) acc[v][r] = ZeroOutputs();
  // A single row has no later pass but as the last of many rows, and then asks for what it reads itself.
  const size_t codes_ahead = first_pass ? kPrefetchBytes : 0, heads_ahead = first_pass ? job.panel_bytes : 0;
  const bool asks = kRows == 1 || first_pass;
  const auto add_run = [&](int run) __attribute__((always_inline)) {
    for (size_t at = 0; asks && at < F::kRunBytes; at += kLine) PrefetchFar(w + codes_ahead + at);
    AddRun<kRows, kVectors>(acc, StoredRun<F>{w, head, run, first}, 0, x);
    w += F::kRunBytes;
    x += kRows * StoredRun<F>::kRowBlockBytes;
  };
  for (int b = 0; b < job.blocks; b += F::kRuns, head += F::kHeadBytes) {
    // Those of the next panel, which lie behind its codes, but are needed with the first.
    for (size_t at = 0; asks && at < F::kHeadBytes; at += kLine) PrefetchFar(head + heads_ahead + at);
    if constexpr (kRows == 1) {  // unrolled: the places of the factors are constants then
#pragma GCC unroll 8
      for (int run = 0; run < F::kRuns; ++run) add_run(run);
    } else {
      for (int run = 0; run < F::kRuns; ++run) add_run(run);
    }
  }
  WriteTile(job, acc, panel * kQuantPanel + first * kQuantLanes, FirstRow(group));
}

// Selects the tile height that fits the number of rows in the group.
template <typename F, int kRows = kQuantTileRows>
void StoredGroup(const QuantJob& job, int panel, int group, bool first_pass) {
  if constexpr (kRows > 1) {
    if (job.rows - group * kQuantTileRows < kRows)
      return StoredGroup<F, kRows - 1>(job, panel, group, first_pass);
  }
  constexpr int kVectors = kRows * kQuantPanelVectors <= kQuantInTile ? kQuantPanelVectors : 1;
  for (int first = 0; first < kQuantPanelVectors; first += kVectors)
    StoredTile<F, kRows, kVectors>(job, panel, first, group, first_pass && first == 0);
}

template <WeightFormat::Kind kKind>
void QuantGemmOf(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group) {
  for (int panel = first_panel; panel < end_panel; ++panel) {  // a panel stays in the CPU cache for all rows
    for (int group = first_group; group < end_group; ++group)
      StoredGroup<Format<kKind>>(job, panel, group, group == first_group);
  }
}

// The functions and facts of a format that its kind chooses.
struct QuantKind {
  void (*gemm)(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group);
  bool wide, offset;  // what pack_rows depends on
  int sums_of_x;
  size_t row_block_bytes[2];  // with integers of one and of two bytes
};
template <typename Indices>
struct QuantKinds;
template <int... kIndices>
struct QuantKinds<std::integer_sequence<int, kIndices...>> {
  template <int kIndex>
  static constexpr auto kKind = static_cast<WeightFormat::Kind>(WeightFormat::kQ8_0 + kIndex);
  static constexpr QuantKind kRows[] = {QuantKind{QuantGemmOf<kKind<kIndices>>,
                                                  Format<kKind<kIndices>>::kWide,
                                                  Format<kKind<kIndices>>::kOffset,
                                                  Format<kKind<kIndices>>::kSumsOfX,
                                                  {cpu::RowBlockBytes(Format<kKind<kIndices>>::kOf, 1),
                                                   cpu::RowBlockBytes(Format<kKind<kIndices>>::kOf, 2)}}...};
};
PREFIXD_INLINE QuantKind KindOf(WeightFormat::Kind kind) {
  constexpr int kCount = WeightFormat::kKinds - WeightFormat::kQ8_0;
  return QuantKinds<std::make_integer_sequence<int, kCount>>::kRows[kind - WeightFormat::kQ8_0];
}

void QuantGemm(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group) {
  KindOf(job.kind).gemm(job, first_panel, end_panel, first_group, end_group);
}

}  // namespace prefixd::PREFIXD_ISA
