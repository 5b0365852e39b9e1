#include "daemon/serve_plan_probe.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "base/clock.h"
#include "kernels/cuda/cuda_rates.h"
#include "kernels/cuda/module_loader.h"
#include "kernels/registry.h"

namespace prefixd {
namespace {

constexpr double kSeconds = 0.08;  // for each of the two rates
constexpr int kRows = 64;
constexpr int kMostWidth = 768;                    // of the square matrix
constexpr size_t kCopiedBytes = size_t{32} << 20;  // above the private caches of a core

// Calls `work` until kSeconds have passed, twice at least: the first call brings memory and threads up.
// Returns the seconds of the fastest later call, above 0.
template <typename Work>
double Fastest(const Work& work) {
  const SystemClock clock;
  work();
  const double begun = clock.NowSeconds();
  double best = 1e9, now = begun;
  do {
    const double before = now;
    work();
    now = clock.NowSeconds();
    best = std::min(best, now - before);
  } while (now - begun < kSeconds);
  return std::max(best, 1e-9);
}

}  // namespace

Result<ProbedRates> ProbeRates(const ServePlan& plan) {
  const WeightFormat format = plan.model.formats.front();
  if (plan.backend == "cuda") {
    // Products of integers are not measured: they count as those of bf16.
    const DType dtype = format.quantized() ? DType::kBF16 : format.dtype();
    PREFIXD_ASSIGN_OR_RETURN(const std::unique_ptr<cuda::CudaRuntime> runtime,
                             cuda::CreateRuntime(plan.cuda.device));
    const Result<cuda::ProductLibrary*> library =
        plan.cuda.deterministic ? Result<cuda::ProductLibrary*>(nullptr) : runtime->LoadProducts();
    PREFIXD_ASSIGN_OR_RETURN(const cuda::CudaRates measured,
                             cuda::MeasureRates(runtime.get(), library.ok() ? *library : nullptr, dtype));
    return ProbedRates{measured.flops, measured.copy_bytes};
  }
  ProbedRates rates;
  PREFIXD_ASSIGN_OR_RETURN(const std::unique_ptr<Operations> operations,
                           CreateOperations(plan.backend, plan.threads.count, plan.numerics));
  // A narrow model is slower by the operation.
  const int hidden = std::min(plan.model.config.hidden, kMostWidth);
  const int width = format.Fits(hidden) ? hidden : kMostWidth;
  const ModelShape shape{.layers = 1,
                         .hidden = width,
                         .intermediate = width,
                         .heads = 1,
                         .kv_heads = 1,
                         .head_dim = width,
                         .vocab = width,
                         .windows = {0}};
  PREFIXD_RETURN_IF_ERROR(
      operations->Reserve(shape, {.context = kRows, .max_rows = kRows, .max_logit_rows = 1}));
  const std::vector<std::byte> zeros(static_cast<size_t>(width) * format.RowBytes(width));
  const MatrixSource source{zeros.data(), format, width, width};
  PREFIXD_ASSIGN_OR_RETURN(const std::unique_ptr<Matrix> matrix, operations->Pack(std::span(&source, 1)));
  const std::vector<float> x(static_cast<size_t>(kRows) * width, 1.0f);
  std::vector<float> y(x.size());
  rates.flops = 2.0 * kRows * width * width /
                Fastest([&] { operations->Gemm(*matrix, x.data(), kRows, y.data(), GemmOutput::kStore); });

  const std::vector<std::byte> from(kCopiedBytes);
  std::vector<std::byte> to(kCopiedBytes);
  rates.copy_bytes = kCopiedBytes / Fastest([&] { std::memcpy(to.data(), from.data(), from.size()); });
  return rates;
}

}  // namespace prefixd
