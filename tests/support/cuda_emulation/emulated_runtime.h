// EmulatedRuntime: the CudaRuntime on the CPU. A thread of its own is the device: it takes the work of the
// streams in any order that the streams and events allow, drawn from a seed. So a missing event shows. With
// `late_copies` it runs copies only when nothing else can run, or somebody waits for them.
//
// Faults: the N-th call fails (FailFrom), once or as a lost device.
//
// Threads: any, as CudaRuntime. Destroy it when everything that was allocated is freed: it stops the process
// otherwise.
//
// Invariants
//   1. The work of a stream runs in its order, and after the events that it waits for.
//   2. A kernel or a copy touches only memory that is allocated, and host memory that is pinned.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "kernels/cuda/runtime.h"
#include "tests/support/cuda_emulation/block_runner.h"

namespace prefixd::cuda_emulation {

// A kernel as the emulation runs it. The tables of all groups (row_kernels.cc and so on) are in one list.
struct KernelEntry {
  const char* name = nullptr;
  KernelBody body = nullptr;
  size_t param_bytes = 0;
};
// Stops the process when there is none.
const KernelEntry& EntryOf(cuda::KernelId kernel);

// Enters kernels into the list, before main.
class KernelGroup {
 public:
  KernelGroup(std::initializer_list<std::pair<cuda::KernelId, KernelEntry>> entries);
};

struct EmulatedOptions {
  uint64_t seed = 1;
  size_t bytes = size_t{1} << 30;  // of device memory
  bool exact_products = true;
  bool late_copies = false;
};

class EmulatedRuntime final : public cuda::CudaRuntime {
 public:
  explicit EmulatedRuntime(const EmulatedOptions& options);
  ~EmulatedRuntime() override;

  const cuda::DeviceFacts& facts() const override { return facts_; }
  bool lost() const override { return lost_; }
  Result<size_t> FreeBytes() override;
  Result<std::byte*> Allocate(size_t bytes) override;
  void Free(std::byte* memory) override;
  Result<std::byte*> AllocatePinned(size_t bytes) override;
  void FreePinned(std::byte* memory) override;
  Status CopyToDevice(cuda::Stream stream, std::byte* device, const std::byte* host, size_t bytes) override;
  Status CopyToHost(cuda::Stream stream, std::byte* host, const std::byte* device, size_t bytes) override;
  Status CopyOnDevice(cuda::Stream stream, std::byte* to, const std::byte* from, size_t bytes) override;
  Status Zero(cuda::Stream stream, std::byte* device, size_t bytes) override;
  Status Launch(cuda::Stream stream, const cuda::KernelLaunch& launch) override;
  Result<cuda::Event> Record(cuda::Stream stream) override;
  Status WaitFor(cuda::Stream stream, cuda::Event event) override;
  Status Synchronize(cuda::Event event) override;
  Result<bool> HasEnded(cuda::Event event) override;

  // The calls that could fail, from number `first` on, return `error`: one of them, or all when the device
  // is lost (kUnavailable). The first call has the number 0.
  void FailFrom(uint64_t first, Code error);
  uint64_t calls() const { return calls_; }
  uint64_t launches() const { return launches_; }

 private:
  struct Work {
    std::function<void()> run;  // empty: an event to be recorded or waited for
    uint64_t records = 0;       // number of an event, or 0
    uint64_t waits = 0;         // as well
    bool is_copy = false;
  };

  Status Admit();  // counts a call
  Status Give(cuda::Stream stream, Work work);
  Status Copy(cuda::Stream stream, std::byte* to, const std::byte* from, size_t bytes);
  // Where the host reaches device or pinned memory. Stops the process when it is neither.
  std::byte* Reach(const void* memory, size_t bytes);
  void RunDevice();
  // The stream whose next work runs now; -1: none can.
  int Choose() REQUIRES(mutex_);

  const EmulatedOptions options_;
  cuda::DeviceFacts facts_;
  std::atomic<bool> lost_{false};
  std::atomic<uint64_t> calls_{0}, launches_{0};
  std::atomic<uint64_t> fail_from_{UINT64_MAX};
  std::atomic<Code> fail_with_{Code::kUnavailable};

  Mutex mutex_;
  CondVar changed_;
  std::deque<Work> streams_[cuda::kStreams] GUARDED_BY(mutex_);
  bool ends_ GUARDED_BY(mutex_) = false;
  int waiting_ GUARDED_BY(mutex_) = 0;  // threads in Synchronize
  uint64_t next_event_ GUARDED_BY(mutex_) = 1;
  std::map<uint64_t, bool> events_ GUARDED_BY(mutex_);  // whether it has ended
  std::map<std::byte*, size_t> device_ GUARDED_BY(mutex_), pinned_ GUARDED_BY(mutex_);
  size_t used_ GUARDED_BY(mutex_) = 0;
  std::minstd_rand random_ GUARDED_BY(mutex_);
  BlockRunner runner_;  // of the device's thread
  std::thread thread_;
};

}  // namespace prefixd::cuda_emulation
