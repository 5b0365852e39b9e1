// KernelProducts: a ProductLibrary for the emulation. Its products are those of the kernels Gemm, so they
// have the right bits unless a test wants something else.
//
// Threads: as ProductLibrary. A test changes what it does while nothing runs.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/launches.h"
#include "kernels/cuda/product_library.h"

namespace prefixd::cuda_emulation {

class KernelProducts final : public cuda::ProductLibrary {
 public:
  enum class Act { kRight, kWrong, kNothing, kRefuse, kFail };

  // Before it multiplies. `runtime` may own what points to this library.
  void set_runtime(cuda::CudaRuntime* runtime) { runtime_ = runtime; }
  // What it does with a product, by the number of its way, from 0. Empty: kRight.
  std::function<Act(uint64_t way, const cuda::GemmParams& params)> act;
  Status ways_status;  // of Ways
  int ways = 2;        // that it offers, at most

  // The shapes that it was asked for, and the products that it gave to the stream, by way.
  std::vector<cuda::ProductShape> asked;
  std::vector<cuda::GemmParams> given[2];

  const std::string& name() const override { return name_; }
  Result<std::vector<cuda::ProductWay>> Ways(const cuda::ProductShape& shape, int most) override {
    asked.push_back(shape);
    PREFIXD_RETURN_IF_ERROR(ways_status);
    std::vector<cuda::ProductWay> offered(static_cast<size_t>(std::min({ways, most, 2})));
    for (size_t i = 0; i < offered.size(); ++i) offered[i].words[0] = i;
    return offered;
  }
  Result<bool> Multiply(cuda::Stream stream, const cuda::ProductWay& way, DType type,
                        const cuda::GemmParams& params, std::byte* workspace) override {
    PREFIXD_CHECK(workspace != nullptr && way.words[0] < 2);
    const Act does = act ? act(way.words[0], params) : Act::kRight;
    if (does == Act::kRefuse) return false;
    if (does == Act::kFail) return IoError("a product fails (emulated)");
    cuda::GemmParams changed = params;
    if (does == Act::kWrong) changed.k -= 8;  // rows lie elsewhere, inside of the same memory
    if (does != Act::kNothing) PREFIXD_RETURN_IF_ERROR(runtime_->Launch(stream, LaunchOf(changed, type)));
    given[way.words[0]].push_back(params);
    return true;
  }

 private:
  const std::string name_ = "cuBLASLt 0.0.0 (emulated)";
  cuda::CudaRuntime* runtime_ = nullptr;
};

}  // namespace prefixd::cuda_emulation
