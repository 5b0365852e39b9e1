// Products of quantised weights (numerics rule 9). quant_ops.h has the order of the operands. Included after
// quant_job.inl.h and quant_sums.inl.h. Pure functions; any thread.
//
// A group of rows alone is multiplied by the weights as they are stored: they come from memory once. More
// rows share the weights: a part of some panels is unpacked once for all of them.

namespace prefixd::PREFIXD_ISA {

// The first pass over a panel reads it from memory, and asks for so many bytes ahead: the CPU alone keeps too
// few of its reads in flight. They come to L2, because more reads of L2 than of L1 can be in flight. Later
// passes find the panel in the caches.
constexpr size_t kPrefetchBytes = 8192;

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

template <int... kIndices>
PREFIXD_INLINE QuantGemmFn StoredGemmOf(WeightFormat::Kind kind, std::integer_sequence<int, kIndices...>) {
  constexpr QuantGemmFn kRows[] = {
      QuantGemmOf<static_cast<WeightFormat::Kind>(WeightFormat::kQ8_0 + kIndices)>...};
  return kRows[kind - WeightFormat::kQ8_0];
}

void QuantGemm(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group) {
  StoredGemmOf(job.kind, std::make_integer_sequence<int, kQuantKinds>())(job, first_panel, end_panel,
                                                                        first_group, end_group);
}

}  // namespace prefixd::PREFIXD_ISA
