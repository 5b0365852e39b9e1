#include "kernels/cuda/products.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/prng.h"
#include "kernels/cuda/launches.h"

namespace prefixd::cuda {
namespace {

constexpr int kMostRows[] = {16, 64, 256, INT_MAX};  // that share a way
constexpr int kMostWays = 4;                         // that are tried for them

size_t Size(int n) { return static_cast<size_t>(n); }

std::string NameOf(const ProductShape& shape, int fewest_rows) {
  return std::to_string(shape.n) + "x" + std::to_string(shape.k) + " of " + std::to_string(fewest_rows) +
         " to " + std::to_string(shape.rows) + " rows";
}

void Append(std::string* list, const std::string& name) { *list += (list->empty() ? "" : ", ") + name; }

bool HasNonZero(const std::byte* floats, size_t bytes) {
  for (size_t at = 0; at < bytes; at += sizeof(uint32_t)) {
    uint32_t bits;
    std::memcpy(&bits, floats + at, sizeof bits);
    if (bits << 1 != 0) return true;
  }
  return false;
}

// Compares ways with the kernel for one use, on memory of its own. kUnavailable: the device is lost. Other
// errors say why the use is left to the kernel.
class Trial {
 public:
  Trial(CudaRuntime* runtime, ProductLibrary* library, std::byte* workspace, const Products::Use& use)
      : runtime_(runtime), library_(library), workspace_(workspace), use_(use) {}
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;
  // What a way that failed gave to the stream may still write into the memory.
  ~Trial() {
    if (!runtime_->lost()) (void)Finish();
  }

  // For a number of rows, at most.
  Status Prepare(int rows) {
    const size_t x = Size(rows) * Size(use_.w->cols()) * 2 + kShift;
    const size_t y = Size(rows) * Size(use_.w->rows()) * sizeof(float);
    PREFIXD_ASSIGN_OR_RETURN(x_, DeviceMemory::Allocate(runtime_, x));
    PREFIXD_ASSIGN_OR_RETURN(expected_, DeviceMemory::Allocate(runtime_, y));
    PREFIXD_ASSIGN_OR_RETURN(got_, DeviceMemory::Allocate(runtime_, y));
    PREFIXD_ASSIGN_OR_RETURN(expected_on_host_, PinnedMemory::Allocate(runtime_, kStagingBytes));
    PREFIXD_ASSIGN_OR_RETURN(got_on_host_, PinnedMemory::Allocate(runtime_, kStagingBytes));
    PREFIXD_RETURN_IF_ERROR(FillX());
    return ProveSomething(rows);
  }

  // Ok: the way has the bits of the kernel.
  Status Try(const ProductWay& way, int rows) {
    const size_t bytes = Size(rows) * Size(use_.w->rows()) * sizeof(float);
    const GemmParams expected = ParamsFor(rows, expected_), got = ParamsFor(rows, got_);
    for (GemmParams before : {expected, got}) {
      // What y has before: a product to which another is added, or zeros that must not stay.
      before.x = x_.data() + kShift;
      before.accumulate = false;
      if (use_.accumulate) {
        PREFIXD_RETURN_IF_ERROR(Launch(before));
      } else {
        PREFIXD_RETURN_IF_ERROR(
            runtime_->Zero(Stream::kCompute, reinterpret_cast<std::byte*>(before.y), bytes));
      }
    }
    PREFIXD_RETURN_IF_ERROR(Launch(expected));
    PREFIXD_ASSIGN_OR_RETURN(const bool given,
                             library_->Multiply(Stream::kCompute, way, use_.w->dtype(), got, workspace_));
    if (!given) return Unsupported("the library refuses what it has offered");
    return Same(bytes);
  }

 private:
  static constexpr size_t kShift = 256;  // bytes from the x of a product to that of what it is added to

  GemmParams ParamsFor(int rows, const DeviceMemory& y) const {
    return {.w = use_.w->data(),
            .x = x_.data(),
            .bias = use_.bias,
            .y = reinterpret_cast<float*>(y.data()),
            .rows = rows,
            .n = use_.w->rows(),
            .k = use_.w->cols(),
            .accumulate = use_.accumulate};
  }
  Status Launch(const GemmParams& params) {
    return runtime_->Launch(Stream::kCompute, LaunchOf(params, use_.w->dtype()));
  }
  Status Finish() {
    PREFIXD_ASSIGN_OR_RETURN(const Event event, runtime_->Record(Stream::kCompute));
    return runtime_->Synchronize(event);
  }

