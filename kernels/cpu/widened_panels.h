// WidenedPanels multiplies quantised weights in version cpu-1 of the numerics, in which x stays as it is. The
// weights stay as they are, too: a thread widens one panel at a time to f32, in memory of its own, and
// multiplies it like a panel of f32 weights. That is slower than the product of integers.
//
// One owner; Gemm is called from the threads of its pool.
#pragma once

#include <cstddef>
#include <vector>

#include "base/status.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/quant_matrix.h"
#include "kernels/cpu/scratch.h"

namespace prefixd {

class WidenedPanels {
 public:
  WidenedPanels(const cpu::Ops& ops, int threads) : ops_(ops), threads_(static_cast<size_t>(threads)) {}

  // The memory of all threads for products of up to `terms` terms.
  size_t Bytes(int terms) const { return threads_.size() * Floats(terms) * sizeof(float); }
  Status Reserve(int terms);

  // Of a panel.
  size_t PanelBytes(int terms) const { return PanelFloats(terms) * sizeof(float); }
  // Computes the panels first_panel .. end_panel - 1 of the product of `matrix`, as Ops::gemm does, on thread
  // `thread`. `job` has f32 weights, whose address is not read. Requires that Reserve made room.
  void Gemm(const QuantMatrix& matrix, cpu::GemmJob job, int first_panel, int end_panel, int first_block,
            int end_block, int thread) const;

 private:
  size_t PanelFloats(int terms) const { return static_cast<size_t>(terms) * static_cast<size_t>(ops_.panel); }
  // A panel, and a row.
  size_t Floats(int terms) const { return PanelFloats(terms) + static_cast<size_t>(terms); }

  const cpu::Ops& ops_;
  std::vector<Scratch> threads_;
};

}  // namespace prefixd
