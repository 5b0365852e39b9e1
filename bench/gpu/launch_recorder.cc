#include "bench/gpu/launch_recorder.h"

#include <cstring>

#include "kernels/cuda/launches.h"

namespace prefixd::bench {

const KernelFacts& FactsOf(cuda::KernelId kernel) {
  using namespace cuda;  // NOLINT: the structs of the table
  static constexpr KernelFacts kFacts[] = {
#define PREFIXD_CUDA_KERNEL(id, params, ...) {#id, sizeof(params)},
      PREFIXD_CUDA_KERNELS(PREFIXD_CUDA_KERNEL)
#undef PREFIXD_CUDA_KERNEL
  };
  return kFacts[static_cast<size_t>(kernel)];
}

void LaunchRecorder::Begin() {
  launches_.clear();
  records_ = true;
}

std::vector<RecordedLaunch> LaunchRecorder::Take() {
  records_ = false;
  return std::move(launches_);
}

std::vector<RecordedLaunch>* LaunchRecorder::Kept() {
  return captures_ ? &captured_ : records_ ? &launches_ : nullptr;
}

RecordedLaunch& LaunchRecorder::Keep(const cuda::KernelLaunch& launch, std::vector<RecordedLaunch>* kept) {
  const size_t bytes = FactsOf(launch.kernel).param_bytes;
  RecordedLaunch& recorded = kept->emplace_back(launch, std::make_unique<std::byte[]>(bytes), std::nullopt);
  std::memcpy(recorded.params.get(), launch.params, bytes);
  recorded.launch.params = recorded.params.get();
  return recorded;
}

Status LaunchRecorder::Launch(cuda::Stream stream, const cuda::KernelLaunch& launch) {
  if (std::vector<RecordedLaunch>* const kept = Kept()) Keep(launch, kept);
  return runtime_->Launch(stream, launch);
}

Status LaunchRecorder::BeginCapture(cuda::Stream stream) {
  PREFIXD_RETURN_IF_ERROR(runtime_->BeginCapture(stream));
  captures_ = true;
  captured_.clear();
  return Status::Ok();
}

Result<cuda::Graph> LaunchRecorder::EndCapture(cuda::Stream stream) {
  captures_ = false;
  PREFIXD_ASSIGN_OR_RETURN(const cuda::Graph graph, runtime_->EndCapture(stream));
  graphs_[graph.number] = std::move(captured_);
  return graph;
}

Status LaunchRecorder::LaunchGraph(cuda::Stream stream, cuda::Graph graph) {
  if (records_) {
    for (const RecordedLaunch& recorded : graphs_[graph.number])
      Keep(recorded.launch, &launches_).product = recorded.product;
  }
  return runtime_->LaunchGraph(stream, graph);
}

void LaunchRecorder::FreeGraph(cuda::Graph graph) {
  graphs_.erase(graph.number);
  runtime_->FreeGraph(graph);
}

Result<cuda::ProductLibrary*> LaunchRecorder::LoadProducts() {
  PREFIXD_ASSIGN_OR_RETURN(library_, runtime_->LoadProducts());
  return library_ == nullptr ? nullptr : this;
}

Result<bool> LaunchRecorder::Multiply(cuda::Stream stream, const cuda::ProductWay& way, DType type,
                                      const cuda::GemmParams& params, std::byte* workspace) {
  Result<bool> given = library_->Multiply(stream, way, type, params, workspace);
  std::vector<RecordedLaunch>* const kept = Kept();
  if (kept != nullptr && given.ok() && *given)
    Keep(LaunchOf(params, type), kept).product = {way, type, workspace};
  return given;
}

Status LaunchRecorder::Repeat(const RecordedLaunch& recorded) {
  if (!recorded.product) return runtime_->Launch(cuda::Stream::kCompute, recorded.launch);
  const auto& [way, type, workspace] = *recorded.product;
  PREFIXD_ASSIGN_OR_RETURN(const bool given, library_->Multiply(cuda::Stream::kCompute, way, type,
                                                                recorded.As<cuda::GemmParams>(), workspace));
  return given ? Status::Ok() : Unsupported("a product that was made once is refused");
}

}  // namespace prefixd::bench