  // Numbers of both signs from 1/16 to 32, so that the order of a sum shows in its bits.
  Status FillX() {
    const bool bf16 = use_.w->dtype() == DType::kBF16;
    const int mantissa_bits = bf16 ? 7 : 10, bias = bf16 ? 127 : 15;
    Prng prng(1);
    for (size_t at = 0; at < x_.bytes(); at += kStagingBytes) {
      const size_t bytes = std::min(kStagingBytes, x_.bytes() - at);
      for (size_t i = 0; i + 2 <= bytes; i += 2) {
        const uint64_t random = prng.Next();
        const uint64_t exponent = static_cast<uint64_t>(bias - 4) + (random >> 32) % 9;
        const uint64_t mantissa = random & ((uint64_t{1} << mantissa_bits) - 1);
        const auto bits = static_cast<uint16_t>((random >> 63) << 15 | exponent << mantissa_bits | mantissa);
        std::memcpy(expected_on_host_.data() + i, &bits, sizeof bits);
      }
      PREFIXD_RETURN_IF_ERROR(
          runtime_->CopyToDevice(Stream::kCompute, x_.data() + at, expected_on_host_.data(), bytes));
      PREFIXD_RETURN_IF_ERROR(Finish());
    }
    return Status::Ok();
  }

  // Products of 0 are the same in every order.
  Status ProveSomething(int rows) {
    GemmParams alone = ParamsFor(rows, expected_);
    alone.bias = nullptr;
    alone.accumulate = false;
    PREFIXD_RETURN_IF_ERROR(Launch(alone));
    for (size_t at = 0; at < expected_.bytes(); at += kStagingBytes) {
      const size_t piece = std::min(kStagingBytes, expected_.bytes() - at);
      PREFIXD_RETURN_IF_ERROR(
          runtime_->CopyToHost(Stream::kCompute, expected_on_host_.data(), expected_.data() + at, piece));
      PREFIXD_RETURN_IF_ERROR(Finish());
      if (HasNonZero(expected_on_host_.data(), piece)) return Status::Ok();
    }
    return Unsupported("the products are 0, which is so in every order");
  }

  Status Same(size_t bytes) {
    for (size_t at = 0; at < bytes; at += kStagingBytes) {
      const size_t piece = std::min(kStagingBytes, bytes - at);
      PREFIXD_RETURN_IF_ERROR(
          runtime_->CopyToHost(Stream::kCompute, expected_on_host_.data(), expected_.data() + at, piece));
      PREFIXD_RETURN_IF_ERROR(
          runtime_->CopyToHost(Stream::kCompute, got_on_host_.data(), got_.data() + at, piece));
      PREFIXD_RETURN_IF_ERROR(Finish());
      if (std::memcmp(expected_on_host_.data(), got_on_host_.data(), piece) != 0)
        return Unsupported("the bits differ from those of the kernel");
    }
    return Status::Ok();
  }

  CudaRuntime* const runtime_;
  ProductLibrary* const library_;
  std::byte* const workspace_;
  const Products::Use use_;
  DeviceMemory x_, expected_, got_;
  PinnedMemory expected_on_host_, got_on_host_;
};

// Finds a way with the right bits for numbers of rows from fewest_rows to shape.rows. An error other than
// kUnavailable says why there is none.
Result<ProductWay> FindWay(ProductLibrary* library, const ProductChoices& choices, Trial& trial,
                           const ProductShape& shape, int fewest_rows) {
  const auto try_both = [&](const ProductWay& way) {
    Status tried = trial.Try(way, std::min(shape.rows, Products::kMostCheckedRows));
    return tried.ok() ? trial.Try(way, fewest_rows) : tried;
  };
  if (const ProductWay* const chosen = choices.Find(shape, fewest_rows)) {
    const Status tried = try_both(*chosen);
    if (tried.ok()) return *chosen;
    if (tried.code() == Code::kUnavailable) return tried;
  }
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<ProductWay> ways, library->Ways(shape, kMostWays));
  Status why_not = Unsupported("the library has no way without a split");
  for (const ProductWay& way : ways) {
    Status tried = try_both(way);
    if (tried.ok()) return way;
    if (tried.code() == Code::kUnavailable) return tried;
    why_not = std::move(tried);
  }
  return why_not;
}

bool Fits(int n, int k, WeightFormat format, bool has_bias, bool accumulate) {
  return !format.quantized() && format != DType::kF32 && !(has_bias && accumulate) &&
         n % kProductMultiple == 0 && k % kProductMultiple == 0;
}

}  // namespace

