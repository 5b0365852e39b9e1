#include "kernels/operations.h"

#include <utility>

#include "kernels/check_arguments.h"
#include "kernels/stacked_matrix.h"

namespace prefixd {

Result<std::unique_ptr<Matrix>> Operations::Pack(std::span<const MatrixSource> sources) {
  const int rows = CheckSources(sources);
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Matrix> matrix,
                           AllocateMatrix(rows, sources[0].cols, sources[0].format));
  int row = 0;
  for (const MatrixSource& source : sources) {
    UploadRows(*matrix, row, source);
    row += source.rows;
  }
  return matrix;
}

Result<std::unique_ptr<Matrix>> Operations::Stack(std::vector<std::unique_ptr<Matrix>> parts) {
  return std::unique_ptr<Matrix>(std::make_unique<StackedMatrix>(std::move(parts)));
}

void Operations::Gemm(const Matrix& w, const float* x, int rows, float* y, GemmOutput output) {
  CheckRows(x, rows, w.cols(), y);
  if (w.parts().empty()) return Multiply(w, x, rows, y, w.rows(), output);
  for (const auto& part : w.parts()) {
    Multiply(*part, x, rows, y, w.rows(), output);
    y += part->rows();
  }
}

}  // namespace prefixd
