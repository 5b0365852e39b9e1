// QuantMatrix holds a quantised weight matrix in the order that quant_ops.h describes. Any thread may read it
// once its rows are written.
#pragma once

#include <memory>

#include "base/status.h"
#include "kernels/cpu/cpu_matrix.h"
#include "kernels/host_memory.h"

namespace prefixd {

class QuantMatrix final : public CpuMatrix {
 public:
  static Result<std::unique_ptr<Matrix>> Allocate(int rows, int cols, WeightFormat format, HostArena& arena);
  static size_t Bytes(int rows, int cols, WeightFormat format);

  size_t bytes() const override { return Bytes(rows_, cols_, format_); }
  void WriteRows(int first_row, const MatrixSource& from) override;
  void ReadRow(int row, float* out) const override;

  const std::byte* data() const { return memory_.data(); }
  int blocks() const { return cols_ / kQuantBlock; }  // runs of 32 columns
  int panels() const;
  size_t PanelBytes() const { return panel_bytes_; }

 private:
  QuantMatrix(int rows, int cols, WeightFormat format, HostMemory memory)
      : CpuMatrix(rows, cols, format), panel_bytes_(Bytes(1, cols, format)), memory_(std::move(memory)) {}
  std::byte* Panel(int row) const;
  // The bytes of a panel before what its blocks have besides codes.
  size_t CodeBytes() const;
  void WriteRow(int row, const std::byte* blocks);
  void CopyRows(int row, int rows, const std::byte* blocks);

  size_t panel_bytes_;  // every product needs them
  HostMemory memory_;
};

}  // namespace prefixd
