// EmulatedRuntime: the CudaRuntime on the CPU. A thread of its own is the device: it takes the work of the
// streams in any order that the streams and events allow, drawn from a seed. So a missing event shows. With
// `late_copies` it runs copies only when nothing else can run, or somebody waits for them.
//
// Faults: a call finds no memory or a lost device (FailFrom), or the device is lost while it works
// (LoseAfter), or at the call at which loses_device says so.
//
// Hold keeps the work of a stream back, as a slow bus would. Copies that are given and have not ended may run
// at any time, so other streams must leave their memory alone: `conflicts` counts where they do not.
//
// Threads: any, as CudaRuntime. Destroy it when everything that was allocated is freed: it stops the process
// otherwise.
//
// Invariants
//   1. The work of a stream runs in its order, and after the events that it waits for.
//   2. A kernel or a copy touches only memory that is allocated, and host memory that is pinned.
//   3. Once a call has returned kUnavailable, no work runs any more. Free and FreePinned of a lost device
//      wait for the end of the work that it was in.
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
  bool early = false;  // it awaits the launch before it
};
// Stops the process when there is none.
const KernelEntry& EntryOf(cuda::KernelId kernel);

// Enters kernels into the list, before main.
class KernelGroup {
 public:
  KernelGroup(std::initializer_list<std::pair<cuda::KernelId, KernelEntry>> entries, bool early);
};

struct EmulatedOptions {
  uint64_t seed = 1;
  size_t bytes = size_t{1} << 30;  // of device memory
  size_t others = 0;               // of it, that other programs have
  bool exact_products = true;
  bool late_copies = false;
  std::function<bool()> loses_device;               // asked at each call; true: the device is lost
  std::function<bool()> refuses_capture;            // asked where a capture begins and ends
  Result<cuda::ProductLibrary*> products{nullptr};  // what LoadProducts returns
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
  Status BeginCapture(cuda::Stream stream) override;
  Result<cuda::Graph> EndCapture(cuda::Stream stream) override;
  Status LaunchGraph(cuda::Stream stream, cuda::Graph graph) override;
  void FreeGraph(cuda::Graph graph) override;
  Result<cuda::ProductLibrary*> LoadProducts() override { return options_.products; }
  Result<cuda::Event> Record(cuda::Stream stream) override;
  Status WaitFor(cuda::Stream stream, cuda::Event event) override;
  Status Synchronize(cuda::Event event) override;
  Result<bool> HasEnded(cuda::Event event) override;

  // kResourceExhausted: the call with the number `first` of those that may return it fails, see runtime.h.
  // kUnavailable: the device is lost with the call that has the number `first` of all that return a status.
  // The first call has the number 0.
  void FailFrom(uint64_t first, Code error);
  // The device is lost when it has run so much more work (copies, kernels, events), at least 1.
  void LoseAfter(uint64_t work);
  uint64_t calls() const { return calls_; }                // that return a status
  uint64_t memory_calls() const { return memory_calls_; }  // of them, those that may find no memory
  uint64_t launches() const { return launches_; }          // kernels that have begun
  uint64_t work() const { return work_; }                  // that has ended
  uint64_t graph_launches() const { return graph_launches_; }
  size_t graphs();  // that were recorded and not freed

  // While a stream is held, the device takes nothing from it.
  void Hold(cuda::Stream stream, bool held);
  // Copies that the stream was given and that have not begun.
  size_t waiting_copies(cuda::Stream stream);
  // Pieces of work that ran while copies of another stream might have run as well.
  uint64_t beside_copies() const { return beside_copies_; }
  // Accesses of such work to memory that one of those copies writes, and writes to what one of them reads.
  uint64_t conflicts() const { return conflicts_; }

 private:
  struct Work {
    std::function<void()> run;  // empty: an event to be recorded or waited for
    uint64_t records = 0;       // number of an event, or 0
    uint64_t waits = 0;         // as well
    bool is_copy = false;
    // What a copy, or a Zero, touches.
    const std::byte* reads = nullptr;
    const std::byte* writes = nullptr;
    size_t bytes = 0;
  };

  // Counts a call. `wants_memory`: it may find none.
  Status Admit(bool wants_memory = false);
  Status Give(cuda::Stream stream, Work work);
  Status Copy(cuda::Stream stream, std::byte* to, const std::byte* from, size_t bytes);
  // Where the host reaches device or pinned memory. Stops the process when it is neither.
  std::byte* Reach(const void* memory, size_t bytes);
  void RunDevice();
  // The stream whose next work runs now; -1: none can.
  int Choose() REQUIRES(mutex_);
  // Takes the next work of a stream, and puts down what copies of other streams may touch beside it.
  Work Take(int stream) REQUIRES(mutex_);
  void Run(const Work& work);

  const EmulatedOptions options_;
  cuda::DeviceFacts facts_;
  std::atomic<bool> lost_{false};
  std::atomic<bool> has_waited_{false};  // somebody, for an event, since the last launch
  std::atomic<uint64_t> calls_{0}, memory_calls_{0}, launches_{0}, work_{0}, beside_copies_{0}, conflicts_{0};
  std::atomic<uint64_t> graph_launches_{0};
  std::atomic<uint64_t> no_memory_at_{UINT64_MAX}, lost_from_{UINT64_MAX};  // numbers of calls

  Mutex mutex_;
  CondVar changed_;
  std::deque<Work> streams_[cuda::kStreams] GUARDED_BY(mutex_);
  bool held_[cuda::kStreams] GUARDED_BY(mutex_) = {};
  bool running_ GUARDED_BY(mutex_) = false;           // the device runs a piece of work
  uint64_t lose_at_ GUARDED_BY(mutex_) = UINT64_MAX;  // see work_
  bool ends_ GUARDED_BY(mutex_) = false;
  int waiting_ GUARDED_BY(mutex_) = 0;  // threads in Synchronize
  uint64_t next_event_ GUARDED_BY(mutex_) = 1;
  int captured_ GUARDED_BY(mutex_) = -1;           // the stream of a recording
  std::vector<Work> recorded_ GUARDED_BY(mutex_);  // so far
  std::map<uint64_t, std::vector<Work>> graphs_ GUARDED_BY(mutex_);
  uint64_t next_graph_ GUARDED_BY(mutex_) = 1;
  std::map<uint64_t, bool> events_ GUARDED_BY(mutex_);  // whether it has ended
  std::map<std::byte*, size_t> device_ GUARDED_BY(mutex_), pinned_ GUARDED_BY(mutex_);
  size_t used_ GUARDED_BY(mutex_) = 0;
  std::minstd_rand random_ GUARDED_BY(mutex_);
  BlockRunner runner_;  // of the device's thread
  std::thread thread_;
};

}  // namespace prefixd::cuda_emulation
