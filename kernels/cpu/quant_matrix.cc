#include "kernels/cpu/quant_matrix.h"

#include <cstring>
#include <string>

#include "kernels/check_arguments.h"
#include "kernels/cpu/quant_ops.h"
#include "kernels/numerics.h"
#include "kernels/quantize.h"

namespace prefixd {
namespace {

using cpu::kQuantPanel;

constexpr size_t kScaleBytes = 2;
constexpr size_t kStep = 4;  // columns of a step
constexpr size_t kLine = 64;

size_t Panels(int rows) { return (static_cast<size_t>(rows) + kQuantPanel - 1) / kQuantPanel; }
// Of a block, without its scale.
size_t IntegersOfBlock(WeightFormat format) { return format.block_bytes() - kScaleBytes; }

}  // namespace

size_t QuantMatrix::Bytes(int rows, int cols, WeightFormat format) {
  const size_t panel = format.RowBytes(cols) * kQuantPanel;
  return Panels(rows) * ((panel + kLine - 1) / kLine * kLine);
}

Result<std::unique_ptr<Matrix>> QuantMatrix::Allocate(int rows, int cols, WeightFormat format) {
  CheckMatrixShape(rows, cols, format);
  PREFIXD_CHECK(format.quantized()) << format.name();
  PREFIXD_ASSIGN_OR_RETURN(HostMemory memory, HostMemory::Allocate(Bytes(rows, cols, format)));
  return std::unique_ptr<Matrix>(new QuantMatrix(rows, cols, format, std::move(memory)));
}

int QuantMatrix::panels() const { return static_cast<int>(Panels(rows_)); }

size_t QuantMatrix::IntegerBytes() const {
  return static_cast<size_t>(blocks()) * IntegersOfBlock(format_) * kQuantPanel;
}

std::byte* QuantMatrix::Panel(int row) const {
  return memory_.data() + static_cast<size_t>(row / kQuantPanel) * PanelBytes();
}

// Both formats have their bytes in an order of which every 4 neighbours make a step.
void QuantMatrix::WriteRow(int row, const std::byte* blocks) {
  const size_t steps = IntegersOfBlock(format_) / kStep, output = static_cast<size_t>(row % kQuantPanel);
  std::byte* to = Panel(row) + output * kStep;
  std::byte* scale = Panel(row) + IntegerBytes() + output * kScaleBytes;
  for (int b = 0; b < this->blocks(); ++b, scale += kQuantPanel * kScaleBytes) {
    std::memcpy(scale, blocks, kScaleBytes);
    blocks += kScaleBytes;
    for (size_t s = 0; s < steps; ++s, to += kQuantPanel * kStep, blocks += kStep)
      std::memcpy(to, blocks, kStep);
  }
}

void QuantMatrix::WriteRows(int first_row, const MatrixSource& from) {
  CheckUploadRows(*this, first_row, from);
  PREFIXD_CHECK(from.format == format_) << from.format.name() << " into " << format_.name();
  const size_t row_bytes = format_.RowBytes(cols_);
  for (int r = 0; r < from.rows; ++r)
    WriteRow(first_row + r, static_cast<const std::byte*>(from.data) + row_bytes * static_cast<size_t>(r));
}

void QuantMatrix::ReadRow(int row, float* out) const {
  const size_t steps = IntegersOfBlock(format_) / kStep, output = static_cast<size_t>(row % kQuantPanel);
  const std::byte* from = Panel(row) + output * kStep;
  const std::byte* scale = Panel(row) + IntegerBytes() + output * kScaleBytes;
  std::byte block[kScaleBytes + kQuantBlock];
  for (int b = 0; b < blocks(); ++b, scale += kQuantPanel * kScaleBytes, out += kQuantBlock) {
    std::memcpy(block, scale, kScaleBytes);
    for (size_t s = 0; s < steps; ++s, from += kQuantPanel * kStep)
      std::memcpy(block + kScaleBytes + s * kStep, from, kStep);
    WidenRow(format_, block, kQuantBlock, out);
  }
}

}  // namespace prefixd
