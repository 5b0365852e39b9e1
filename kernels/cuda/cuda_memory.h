// Pieces of memory of a CudaRuntime that free themselves. Each belongs to one owner, and is destroyed before
// the runtime and after the work that uses it. The pointers of device pieces are not for the host.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "kernels/backend_memory.h"
#include "kernels/cuda/runtime.h"

namespace prefixd::cuda {

// Of the pinned memory that weights are copied through.
inline constexpr size_t kStagingBytes = size_t{16} << 20;

class DeviceMemory {
 public:
  static Result<DeviceMemory> Allocate(CudaRuntime* runtime, size_t bytes);
  DeviceMemory() = default;
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(runtime_, other.runtime_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceMemory() {
    if (data_ != nullptr) runtime_->Free(data_);
  }

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  CudaRuntime* runtime_ = nullptr;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

class PinnedMemory {
 public:
  static Result<PinnedMemory> Allocate(CudaRuntime* runtime, size_t bytes);
  PinnedMemory() = default;
  PinnedMemory(PinnedMemory&& other) noexcept { *this = std::move(other); }
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    std::swap(runtime_, other.runtime_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~PinnedMemory() {
    if (data_ != nullptr) runtime_->FreePinned(data_);
  }

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  CudaRuntime* runtime_ = nullptr;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

// Weights as they are in the files: [rows][cols] of one dtype.
class CudaMatrix final : public Matrix {
 public:
  CudaMatrix(DeviceMemory memory, int rows, int cols, DType dtype)
      : Matrix(rows, cols), memory_(std::move(memory)), dtype_(dtype) {}
  size_t bytes() const override { return memory_.bytes(); }
  const void* data() const { return memory_.data(); }
  DType dtype() const { return dtype_; }

 private:
  const DeviceMemory memory_;
  const DType dtype_;
};

}  // namespace prefixd::cuda
