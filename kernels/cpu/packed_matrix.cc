#include "kernels/cpu/packed_matrix.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "kernels/check_arguments.h"

namespace prefixd {
namespace {

constexpr int kColumnsAtOnce = 64;  // the piece of a panel that is filled at a time; it fits in L1

// Returns row `row` of the stack of sources.
const std::byte* SourceRow(std::span<const MatrixSource> sources, int row) {
  for (const MatrixSource& source : sources) {
    if (row < source.rows) {
      return static_cast<const std::byte*>(source.data) +
             static_cast<size_t>(row) * source.cols * DTypeBytes(source.dtype);
    }
    row -= source.rows;
  }
  return nullptr;
}

// Fills one panel at `to` with `rows` rows from `first_row` on. An element has kBytes bytes.
template <size_t kBytes>
void FillPanel(std::span<const MatrixSource> sources, int first_row, int rows, int panel, std::byte* to) {
  const int cols = sources[0].cols;
  for (int begin = 0; begin < cols; begin += kColumnsAtOnce) {
    const int end = std::min(cols, begin + kColumnsAtOnce);
    for (int j = 0; j < rows; ++j) {
      const std::byte* from = SourceRow(sources, first_row + j);
      for (int k = begin; k < end; ++k) {
        std::memcpy(to + (static_cast<size_t>(k) * panel + j) * kBytes, from + k * kBytes, kBytes);
      }
    }
  }
}

}  // namespace

Result<std::unique_ptr<Matrix>> PackedMatrix::Pack(std::span<const MatrixSource> sources, int panel,
                                                   ThreadPool& threads) {
  const int rows = CheckSources(sources);
  const int cols = sources[0].cols;
  const DType dtype = sources[0].dtype;
  size_t bytes = 0;
  const size_t padded_rows = (static_cast<size_t>(rows) + panel - 1) / panel * panel;
  if (__builtin_mul_overflow(padded_rows, cols * DTypeBytes(dtype), &bytes)) {
    return ResourceExhausted("no memory for a matrix of " + std::to_string(rows) + " x " +
                             std::to_string(cols));
  }
  PREFIXD_ASSIGN_OR_RETURN(HostMemory memory, HostMemory::Allocate(bytes));
  std::unique_ptr<PackedMatrix> matrix(new PackedMatrix(rows, cols, dtype, panel, std::move(memory)));
  threads.Run(matrix->panels(), [&](int p, int) {
    const int first_row = p * panel;
    const int count = std::min(panel, rows - first_row);
    std::byte* to = matrix->memory_.data() + p * matrix->PanelBytes();
    DTypeBytes(dtype) == 4 ? FillPanel<4>(sources, first_row, count, panel, to)
                           : FillPanel<2>(sources, first_row, count, panel, to);
  });
  return std::unique_ptr<Matrix>(std::move(matrix));
}

void PackedMatrix::ReadRow(int row, float* out) const {
  const std::byte* panel = data() + (row / panel_) * PanelBytes();
  for (int k = 0; k < cols_; ++k)
    out[k] = LoadElement(panel, dtype_, static_cast<size_t>(k) * panel_ + row % panel_);
}

}  // namespace prefixd
