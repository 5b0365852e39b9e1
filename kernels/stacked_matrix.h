// StackedMatrix: matrices of one backend, one below the other, whose formats may differ, such as q, k and v
// of a layer. It owns its parts and is never empty. Any thread may read it.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/backend_memory.h"

namespace prefixd {

class StackedMatrix final : public Matrix {
 public:
  // Requires at least one part, all with the same cols, and none a stack.
  explicit StackedMatrix(std::vector<std::unique_ptr<Matrix>> parts);
  size_t bytes() const override;
  size_t read_bytes() const override;
  std::span<const std::unique_ptr<Matrix>> parts() const override { return parts_; }

 private:
  const std::vector<std::unique_ptr<Matrix>> parts_;
};

}  // namespace prefixd
