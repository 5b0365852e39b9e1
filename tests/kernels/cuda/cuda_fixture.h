// What the tests of kernels share: a device, and arrays in its memory. The same programs test two worlds: the
// emulation, and with the variable PREFIXD_TEST_MODULE, which names a libprefixd_cuda.so, the first device of
// that module.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/module_loader.h"
#include "kernels/cuda/runtime.h"
#include "tests/support/cuda_emulation/device_space.h"
#include "tests/support/cuda_emulation/emulated_runtime.h"

namespace prefixd::cuda_test {

using cuda::CudaRuntime;
using cuda::KernelId;
using cuda::Stream;

// Null: the tests run on the emulation. Stops the process when the module has no device.
inline const cuda::ModuleState* TestModule() {
  static const cuda::ModuleState* const module = []() -> const cuda::ModuleState* {
    const char* const file = std::getenv("PREFIXD_TEST_MODULE");
    if (file == nullptr) return nullptr;
    const auto* const state = new cuda::ModuleState(cuda::StateOf(file));
    PREFIXD_CHECK(state->devices > 0) << file << ": " << state->reason;
    std::printf("the first of %d devices of %s is tested\n", state->devices, file);
    return state;
  }();
  return module;
}

// A new device for one test. The options are for the emulation.
inline std::unique_ptr<CudaRuntime> NewDevice(const cuda_emulation::EmulatedOptions& options = {}) {
  if (TestModule() == nullptr) return std::make_unique<cuda_emulation::EmulatedRuntime>(options);
  Result<std::unique_ptr<CudaRuntime>> runtime = cuda::CreateRuntime(*TestModule(), 0);
  PREFIXD_CHECK(runtime.ok()) << runtime.status().ToString();
  return std::move(*runtime);
}

inline void Wait(CudaRuntime& device, Stream stream = Stream::kCompute) {
  const auto event = device.Record(stream);
  ASSERT_TRUE(event.ok()) << event.status().ToString();
  const Status status = device.Synchronize(*event);
  ASSERT_TRUE(status.ok()) << status.ToString();
}

// An array in device memory. Unwritten elements are NaN, or -1 in integers; those of an array of more than
// DeviceSpace::kFilledBytes are 0.
template <typename T>
class DeviceArray {
 public:
  DeviceArray(CudaRuntime* device, size_t size) : device_(device), size_(size) {
    auto memory = device->Allocate(std::max<size_t>(size, 1) * sizeof(T));
    PREFIXD_CHECK(memory.ok()) << memory.status().ToString();
    memory_ = *memory;
    if (TestModule() != nullptr) FillUnwritten();
  }
  DeviceArray(CudaRuntime* device, std::span<const T> values) : DeviceArray(device, values.size()) {
    Set(values);
  }
  ~DeviceArray() { device_->Free(memory_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return reinterpret_cast<T*>(memory_); }
  size_t size() const { return size_; }

  void Set(std::span<const T> values, size_t from = 0) {
    PREFIXD_CHECK(from + values.size() <= size_);
    Transfer(values.size(), [&](std::byte* pinned) {
      std::memcpy(pinned, values.data(), values.size_bytes());
      return device_->CopyToDevice(Stream::kCompute, memory_ + from * sizeof(T), pinned, values.size_bytes());
    });
  }
  std::vector<T> Get(size_t from = 0, size_t count = SIZE_MAX) const {
    std::vector<T> values(std::min(count, size_ - from));
    std::byte* last = nullptr;
    Transfer(
        values.size(),
        [&](std::byte* pinned) {
          last = pinned;
          return device_->CopyToHost(Stream::kCompute, pinned, memory_ + from * sizeof(T),
                                     values.size() * sizeof(T));
        },
        [&] { std::memcpy(values.data(), last, values.size() * sizeof(T)); });
    return values;
  }

 private:
  // The emulation does this by itself, and takes no memory for zeros.
  void FillUnwritten() {
    if (device_->facts().name == "emulated device") return;
    if (size_ * sizeof(T) > cuda_emulation::DeviceSpace::kFilledBytes) {
      PREFIXD_CHECK(device_->Zero(Stream::kCompute, memory_, size_ * sizeof(T)).ok());
      return Wait(*device_);
    }
    Transfer(size_, [&](std::byte* pinned) {
      std::memset(pinned, 0xFF, size_ * sizeof(T));
      return device_->CopyToDevice(Stream::kCompute, memory_, pinned, size_ * sizeof(T));
    });
  }
  template <typename Copy>
  void Transfer(size_t count, const Copy& copy) const {
    Transfer(count, copy, [] {});
  }
  template <typename Copy, typename Then>
  void Transfer(size_t count, const Copy& copy, const Then& then) const {
    if (count == 0) return;
    auto pinned = device_->AllocatePinned(count * sizeof(T));
    PREFIXD_CHECK(pinned.ok() && copy(*pinned).ok());
    Wait(*device_);
    then();
    device_->FreePinned(*pinned);
  }

  CudaRuntime* device_;
  size_t size_;
  std::byte* memory_ = nullptr;
};

// Runs a kernel to its end.
template <typename Params>
void Launch(CudaRuntime& device, KernelId kernel, const Params& params, int blocks_x, int threads,
            size_t shared_bytes = 0, int blocks_y = 1) {
  const Status status = device.Launch(Stream::kCompute, {.kernel = kernel,
                                                         .blocks_x = blocks_x,
                                                         .blocks_y = blocks_y,
                                                         .threads = threads,
                                                         .shared_bytes = shared_bytes,
                                                         .params = &params});
  ASSERT_TRUE(status.ok()) << status.ToString();
  Wait(device);
}

}  // namespace prefixd::cuda_test
