// DeviceRuntime: the CudaRuntime of a device, over the runtime API of CUDA. It has a stream for each Stream,
// beside the default stream, and loads all kernels at its creation, so that no step waits for one.
//
// Every status of CUDA becomes a Status: no memory, of a call for memory and of Open, is kResourceExhausted.
// Everything else loses the device, because most such errors stay for the process, and after the others a
// stream lacks work that it was given. The first one that loses it is what all later calls return. The
// statuses of cuBLASLt are BlasLt's. What fails in a capture makes no graph, and loses nothing.
//
// Threads: any, as CudaRuntime. Destroy it when all that was allocated is freed.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "base/mutex.h"
#include "kernels/cuda/module/blas_lt.h"
#include "kernels/cuda/module/event_pool.h"
#include "kernels/cuda/runtime.h"

namespace prefixd::cuda {

// As Module::count_devices and Module::create_runtime.
Status CountDevices(int* count);
Status CreateDeviceRuntime(int device, std::unique_ptr<CudaRuntime>* runtime);

class DeviceRuntime final : public CudaRuntime {
 public:
  // `product_files`: as BlasLt::Load.
  explicit DeviceRuntime(int device, std::span<const char* const> product_files = BlasLt::kFiles)
      : device_(device), product_files_(product_files) {}
  ~DeviceRuntime() override;  // waits for the streams, unless the device is lost
  Status Open();              // once, before everything else

  const DeviceFacts& facts() const override { return facts_; }
  bool lost() const override { return lost_; }
  Result<size_t> FreeBytes() override;
  Result<std::byte*> Allocate(size_t bytes) override;
  void Free(std::byte* memory) override;
  Result<std::byte*> AllocatePinned(size_t bytes) override;
  void FreePinned(std::byte* memory) override;
  Status CopyToDevice(Stream stream, std::byte* device, const std::byte* host, size_t bytes) override;
  Status CopyToHost(Stream stream, std::byte* host, const std::byte* device, size_t bytes) override;
  Status CopyOnDevice(Stream stream, std::byte* to, const std::byte* from, size_t bytes) override;
  Status Zero(Stream stream, std::byte* device, size_t bytes) override;
  Status Launch(Stream stream, const KernelLaunch& launch) override;
  Status BeginCapture(Stream stream) override;
  Result<Graph> EndCapture(Stream stream) override;
  Status LaunchGraph(Stream stream, Graph graph) override;
  void FreeGraph(Graph graph) override;
  Result<ProductLibrary*> LoadProducts() override;
  Result<Event> Record(Stream stream) override;
  Status WaitFor(Stream stream, Event event) override;
  Status Synchronize(Event event) override;
  Result<bool> HasEnded(Event event) override;

  size_t events() const { return events_.events(); }

  // For the libraries of the module.
  // Each call begins with it: the error of a lost device, or the device becomes that of the thread.
  Status Enter();
  cudaStream_t StreamOf(Stream stream) const { return streams_[static_cast<size_t>(stream)]; }

 private:
  // The Status of what `call` returned; TakeMemory, of a call after whose failure nothing has changed.
  Status Take(cudaError_t error, const char* call);
  Status TakeMemory(cudaError_t error, const char* call);
  static Status TakeCapture(cudaError_t error, const char* call);
  Status FillFacts();
  Status LoadKernels();
  Status Copy(Stream stream, void* to, const void* from, size_t bytes, cudaMemcpyKind kind);

  const int device_;
  const std::span<const char* const> product_files_;
  DeviceFacts facts_;
  std::array<bool, kKernels> overlaps_ = {};  // whether a kernel may begin before the launch before has ended
  EventPool::Streams streams_ = {};
  EventPool events_;
  std::unique_ptr<BlasLt> products_;
  bool captures_ = false;                       // of the thread of the compute stream
  std::map<uint64_t, cudaGraphExec_t> graphs_;  // as well
  uint64_t next_graph_ = 1;
  std::atomic<bool> lost_{false};
  Mutex mutex_;
  std::string why_lost_ GUARDED_BY(mutex_);
};

}  // namespace prefixd::cuda
