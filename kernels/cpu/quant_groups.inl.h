// Groups of rows by an unpacked part of some panels, with the sums of a run in registers. Included after
// quant_sums.inl.h and quant_span.inl.h. Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

// Adds a part to the products of a group and kVectors vectors of the span, from vector `first` on.
template <int kRows, int kVectors, typename F, int kPanels>
void SpanTile(const QuantJob& job, QuantSpan<F, kPanels>& span, int panel, int first, int group,
              const QuantPart& part, Outputs (*sums)[kQuantTileRows]) {
  using Run = UnpackedRun<F, kPanels>;
  Outputs acc[kVectors][kRows];
  for (int v = 0; v < kVectors; ++v)
    for (int r = 0; r < kRows; ++r) acc[v][r] = part.begins ? ZeroOutputs() : sums[first + v][r];
  if (part.ends)
    PrefetchTile<kRows, kVectors>(job, panel * kQuantPanel + first * kQuantLanes, FirstRow(group));
  const std::byte* x =
      PackedGroup<Run>(job, group) + static_cast<size_t>(part.first) * kRows * Run::kRowBlockBytes;
  for (int i = 0; i < part.runs; ++i, x += kRows * Run::kRowBlockBytes)
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
  constexpr int kVectors = kRows * kAll <= kUnpackedInTile<F> ? kAll : 1;
  for (int first = 0; first < kAll; first += kVectors)
    SpanTile<kRows, kVectors>(job, span, panel, first, group, part, sums);
}

template <typename F, int kPanels>
PREFIXD_INLINE void MultiplyGroup(const QuantJob& job, QuantSpan<F, kPanels>& span, int panel, int group,
                                  const QuantPart& part, Outputs (*sums)[kQuantTileRows]) {
  SpanGroup<kQuantTileRows>(job, span, panel, group, part, sums);
}

}  // namespace prefixd::PREFIXD_ISA
