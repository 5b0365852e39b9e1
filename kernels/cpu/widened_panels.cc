#include "kernels/cpu/widened_panels.h"

#include <algorithm>

namespace prefixd {

Status WidenedPanels::Reserve(int terms) {
  for (Scratch& scratch : threads_) PREFIXD_RETURN_IF_ERROR(scratch.Reserve(Floats(terms)));
  return Status::Ok();
}

void WidenedPanels::Gemm(const QuantMatrix& matrix, cpu::GemmJob job, int first_panel, int end_panel,
                         int first_block, int end_block, int thread) const {
  const int width = ops_.panel, terms = matrix.cols();
  float* const weights = threads_[static_cast<size_t>(thread)].Floats(Floats(terms));
  float* const row = weights + PanelFloats(terms);
  float* const y = job.y;
  job.weights = weights;
  for (int panel = first_panel; panel < end_panel; ++panel) {
    const int first = panel * width;
    job.outputs = std::min(width, matrix.rows() - first);
    job.y = y + first;
    for (int r = 0; r < job.outputs; ++r) {
      matrix.ReadRow(first + r, row);
      for (int k = 0; k < terms; ++k) weights[k * width + r] = row[k];
    }
    ops_.gemm(job, 0, 1, first_block, end_block);
  }
}

}  // namespace prefixd
