// PackedMatrix holds a weight matrix in the order that the GEMM reads: panels of neighbouring outputs, so
// that vector lanes run over outputs. Any thread may read it once its rows are written.
#pragma once

#include <memory>

#include "base/status.h"
#include "kernels/cpu/cpu_matrix.h"
#include "kernels/host_memory.h"

namespace prefixd {

// In the dtype of the sources: f32 and f16 as [panel][col][output of the panel], bf16 as
// [panel][col / 2][output of the panel][2], because the bf16 instructions multiply pairs. A column that bf16
// lacks to its last pair is zero, and so are outputs past the last row.
class PackedMatrix final : public CpuMatrix {
 public:
  // Implements Operations::AllocateMatrix. `panel` is the number of outputs of a panel.
  static Result<std::unique_ptr<Matrix>> Allocate(int rows, int cols, DType dtype, int panel,
                                                  HostArena& arena);
  // Requires rows of the dtype.
  void WriteRows(int first_row, const MatrixSource& from) override;

  static size_t Bytes(int rows, int cols, DType dtype, int panel) {
    return (static_cast<size_t>(rows) + panel - 1) / panel * panel * PackedCols(cols, dtype) *
           DTypeBytes(dtype);
  }

  size_t bytes() const override { return PanelBytes() * panels(); }
  DType dtype() const { return dtype_; }
  const std::byte* data() const { return memory_.data(); }
  int panels() const { return (rows_ + panel_ - 1) / panel_; }
  size_t PanelBytes() const { return Bytes(panel_, cols_, dtype_, panel_); }
  void ReadRow(int row, float* out) const override;

 private:
  static size_t PackedCols(int cols, DType dtype) {
    return static_cast<size_t>(cols) + (dtype == DType::kBF16 ? cols % 2 : 0);
  }
  // Returns the place of an element in its panel.
  static size_t Place(DType dtype, size_t col, int output, int panel) {
    return dtype == DType::kBF16 ? (col / 2 * panel + output) * 2 + col % 2 : col * panel + output;
  }
  template <DType kType>
  static void FillPanel(const std::byte* from, int rows, int cols, int first, int panel, std::byte* to);
  void FillPart(const std::byte* from, int rows, int first, std::byte* to) const;
  PackedMatrix(int rows, int cols, DType dtype, int panel, HostMemory memory)
      : CpuMatrix(rows, cols, dtype), dtype_(dtype), panel_(panel), memory_(std::move(memory)) {}
  std::byte* Panel(int p) { return memory_.data() + p * PanelBytes(); }

  DType dtype_;
  int panel_;
  HostMemory memory_;
};

}  // namespace prefixd
