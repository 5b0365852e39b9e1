// Products of quantised weights by many rows: a part of some panels is unpacked once for all rows. Included
// after quant.inl.h, and after quant_unsigned.inl.h or quant_bytes.inl.h, which have UnpackedRun: an
// unpacked run as its instructions multiply it. Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

// Runs that are unpacked at once: they, and the x of a group, fit into the L1 cache. Groups at once, those of
// the rows of most steps: the sums of their rows wait from one part of the runs to the next, as f32, which
// changes no bit.
constexpr int kPartRuns = 16;
constexpr int kGroupsAtOnce = 516 / kQuantTileRows;

struct QuantPart {
  int first, runs;  // multiples of the runs of a block
  bool begins, ends;
};

// The unpacked part of some panels, and the sums of all groups: [group][vectors][rows].
template <typename F, int kPanels>
struct QuantSpan {
  UnpackedRun<F, kPanels> runs[kPartRuns];
  Outputs sums[kGroupsAtOnce][kPanels * kQuantPanelVectors][kQuantTileRows];

  // Asks for share `i` of `shares` of the codes of a part, which is unpacked later.
  static void PrefetchShare(const QuantJob& job, int panel, int first_run, int i, int shares) {
    constexpr size_t kLines = kPartRuns * F::kRunBytes / kLine;
    const size_t each = (kLines + static_cast<size_t>(shares) - 1) / static_cast<size_t>(shares) * kLine;
    for (int p = 0; p < kPanels; ++p) {
      const std::byte* const codes = PanelAt(job, panel + p) + static_cast<size_t>(first_run) * F::kRunBytes;
      for (size_t at = 0; at < each; at += kLine) PrefetchFar(codes + static_cast<size_t>(i) * each + at);
    }
  }

  void Unpack(const QuantJob& job, int panel, const QuantPart& part) {
    for (int p = 0; p < kPanels; ++p) {
      const std::byte* const codes = PanelAt(job, panel + p);
      const std::byte* w = codes + static_cast<size_t>(part.first) * F::kRunBytes;
      const std::byte* head = codes + static_cast<size_t>(job.blocks) * F::kRunBytes +
                              static_cast<size_t>(part.first / F::kRuns) * F::kHeadBytes;
      for (int i = 0; i < part.runs; ++i, w += F::kRunBytes)
        runs[i].Set(p, w, head + static_cast<size_t>(i / F::kRuns) * F::kHeadBytes, i % F::kRuns);
    }
  }
};

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
      SpanGroup<kQuantTileRows>(job, span, panel, group, part, span.sums[group - first_group]);
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

using GemmOfMany = void (*)(const QuantJob&, int, int, int, int);
template <int... kIndices>
PREFIXD_INLINE GemmOfMany ManyOf(WeightFormat::Kind kind, std::integer_sequence<int, kIndices...>) {
  constexpr GemmOfMany kRows[] = {
      MultiplyMany<Format<static_cast<WeightFormat::Kind>(WeightFormat::kQ8_0 + kIndices)>>...};
  return kRows[kind - WeightFormat::kQ8_0];
}

// Few rows are multiplied by the weights as they are stored.
void QuantGemmOfMany(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group) {
  if (job.rows <= kFewRows) return QuantGemm(job, first_panel, end_panel, first_group, end_group);
  constexpr int kCount = WeightFormat::kKinds - WeightFormat::kQ8_0;
  ManyOf(job.kind, std::make_integer_sequence<int, kCount>())(job, first_panel, end_panel, first_group,
                                                              end_group);
}

}  // namespace prefixd::PREFIXD_ISA
