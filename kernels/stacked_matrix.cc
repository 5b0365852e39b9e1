#include "kernels/stacked_matrix.h"

#include <utility>

#include "base/check.h"

namespace prefixd {
namespace {

int CheckedRows(std::span<const std::unique_ptr<Matrix>> parts) {
  PREFIXD_CHECK(!parts.empty()) << "a stack of nothing";
  int rows = 0;
  for (const auto& part : parts) {
    PREFIXD_CHECK(part->cols() == parts[0]->cols() && part->parts().empty())
        << part->cols() << " columns on " << parts[0]->cols();
    rows += part->rows();
  }
  return rows;
}

}  // namespace

StackedMatrix::StackedMatrix(std::vector<std::unique_ptr<Matrix>> parts)
    : Matrix(CheckedRows(parts), parts[0]->cols()), parts_(std::move(parts)) {}

size_t StackedMatrix::bytes() const {
  size_t bytes = 0;
  for (const auto& part : parts_) bytes += part->bytes();
  return bytes;
}

size_t StackedMatrix::read_bytes() const {
  size_t bytes = 0;
  for (const auto& part : parts_) bytes += part->read_bytes();
  return bytes;
}

}  // namespace prefixd
