// CudaRuntime: a GPU as the CUDA backend drives it: memory, streams, events, copies and launches. The module
// libprefixd_cuda.so implements it for a device (kernels/cuda/module), tests/support/cuda_emulation on the
// CPU. The backend above it (cuda_backend.h) is the same code for both, and has no other way to a device.
//
// Everything that is given to a stream runs in its order, later than the call, and beside other streams. What
// a copy reads stays unchanged, and what it writes stays unread, until an event that was recorded after it
// has ended.
//
// Errors
//   kResourceExhausted: no memory; the call had no effect. Only the calls of memory return it: Allocate,
//     AllocatePinned and FreeBytes.
//   kUnavailable: the device is lost. It stays so for this process, and all later calls return the same. What
//     the streams were given touches no memory any more, so the caller may give back all that it uses. An
//     implementation that cannot be sure of that leaves such memory to the end of the process. `lost` says so
//     without a call.
//
// Threads: any. Calls for one stream come from one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "kernels/cuda/kernel_table.h"

namespace prefixd::cuda {

class ProductLibrary;  // product_library.h

// The streams of a device. Steps run in kCompute; kLoad copies to the device and kSpill from it, beside them.
enum class Stream : uint8_t { kCompute, kLoad, kSpill };
inline constexpr int kStreams = 3;

struct DeviceFacts {
  std::string name;            // "NVIDIA H200"
  int compute_capability = 0;  // 90 for 9.0
  int multiprocessors = 0;
  size_t bytes = 0;         // of device memory
  size_t shared_bytes = 0;  // the most that a block may have
  std::string versions;     // of driver and runtime, for a log line
};

struct KernelLaunch {
  KernelId kernel;
  int blocks_x = 1, blocks_y = 1;  // > 0
  int threads = 32;                // of a block, a multiple of 32
  size_t shared_bytes = 0;
  const void* params = nullptr;  // the struct of the kernel, see kernel_table.h; copied by the call
};

// An event of a stream. The runtime owns it; a default one has ended.
struct Event {
  uint64_t number = 0;
};

// Work of a stream that is given as one. The runtime owns it.
struct Graph {
  uint64_t number = 0;
};

class CudaRuntime {
 public:
  virtual ~CudaRuntime() = default;
  virtual const DeviceFacts& facts() const = 0;
  virtual bool lost() const = 0;
  virtual Result<size_t> FreeBytes() = 0;

  // Device memory, 256-byte aligned, not initialised. Free waits for nothing: the caller has waited.
  virtual Result<std::byte*> Allocate(size_t bytes) = 0;
  virtual void Free(std::byte* memory) = 0;
  // Host memory that copies read and write without a detour.
  virtual Result<std::byte*> AllocatePinned(size_t bytes) = 0;
  virtual void FreePinned(std::byte* memory) = 0;

  // Asynchronous. `host` is pinned.
  virtual Status CopyToDevice(Stream stream, std::byte* device, const std::byte* host, size_t bytes) = 0;
  virtual Status CopyToHost(Stream stream, std::byte* host, const std::byte* device, size_t bytes) = 0;
  virtual Status CopyOnDevice(Stream stream, std::byte* to, const std::byte* from, size_t bytes) = 0;
  virtual Status Zero(Stream stream, std::byte* device, size_t bytes) = 0;
  virtual Status Launch(Stream stream, const KernelLaunch& launch) = 0;

  // Between the two, launches and products of a library that the stream is given are recorded and do not run;
  // it is given nothing else. One recording at a time. EndCapture ends it also where it fails. An error but
  // kUnavailable, also of a launch in between, says why there is no graph; the device and the stream are as
  // before.
  virtual Status BeginCapture(Stream stream) = 0;
  virtual Result<Graph> EndCapture(Stream stream) = 0;
  // Gives all work of the graph to the stream; its launches have the params that they were recorded with.
  virtual Status LaunchGraph(Stream stream, Graph graph) = 0;
  // Requires that what LaunchGraph gave has ended, or that the device is lost.
  virtual void FreeGraph(Graph graph) = 0;

  // The library that multiplies matrices on the device beside the kernels. The runtime owns it, and loads it
  // at the first call; one thread calls this. Null: this runtime never has one. kUnavailable: as above.
  // Another error says why the machine has none that can be used.
  virtual Result<ProductLibrary*> LoadProducts() = 0;

  // What `stream` has been given so far has ended when the event has.
  virtual Result<Event> Record(Stream stream) = 0;
  // Later work of the stream begins when the event has ended.
  virtual Status WaitFor(Stream stream, Event event) = 0;
  // Blocks the calling thread. kUnavailable, also when a kernel before the event failed.
  virtual Status Synchronize(Event event) = 0;
  virtual Result<bool> HasEnded(Event event) = 0;
};

}  // namespace prefixd::cuda
