// Pieces of memory of a CudaRuntime that free themselves. Each belongs to one owner, and is destroyed before
// the runtime and after the work that uses it. The pointers of device pieces are not for the host.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "kernels/backend_memory.h"
#include "kernels/cuda/quant_order.h"
#include "kernels/cuda/runtime.h"

namespace prefixd::cuda {

inline constexpr size_t kStagingBytes = size_t{16} << 20;  // of the pinned memory that uploads go through

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

// Weights of one format: [rows][cols] as they are in the files, or quantised in the order of quant_order.h.
class CudaMatrix final : public Matrix {
 public:
  CudaMatrix(DeviceMemory memory, int rows, int cols, WeightFormat format)
      : Matrix(rows, cols), memory_(std::move(memory)), format_(format) {}
  size_t bytes() const override { return memory_.bytes(); }
  const void* data() const { return memory_.data(); }
  std::byte* row(int i) const {
    return memory_.data() + static_cast<size_t>(i) * DeviceRowBytes(format_, cols_);
  }
  WeightFormat format() const { return format_; }
  DType dtype() const { return format_.dtype(); }  // requires a format that is not quantised

 private:
  const DeviceMemory memory_;
  const WeightFormat format_;
};

// The format of a matrix of this backend that is no stack.
inline WeightFormat FormatOf(const Matrix& matrix) {
  PREFIXD_CHECK(matrix.parts().empty());
  return static_cast<const CudaMatrix&>(matrix).format();
}

// KV blocks in device memory, one piece for all. Its memory outlives the last copy within it.
class CudaKvPool final : public KvPool {
 public:
  CudaKvPool(CudaRuntime* runtime, KvLayout layout, uint32_t blocks, DeviceMemory memory)
      : KvPool(layout, blocks), runtime_(runtime), memory_(std::move(memory)) {
    base_ = memory_.data();
  }
  // After an error the device is lost, and touches the memory no more.
  ~CudaKvPool() override { (void)runtime_->Synchronize(last_copy()); }

  // Of the owner's Backend::CopyBlock; it has ended when the event has. Other streams wait for it before they
  // touch the pool. Any thread.
  Event last_copy() const { return {last_copy_}; }
  void set_last_copy(Event event) { last_copy_ = event.number; }

 private:
  CudaRuntime* const runtime_;
  const DeviceMemory memory_;
  std::atomic<uint64_t> last_copy_{0};
};

// The pinned memory of pools of the host, which copies use without a detour. Any thread.
class PinnedRanges {
 public:
  void Add(std::span<const std::byte> range) {
    MutexLock lock(mutex_);
    ranges_.push_back(range);
  }
  void Remove(const std::byte* begin) {
    MutexLock lock(mutex_);
    std::erase_if(ranges_, [begin](std::span<const std::byte> range) { return range.data() == begin; });
  }
  // Whether one of the ranges has all of `part`.
  bool Has(std::span<const std::byte> part) const {
    MutexLock lock(mutex_);
    return std::ranges::any_of(ranges_, [part](std::span<const std::byte> range) {
      return std::less_equal<>()(range.data(), part.data()) &&
             std::less_equal<>()(part.data() + part.size(), range.data() + range.size());
    });
  }

 private:
  mutable Mutex mutex_;
  std::vector<std::span<const std::byte>> ranges_ GUARDED_BY(mutex_);
};

}  // namespace prefixd::cuda
