#include "kernels/cpu/packed_matrix.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "kernels/check_arguments.h"
#include "kernels/cpu/compressed_panel.h"

namespace prefixd {
namespace {

constexpr int kColumnsAtOnce = 64;  // the piece of a panel that is filled at a time; it fits in L1

}  // namespace

// Writes `rows` rows of [cols] at `from` as outputs of the panel at `to`, from output `first` on.
template <DType kType>
void PackedMatrix::FillPanel(const std::byte* from, int rows, int cols, int first, int panel, std::byte* to) {
  constexpr size_t kBytes = kType == DType::kF32 ? 4 : 2;
  for (int begin = 0; begin < cols; begin += kColumnsAtOnce) {
    const int end = std::min(cols, begin + kColumnsAtOnce);
    for (int j = 0; j < rows; ++j) {
      const std::byte* const row = from + static_cast<size_t>(j) * cols * kBytes;
      for (int k = begin; k < end; ++k) {
        std::memcpy(to + Place(kType, static_cast<size_t>(k), first + j, panel) * kBytes, row + k * kBytes,
                    kBytes);
      }
    }
  }
}

PackedMatrix::PackedMatrix(int rows, int cols, DType dtype, int panel, HostMemory memory)
    : CpuMatrix(rows, cols, dtype), dtype_(dtype), panel_(panel), memory_(std::move(memory)) {
  if (dtype != DType::kBF16 || cols % cpu::kCompressedTerms != 0 || cols < kLeastCompressed ||
      cols > kMostCompressed || panel > cpu::kMostCompressedOutputs)
    return;
  written_ = std::vector<std::atomic<int>>(static_cast<size_t>(panels()));
  compressed_.assign(written_.size(), 0);
}

Result<std::unique_ptr<Matrix>> PackedMatrix::Allocate(int rows, int cols, DType dtype, int panel,
                                                       HostArena& arena) {
  CheckMatrixShape(rows, cols, dtype);
  size_t bytes = 0;
  const size_t padded_rows = (static_cast<size_t>(rows) + panel - 1) / panel * panel;
  if (__builtin_mul_overflow(padded_rows, PackedCols(cols, dtype) * DTypeBytes(dtype), &bytes)) {
    return ResourceExhausted("no memory for a matrix of " + std::to_string(rows) + " x " +
                             std::to_string(cols));
  }
  PREFIXD_ASSIGN_OR_RETURN(HostMemory memory, arena.Allocate(bytes));
  return std::unique_ptr<Matrix>(new PackedMatrix(rows, cols, dtype, panel, std::move(memory)));
}

void PackedMatrix::FillPart(const std::byte* from, int rows, int first, std::byte* to) const {
  switch (dtype_) {
    case DType::kF32:
      return FillPanel<DType::kF32>(from, rows, cols_, first, panel_, to);
    case DType::kF16:
      return FillPanel<DType::kF16>(from, rows, cols_, first, panel_, to);
    case DType::kBF16:
      return FillPanel<DType::kBF16>(from, rows, cols_, first, panel_, to);
  }
}

void PackedMatrix::WriteRows(int first_row, const MatrixSource& from) {
  CheckUploadRows(*this, first_row, from);
  PREFIXD_CHECK(from.format == dtype_) << from.format.name() << " into " << DTypeName(dtype_);
  const auto* const bytes = static_cast<const std::byte*>(from.data);
  for (int done = 0; done < from.rows;) {
    const int p = (first_row + done) / panel_, first = (first_row + done) % panel_;
    const int count = std::min(panel_ - first, from.rows - done);
    PREFIXD_CHECK(compressed_.empty() || compressed_[p] == 0) << "panel " << p << " was written before";
    FillPart(bytes + static_cast<size_t>(done) * cols_ * DTypeBytes(dtype_), count, first, Panel(p));
    if (!written_.empty()) CountRows(p, count);
    done += count;
  }
}

void PackedMatrix::CountRows(int p, int rows) {
  const int of_panel = std::min(panel_, rows_ - p * panel_);
  // What other threads wrote before they counted is seen by the thread that counts the last row.
  const int written = written_[p].fetch_add(rows, std::memory_order_acq_rel) + rows;
  PREFIXD_CHECK(written <= of_panel) << "a row of panel " << p << " was written twice";
  if (written < of_panel || !cpu::CompressPanel(Panel(p), panel_, cols_)) return;
  compressed_[p] = 1;
  any_compressed_ = true;
}

size_t PackedMatrix::read_bytes() const {
  size_t bytes = this->bytes();
  for (size_t p = 0; p < compressed_.size(); ++p) {
    if (compressed_[p] != 0)
      bytes -= PanelBytes() - cpu::CompressedBytes(data() + p * PanelBytes(), panel_, cols_);
  }
  return bytes;
}

void PackedMatrix::ReadRow(int row, float* out) const {
  const std::byte* panel = data() + (row / panel_) * PanelBytes();
  if (compressed() != nullptr && compressed()[row / panel_] != 0)
    return cpu::ReadCompressedRow(panel, panel_, cols_, row % panel_, out);
  for (int k = 0; k < cols_; ++k)
    out[k] = LoadElement(panel, dtype_, Place(dtype_, static_cast<size_t>(k), row % panel_, panel_));
}

}  // namespace prefixd
