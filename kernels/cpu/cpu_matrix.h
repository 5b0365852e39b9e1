// CpuMatrix: a weight matrix of a CPU backend, which an owner writes row by row and then only reads. Any
// number of threads may write at a time. Each row is written once.
#pragma once

#include "kernels/backend_memory.h"

namespace prefixd {

class CpuMatrix : public Matrix {
 public:
  WeightFormat format() const { return format_; }
  // Implements Operations::UploadRows.
  virtual void WriteRows(int first_row, const MatrixSource& from) = 0;
  // Writes row `row`, widened to f32, to out[cols]. Requires 0 <= row < rows().
  virtual void ReadRow(int row, float* out) const = 0;

 protected:
  CpuMatrix(int rows, int cols, WeightFormat format) : Matrix(rows, cols), format_(format) {}
  const WeightFormat format_;  // that the kernels multiply
};

}  // namespace prefixd
