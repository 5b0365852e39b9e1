#include "kernels/operations.h"

#include "kernels/check_arguments.h"

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

}  // namespace prefixd
