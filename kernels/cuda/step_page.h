// StepPage: the arrays of a step that change with it (tokens, places, block tables, units, draws), laid out
// in one piece of pinned memory that goes to the device in one copy. A page grows when a step needs more; the
// size of an ordinary step is there from the start.
//
// Threads: one at a time. What it has sent stays as it is until the step has ended.
#pragma once

#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "kernels/cuda/cuda_memory.h"

namespace prefixd::cuda {

class StepPage {
 public:
  explicit StepPage(CudaRuntime* runtime) : runtime_(runtime) {}

  // Makes room for `bytes`. Requires that no step uses the page.
  Status Reserve(size_t bytes);
  size_t bytes() const { return host_.bytes(); }

  // Begins a new step, which forgets the arrays before.
  void Begin() { used_ = 0; }
  // Adds an array; returns where it will be on the device. Null for an empty one, or when it has no room:
  // then `full` is true until Begin.
  template <typename T>
  const T* Add(std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (values.empty()) return nullptr;
    const size_t at = (used_ + kAlignment - 1) / kAlignment * kAlignment;
    used_ = at + values.size_bytes();
    if (full()) return nullptr;
    std::memcpy(host_.data() + at, values.data(), values.size_bytes());
    return reinterpret_cast<const T*>(device_.data() + at);
  }
  // Replaces an element of an array that was added, unless the page is full.
  template <typename T>
  void Replace(const T* at, const T& value) {
    if (full()) return;
    std::memcpy(host_.data() + (reinterpret_cast<const std::byte*>(at) - device_.data()), &value,
                sizeof value);
  }
  const std::byte* device() const { return device_.data(); }
  bool full() const { return used_ > host_.bytes(); }
  size_t used() const { return used_; }
  Status Send(Stream stream) { return runtime_->CopyToDevice(stream, device_.data(), host_.data(), used_); }

 private:
  static constexpr size_t kAlignment = 256;
  CudaRuntime* const runtime_;
  PinnedMemory host_;
  DeviceMemory device_;
  size_t used_ = 0;
};

}  // namespace prefixd::cuda
