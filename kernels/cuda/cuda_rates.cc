#include "kernels/cuda/cuda_rates.h"

#include <algorithm>
#include <vector>

#include "base/clock.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/launches.h"

namespace prefixd::cuda {
namespace {

constexpr int kRuns = 3;  // the fastest counts; the first one also loads the kernel
constexpr size_t kCopiedBytes = size_t{32} << 20;
// A product of n / 4 rows by an n x n matrix. Larger ones are tried until one takes long enough that its
// launch does not count.
constexpr int kSmallest = 256, kLargest = 4096;
constexpr double kLongEnough = 0.0005;  // seconds

// The seconds of the fastest run of the work that `give` gives to the stream, above 0.
template <typename Give>
Result<double> Fastest(CudaRuntime* runtime, Stream stream, const Give& give) {
  const SystemClock clock;
  double best = 1e9;
  for (int run = 0; run < kRuns; ++run) {
    const double begun = clock.NowSeconds();
    PREFIXD_RETURN_IF_ERROR(give());
    PREFIXD_ASSIGN_OR_RETURN(const Event event, runtime->Record(stream));
    PREFIXD_RETURN_IF_ERROR(runtime->Synchronize(event));
    best = std::min(best, clock.NowSeconds() - begun);
  }
  return std::max(best, 1e-9);
}

// The same of the library. An error that is not kUnavailable: it does not compute the product.
Result<double> SecondsOfLibrary(CudaRuntime* runtime, ProductLibrary* library, DType dtype,
                                const GemmParams& params) {
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<ProductWay> ways,
                           library->Ways({dtype, params.rows, params.n, params.k, params.accumulate}, 1));
  if (ways.empty()) return Unsupported("there is no way");
  PREFIXD_ASSIGN_OR_RETURN(const DeviceMemory workspace,
                           DeviceMemory::Allocate(runtime, kProductWorkspaceBytes));
  Result<double> seconds = Fastest(runtime, Stream::kCompute, [&]() -> Status {
    PREFIXD_ASSIGN_OR_RETURN(
        const bool given, library->Multiply(Stream::kCompute, ways.front(), dtype, params, workspace.data()));
    return given ? Status::Ok() : Unsupported("it is refused");
  });
  if (!seconds.ok() && !runtime->lost()) {
    // What failed may still write.
    PREFIXD_ASSIGN_OR_RETURN(const Event event, runtime->Record(Stream::kCompute));
    PREFIXD_RETURN_IF_ERROR(runtime->Synchronize(event));
  }
  return seconds;
}

Result<double> SecondsOfProduct(CudaRuntime* runtime, ProductLibrary* library, DType dtype, int n) {
  const int rows = n / 4;
  const auto wide = static_cast<size_t>(n), high = static_cast<size_t>(rows);
  PREFIXD_ASSIGN_OR_RETURN(const DeviceMemory w,
                           DeviceMemory::Allocate(runtime, wide * wide * DTypeBytes(dtype)));
  PREFIXD_ASSIGN_OR_RETURN(const DeviceMemory x,
                           DeviceMemory::Allocate(runtime, high * wide * DTypeBytes(dtype)));
  PREFIXD_ASSIGN_OR_RETURN(const DeviceMemory y,
                           DeviceMemory::Allocate(runtime, high * wide * sizeof(float)));
  // After this nothing fails but the device, until the stream has ended.
  for (const DeviceMemory* memory : {&w, &x, &y})
    PREFIXD_RETURN_IF_ERROR(runtime->Zero(Stream::kCompute, memory->data(), memory->bytes()));
  const GemmParams params{.w = w.data(),
                          .x = x.data(),
                          .bias = nullptr,
                          .y = reinterpret_cast<float*>(y.data()),
                          .rows = rows,
                          .n = n,
                          .k = n,
                          .accumulate = false};
  PREFIXD_ASSIGN_OR_RETURN(const double seconds, Fastest(runtime, Stream::kCompute, [&] {
                             return runtime->Launch(Stream::kCompute, LaunchOf(params, dtype));
                           }));
  if (library == nullptr || dtype == DType::kF32) return seconds;
  const Result<double> of_library = SecondsOfLibrary(runtime, library, dtype, params);
  if (of_library.status().code() == Code::kUnavailable) return of_library.status();
  return of_library.ok() ? std::min(seconds, *of_library) : seconds;
}

}  // namespace

Result<CudaRates> MeasureRates(CudaRuntime* runtime, ProductLibrary* library, DType dtype) {
  CudaRates rates;
  for (int n = kSmallest; n <= kLargest; n *= 2) {
    PREFIXD_ASSIGN_OR_RETURN(const double seconds, SecondsOfProduct(runtime, library, dtype, n));
    rates.flops = 0.5 * n * n * n / seconds;
    if (seconds >= kLongEnough) break;
  }
  PREFIXD_ASSIGN_OR_RETURN(const PinnedMemory from, PinnedMemory::Allocate(runtime, kCopiedBytes));
  PREFIXD_ASSIGN_OR_RETURN(const DeviceMemory to, DeviceMemory::Allocate(runtime, kCopiedBytes));
  const auto copy = [&] {
    return runtime->CopyToDevice(Stream::kLoad, to.data(), from.data(), kCopiedBytes);
  };
  PREFIXD_ASSIGN_OR_RETURN(const double seconds, Fastest(runtime, Stream::kLoad, copy));
  rates.copy_bytes = static_cast<double>(kCopiedBytes) / seconds;
  return rates;
}

}  // namespace prefixd::cuda
