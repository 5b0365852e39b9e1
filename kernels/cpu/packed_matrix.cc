#include "kernels/cpu/packed_matrix.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "kernels/check_arguments.h"
#include "kernels/dummy_weights.h"

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

}  // namespace

// Fills one panel at `to` with `rows` rows from `first_row` on.
template <DType kType>
void PackedMatrix::FillPanel(std::span<const MatrixSource> sources, int first_row, int rows, int panel,
                             std::byte* to) {
  constexpr size_t kBytes = kType == DType::kF32 ? 4 : 2;
  const int cols = sources[0].cols;
  for (int begin = 0; begin < cols; begin += kColumnsAtOnce) {
    const int end = std::min(cols, begin + kColumnsAtOnce);
    for (int j = 0; j < rows; ++j) {
      const std::byte* from = SourceRow(sources, first_row + j);
      for (int k = begin; k < end; ++k)
        std::memcpy(to + Place(kType, static_cast<size_t>(k), j, panel) * kBytes, from + k * kBytes, kBytes);
    }
  }
}

// The same, with dummy weights.
void PackedMatrix::FillDummyPanel(const DummyMatrix& dummy, int first_row, int rows, int panel,
                                  std::byte* to) {
  const auto cols = static_cast<size_t>(dummy.cols);
  for (size_t k = 0; k < cols; ++k) {
    for (int j = 0; j < rows; ++j) {
      const uint64_t index = static_cast<size_t>(first_row + j) * cols + k;
      StoreElement(to, dummy.dtype, Place(dummy.dtype, k, j, panel),
                   DummyWeight(dummy.seed, index, dummy.largest));
    }
  }
}

template <typename Fill>
Result<std::unique_ptr<Matrix>> PackedMatrix::Make(int rows, int cols, DType dtype, int panel,
                                                   ThreadPool& threads, const Fill& fill) {
  size_t bytes = 0;
  const size_t padded_rows = (static_cast<size_t>(rows) + panel - 1) / panel * panel;
  if (__builtin_mul_overflow(padded_rows, PackedCols(cols, dtype) * DTypeBytes(dtype), &bytes)) {
    return ResourceExhausted("no memory for a matrix of " + std::to_string(rows) + " x " +
                             std::to_string(cols));
  }
  PREFIXD_ASSIGN_OR_RETURN(HostMemory memory, HostMemory::Allocate(bytes));
  std::unique_ptr<PackedMatrix> matrix(new PackedMatrix(rows, cols, dtype, panel, std::move(memory)));
  threads.Run(matrix->panels(), [&](int p, int) {
    const int first_row = p * panel;
    fill(first_row, std::min(panel, rows - first_row), matrix->memory_.data() + p * matrix->PanelBytes());
  });
  return std::unique_ptr<Matrix>(std::move(matrix));
}

Result<std::unique_ptr<Matrix>> PackedMatrix::Pack(std::span<const MatrixSource> sources, int panel,
                                                   ThreadPool& threads) {
  const int rows = CheckSources(sources);
  const DType dtype = sources[0].dtype;
  const auto fill = [&](int first_row, int count, std::byte* to) {
    switch (dtype) {
      case DType::kF32:
        return FillPanel<DType::kF32>(sources, first_row, count, panel, to);
      case DType::kF16:
        return FillPanel<DType::kF16>(sources, first_row, count, panel, to);
      case DType::kBF16:
        return FillPanel<DType::kBF16>(sources, first_row, count, panel, to);
    }
  };
  return Make(rows, sources[0].cols, dtype, panel, threads, fill);
}

Result<std::unique_ptr<Matrix>> PackedMatrix::MakeDummy(const DummyMatrix& dummy, int panel,
                                                        ThreadPool& threads) {
  CheckDummy(dummy);
  const auto fill = [&](int first_row, int count, std::byte* to) {
    FillDummyPanel(dummy, first_row, count, panel, to);
  };
  return Make(dummy.rows, dummy.cols, dummy.dtype, panel, threads, fill);
}

void PackedMatrix::ReadRow(int row, float* out) const {
  const std::byte* panel = data() + (row / panel_) * PanelBytes();
  for (int k = 0; k < cols_; ++k)
    out[k] = LoadElement(panel, dtype_, Place(dtype_, static_cast<size_t>(k), row % panel_, panel_));
}

}  // namespace prefixd
