// PackedMatrix holds a weight matrix in the order that the GEMM reads: panels of neighbouring outputs, so
// that vector lanes run over outputs. Any thread may read it once its rows are written.
//
// Invariant
//   1. A panel of bf16 whose rows are all written is compressed (compressed_panel.h) where it lies, if its
//      columns are a multiple of 4 and as many as kLeastCompressed says, and few weights are exceptions.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

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
  // Requires rows of the dtype, and that each is written once.
  void WriteRows(int first_row, const MatrixSource& from) override;

  static size_t Bytes(int rows, int cols, DType dtype, int panel) {
    return (static_cast<size_t>(rows) + panel - 1) / panel * panel * PackedCols(cols, dtype) *
           DTypeBytes(dtype);
  }

  size_t bytes() const override { return PanelBytes() * panels(); }
  size_t read_bytes() const override;
  DType dtype() const { return dtype_; }
  const std::byte* data() const { return memory_.data(); }
  int panels() const { return (rows_ + panel_ - 1) / panel_; }
  size_t PanelBytes() const { return Bytes(panel_, cols_, dtype_, panel_); }
  // As GemmJob::compressed.
  const uint8_t* compressed() const { return any_compressed_ ? compressed_.data() : nullptr; }
  void ReadRow(int row, float* out) const override;

 private:
  // Columns. Shorter panels gain nothing; places in longer ones might not fit CompressedException.
  static constexpr int kLeastCompressed = 64, kMostCompressed = 1 << 24;
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
  PackedMatrix(int rows, int cols, DType dtype, int panel, HostMemory memory);
  std::byte* Panel(int p) { return memory_.data() + p * PanelBytes(); }
  // Counts rows of a panel that were written, and compresses it after the last.
  void CountRows(int p, int rows);

  DType dtype_;
  int panel_;
  HostMemory memory_;
  // [panels], both empty where no panel can be compressed.
  std::vector<std::atomic<int>> written_;  // rows
  std::vector<uint8_t> compressed_;        // 0 or 1
  std::atomic<bool> any_compressed_ = false;
};

}  // namespace prefixd
