// Products of quantised weights by many rows: a part of some panels is unpacked once for all rows. Included
// after quant_groups.inl.h or quant_tiles.inl.h, and after QuantGemm, for few rows. Pure functions; any
// thread.

namespace prefixd::PREFIXD_ISA {

// Computes kPanels panels of the groups first_group .. end_group - 1, of which there are at most
// kGroupsAtOnce.
template <typename F, int kPanels>
void MultiplySpan(const QuantJob& job, int panel, int first_group, int end_group) {
  QuantSpan<F, kPanels> span;
  const int at_once = AtOnce(job.blocks / F::kRuns, kPartRuns / F::kRuns) * F::kRuns;
  for (int run = 0; run < job.blocks; run += at_once) {
    const int runs = job.blocks - run < at_once ? job.blocks - run : at_once;
    const QuantPart part = {run, runs, run == 0, run + runs == job.blocks};
    span.Unpack(job, panel, part);
    for (int group = first_group; group < end_group; ++group) {
      span.PrefetchShare(job, part.ends ? panel + kPanels : panel, part.ends ? 0 : run + runs,
                         group - first_group, end_group - first_group);
      MultiplyGroup(job, span, panel, group, part, span.sums[group - first_group]);
    }
  }
}

template <typename F>
void MultiplyMany(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group) {
  const int at_once = AtOnce(end_group - first_group, kGroupsAtOnce);
  for (int group = first_group; group < end_group; group += at_once) {
    const int end = end_group - group < at_once ? end_group : group + at_once;
    int panel = first_panel;
    for (; panel + kSpanPanels <= end_panel; panel += kSpanPanels)
      MultiplySpan<F, kSpanPanels>(job, panel, group, end);
    for (; panel < end_panel; ++panel) MultiplySpan<F, 1>(job, panel, group, end);
  }
}

template <int... kIndices>
PREFIXD_INLINE QuantGemmFn ManyOf(WeightFormat::Kind kind, std::integer_sequence<int, kIndices...>) {
  constexpr QuantGemmFn kRows[] = {
      MultiplyMany<Format<static_cast<WeightFormat::Kind>(WeightFormat::kQ8_0 + kIndices)>>...};
  return kRows[kind - WeightFormat::kQ8_0];
}

// Few rows are multiplied by the weights as they are stored.
void QuantGemmOfMany(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group) {
  if (job.rows <= kFewRows) return QuantGemm(job, first_panel, end_panel, first_group, end_group);
  ManyOf(job.kind, std::make_integer_sequence<int, kQuantKinds>())(job, first_panel, end_panel, first_group,
                                                                   end_group);
}

}  // namespace prefixd::PREFIXD_ISA
