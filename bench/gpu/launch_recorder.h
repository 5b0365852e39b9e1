// LaunchRecorder: a CudaRuntime in front of another that keeps the launches of a step, so that each of them
// can be repeated alone: same kernel, same grid, same memory. A product of a library is kept as the launch of
// the kernel that would make it, with its way. Those of a graph are kept where it is captured and where it is
// launched.
//
// Threads: as CudaRuntime; Begin and Take are called while nothing launches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/cuda/product_library.h"
#include "kernels/cuda/runtime.h"

namespace prefixd::bench {

// How a library made a product.
struct LibraryProduct {
  cuda::ProductWay way;
  DType type;
  std::byte* workspace;
};

// A launch with its own copy of its params, to which launch.params points.
struct RecordedLaunch {
  cuda::KernelLaunch launch;
  std::unique_ptr<std::byte[]> params;
  std::optional<LibraryProduct> product;  // who made it instead

  template <typename Params>
  const Params& As() const {
    return *reinterpret_cast<const Params*>(params.get());
  }
};

// The name of a kernel, as in "kGemmBF16", and the size of its params.
struct KernelFacts {
  std::string_view name;
  size_t param_bytes;
};
const KernelFacts& FactsOf(cuda::KernelId kernel);

class LaunchRecorder final : public cuda::CudaRuntime, private cuda::ProductLibrary {
 public:
  explicit LaunchRecorder(std::unique_ptr<cuda::CudaRuntime> runtime) : runtime_(std::move(runtime)) {}

  void Begin();
  std::vector<RecordedLaunch> Take();  // the launches since Begin; ends the recording
  // Gives a launch to Stream::kCompute again, as it was; a product of a library that refuses it is an error.
  Status Repeat(const RecordedLaunch& recorded);

  const cuda::DeviceFacts& facts() const override { return runtime_->facts(); }
  bool lost() const override { return runtime_->lost(); }
  Result<size_t> FreeBytes() override { return runtime_->FreeBytes(); }
  Result<std::byte*> Allocate(size_t bytes) override { return runtime_->Allocate(bytes); }
  void Free(std::byte* memory) override { runtime_->Free(memory); }
  Result<std::byte*> AllocatePinned(size_t bytes) override { return runtime_->AllocatePinned(bytes); }
  void FreePinned(std::byte* memory) override { runtime_->FreePinned(memory); }
  Status CopyToDevice(cuda::Stream stream, std::byte* device, const std::byte* host, size_t bytes) override {
    return runtime_->CopyToDevice(stream, device, host, bytes);
  }
  Status CopyToHost(cuda::Stream stream, std::byte* host, const std::byte* device, size_t bytes) override {
    return runtime_->CopyToHost(stream, host, device, bytes);
  }
  Status CopyOnDevice(cuda::Stream stream, std::byte* to, const std::byte* from, size_t bytes) override {
    return runtime_->CopyOnDevice(stream, to, from, bytes);
  }
  Status Zero(cuda::Stream stream, std::byte* device, size_t bytes) override {
    return runtime_->Zero(stream, device, bytes);
  }
  Status Launch(cuda::Stream stream, const cuda::KernelLaunch& launch) override;
  Status BeginCapture(cuda::Stream stream) override;
  Result<cuda::Graph> EndCapture(cuda::Stream stream) override;
  Status LaunchGraph(cuda::Stream stream, cuda::Graph graph) override;
  void FreeGraph(cuda::Graph graph) override;
  Result<cuda::ProductLibrary*> LoadProducts() override;
  Result<cuda::Event> Record(cuda::Stream stream) override { return runtime_->Record(stream); }
  Status WaitFor(cuda::Stream stream, cuda::Event event) override { return runtime_->WaitFor(stream, event); }
  Status Synchronize(cuda::Event event) override { return runtime_->Synchronize(event); }
  Result<bool> HasEnded(cuda::Event event) override { return runtime_->HasEnded(event); }

 private:
  const std::string& name() const override { return library_->name(); }
  Result<std::vector<cuda::ProductWay>> Ways(const cuda::ProductShape& shape, int most) override {
    return library_->Ways(shape, most);
  }
  Result<bool> Multiply(cuda::Stream stream, const cuda::ProductWay& way, DType type,
                        const cuda::GemmParams& params, std::byte* workspace) override;
  // Where what is kept now belongs; null: nobody wants it.
  std::vector<RecordedLaunch>* Kept();
  static RecordedLaunch& Keep(const cuda::KernelLaunch& launch, std::vector<RecordedLaunch>* kept);

  const std::unique_ptr<cuda::CudaRuntime> runtime_;
  cuda::ProductLibrary* library_ = nullptr;
  bool records_ = false, captures_ = false;
  std::vector<RecordedLaunch> launches_, captured_;
  std::map<uint64_t, std::vector<RecordedLaunch>> graphs_;
};

}  // namespace prefixd::bench
