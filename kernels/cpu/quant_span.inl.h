// Some panels of quantised weights that many rows share, of which a part is unpacked at a time. Included
// after quant_job.inl.h, and after quant_unsigned.inl.h or quant_bytes.inl.h, which have UnpackedRun: an
// unpacked run as its instructions multiply it. Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

// The most groups at once are those of the rows of most steps. The sums of their rows wait from one part of
// the runs to the next, as f32, which changes no bit.
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
  int shaped_rows = 0;  // the rows that tiles are shaped for (quant_tiles.inl.h)

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

}  // namespace prefixd::PREFIXD_ISA
