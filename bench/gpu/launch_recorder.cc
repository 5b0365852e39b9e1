#include "bench/gpu/launch_recorder.h"

#include <cstring>

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

Status LaunchRecorder::Launch(cuda::Stream stream, const cuda::KernelLaunch& launch) {
  if (records_) {
    const size_t bytes = FactsOf(launch.kernel).param_bytes;
    RecordedLaunch& recorded = launches_.emplace_back(launch, std::make_unique<std::byte[]>(bytes));
    std::memcpy(recorded.params.get(), launch.params, bytes);
    recorded.launch.params = recorded.params.get();
  }
  return runtime_->Launch(stream, launch);
}

}  // namespace prefixd::bench
