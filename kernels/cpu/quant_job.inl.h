// Where the operands of products of quantised weights lie (quant_ops.h), and writing products. Included after
// quant_runs.inl.h. Pure functions; any thread.

#include <utility>

namespace prefixd::PREFIXD_ISA {

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

constexpr size_t kLine = 64;
// To L2.
PREFIXD_INLINE void PrefetchFar(const std::byte* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
}

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

// The facts of a format that its kind chooses.
struct QuantFacts {
  bool wide, offset;  // what pack_rows depends on
  int sums_of_x;
  size_t row_block_bytes[2];  // with integers of one and of two bytes
};
template <int... kIndices>
PREFIXD_INLINE QuantFacts FactsIn(WeightFormat::Kind kind, std::integer_sequence<int, kIndices...>) {
  constexpr QuantFacts kRows[] = {[] {
    using F = Format<static_cast<WeightFormat::Kind>(WeightFormat::kQ8_0 + kIndices)>;
    return QuantFacts{
        F::kWide, F::kOffset, F::kSumsOfX, {cpu::RowBlockBytes(F::kOf, 1), cpu::RowBlockBytes(F::kOf, 2)}};
  }()...};
  return kRows[kind - WeightFormat::kQ8_0];
}
constexpr int kQuantKinds = WeightFormat::kKinds - WeightFormat::kQ8_0;
PREFIXD_INLINE QuantFacts FactsOf(WeightFormat::Kind kind) {
  return FactsIn(kind, std::make_integer_sequence<int, kQuantKinds>());
}

using QuantGemmFn = void (*)(const QuantJob& job, int first_panel, int end_panel, int first_group,
                             int end_group);

}  // namespace prefixd::PREFIXD_ISA
