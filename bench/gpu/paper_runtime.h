// PaperRuntime: a CudaRuntime without a device. Device memory is addresses that nobody may touch, copies and
// launches do nothing, and every event has ended. With a LaunchRecorder in front of it, it shows what a step
// of a large model asks of a device, on any machine. Its facts are those of an H200.
//
// Threads: as CudaRuntime.
#pragma once

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <map>

#include "base/mutex.h"
#include "kernels/cuda/runtime.h"

namespace prefixd::bench {

class PaperRuntime final : public cuda::CudaRuntime {
 public:
  PaperRuntime() = default;
  PaperRuntime(const PaperRuntime&) = delete;
  PaperRuntime& operator=(const PaperRuntime&) = delete;
  ~PaperRuntime() override {
    for (const auto& [memory, bytes] : memory_) (void)munmap(memory, bytes);
  }

  const cuda::DeviceFacts& facts() const override { return facts_; }
  bool lost() const override { return false; }
  Result<size_t> FreeBytes() override { return facts_.bytes; }

  Result<std::byte*> Allocate(size_t bytes) override {
    void* const memory = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return ResourceExhausted("no addresses");
    MutexLock lock(mutex_);
    memory_[memory] = bytes;
    return static_cast<std::byte*>(memory);
  }
  void Free(std::byte* memory) override {
    MutexLock lock(mutex_);
    const auto found = memory_.find(memory);
    (void)munmap(found->first, found->second);
    memory_.erase(found);
  }
  Result<std::byte*> AllocatePinned(size_t bytes) override {
    auto* const memory = static_cast<std::byte*>(std::calloc(bytes, 1));
    return memory != nullptr ? Result<std::byte*>(memory) : ResourceExhausted("no memory");
  }
  void FreePinned(std::byte* memory) override { std::free(memory); }

  Status CopyToDevice(cuda::Stream, std::byte*, const std::byte*, size_t) override { return Status::Ok(); }
  Status CopyToHost(cuda::Stream, std::byte*, const std::byte*, size_t) override { return Status::Ok(); }
  Status CopyOnDevice(cuda::Stream, std::byte*, const std::byte*, size_t) override { return Status::Ok(); }
  Status Zero(cuda::Stream, std::byte*, size_t) override { return Status::Ok(); }
  Status Launch(cuda::Stream, const cuda::KernelLaunch&) override { return Status::Ok(); }
  Status BeginCapture(cuda::Stream) override { return Unsupported("no device"); }
  Result<cuda::Graph> EndCapture(cuda::Stream) override { return Unsupported("no device"); }
  Status LaunchGraph(cuda::Stream, cuda::Graph) override { return Unsupported("no device"); }
  void FreeGraph(cuda::Graph) override {}
  Result<cuda::ProductLibrary*> LoadProducts() override {
    return static_cast<cuda::ProductLibrary*>(nullptr);
  }
  Result<cuda::Event> Record(cuda::Stream) override { return cuda::Event{}; }
  Status WaitFor(cuda::Stream, cuda::Event) override { return Status::Ok(); }
  Status Synchronize(cuda::Event) override { return Status::Ok(); }
  Result<bool> HasEnded(cuda::Event) override { return true; }

 private:
  const cuda::DeviceFacts facts_{.name = "H200, on paper",
                                 .compute_capability = 90,
                                 .multiprocessors = 132,
                                 .bytes = size_t{141} << 30,
                                 .shared_bytes = 232448,
                                 .versions = "no device"};
  Mutex mutex_;
  std::map<void*, size_t> memory_ GUARDED_BY(mutex_);
};

}  // namespace prefixd::bench
