// PackedMatrix holds a weight matrix in the order that the GEMM reads: panels of neighbouring outputs, so
// that vector lanes run over outputs. Immutable once it is made; any thread may read it.
#pragma once

#include <span>

#include "base/status.h"
#include "kernels/backend_memory.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host_memory.h"

namespace prefixd {

// [panel][col][output of the panel], in the dtype of the sources. Outputs past the last row are zero.
class PackedMatrix final : public Matrix {
 public:
  // Implements Operations::Pack, on `threads`. `panel` is the number of outputs of a panel.
  static Result<std::unique_ptr<Matrix>> Pack(std::span<const MatrixSource> sources, int panel,
                                              ThreadPool& threads);
  // Implements Operations::MakeDummy in the same way.
  static Result<std::unique_ptr<Matrix>> MakeDummy(const DummyMatrix& dummy, int panel, ThreadPool& threads);

  static size_t Bytes(int rows, int cols, DType dtype, int panel) {
    return (static_cast<size_t>(rows) + panel - 1) / panel * panel * cols * DTypeBytes(dtype);
  }

  size_t bytes() const override { return PanelBytes() * panels(); }
  DType dtype() const { return dtype_; }
  const std::byte* data() const { return memory_.data(); }
  int panels() const { return (rows_ + panel_ - 1) / panel_; }
  size_t PanelBytes() const { return static_cast<size_t>(cols_) * panel_ * DTypeBytes(dtype_); }
  // Writes row `row`, widened to f32, to out[cols]. Requires 0 <= row < rows().
  void ReadRow(int row, float* out) const;

 private:
  // Makes a matrix whose panels `fill` writes: fill(first row, rows, where).
  template <typename Fill>
  static Result<std::unique_ptr<Matrix>> Make(int rows, int cols, DType dtype, int panel, ThreadPool& threads,
                                              const Fill& fill);
  PackedMatrix(int rows, int cols, DType dtype, int panel, HostMemory memory)
      : Matrix(rows, cols), dtype_(dtype), panel_(panel), memory_(std::move(memory)) {}
  DType dtype_;
  int panel_;
  HostMemory memory_;
};

}  // namespace prefixd