Status Products::Check(ProductLibrary* library, std::span<const Use> uses, ProductChoices* choices) {
  library_ = library;
  PREFIXD_ASSIGN_OR_RETURN(workspace_, DeviceMemory::Allocate(runtime_, kProductWorkspaceBytes));
  std::string computed, left, why_left;
  for (const Use& use : uses) {
    const bool has_bias = use.bias != nullptr;
    if (!Fits(use.w->rows(), use.w->cols(), use.w->format(), has_bias, use.accumulate)) continue;
    Trial trial(runtime_, library_, workspace_.data(), use);
    const Status prepared = trial.Prepare(std::min(use.most_rows, kMostCheckedRows));
    int fewest_rows = use.fewest_rows;
    for (const int most_rows : kMostRows) {
      const ProductShape shape{.type = use.w->dtype(),
                               .rows = std::min(most_rows, use.most_rows),
                               .n = use.w->rows(),
                               .k = use.w->cols(),
                               .has_bias = has_bias,
                               .accumulate = use.accumulate};
      if (fewest_rows > shape.rows) break;
      const Result<ProductWay> way = prepared.ok() ? FindWay(library_, *choices, trial, shape, fewest_rows)
                                                   : Result<ProductWay>(prepared);
      if (way.status().code() == Code::kUnavailable) return way.status();
      if (way.ok()) choices->Keep(ways_.emplace_back(CheckedWay{shape, fewest_rows, *way}));
      if (!way.ok()) why_left = way.status().message();
      Append(way.ok() ? &computed : &left, NameOf(shape, fewest_rows));
      fewest_rows = shape.rows + 1;
    }
  }
  if (!computed.empty()) {
    Log(LogLevel::kInfo, "cuBLASLt multiplies matrices",
        {{"library", library_->name()}, {"shapes", computed}});
  }
  if (!left.empty()) {
    Log(LogLevel::kWarning, "cuBLASLt does not multiply all matrices",
        {{"library", library_->name()}, {"left_to_kernels", left}, {"reason", why_left}});
  }
  return Status::Ok();
}

const CheckedWay* Products::Find(const GemmParams& params, WeightFormat format) const {
  const auto aligned = [](const void* memory) {
    return reinterpret_cast<uintptr_t>(memory) % kProductAlignment == 0;
  };
  const bool has_bias = params.bias != nullptr;
  if (!Fits(params.n, params.k, format, has_bias, params.accumulate) || !aligned(params.w) ||
      !aligned(params.x) || !aligned(params.y) || params.stride != 0) {
    return nullptr;
  }
  const auto found = std::ranges::find_if(ways_, [&](const CheckedWay& way) {
    return way.shape.type == format && way.shape.n == params.n && way.shape.k == params.k &&
           way.shape.has_bias == has_bias && way.shape.accumulate == params.accumulate &&
           way.fewest_rows <= params.rows && params.rows <= way.shape.rows;
  });
  return found == ways_.end() ? nullptr : &*found;
}

Status Products::Multiply(const GemmParams& params, WeightFormat format) {
  if (const CheckedWay* const found = Find(params, format)) {
    const Result<bool> given =
        library_->Multiply(Stream::kCompute, found->way, format.dtype(), params, workspace_.data());
    if (!given.ok() && given.status().code() != Code::kUnavailable) {
      Log(LogLevel::kError, "cuBLASLt failed; the kernels multiply all matrices from now on",
          {{"error", given.status().message()}});
      ways_.clear();
    }
    if (!given.ok()) return given.status();
    if (*given) return Status::Ok();
  }
  return runtime_->Launch(Stream::kCompute, LaunchOf(params, format));
}

}  // namespace prefixd::cuda
