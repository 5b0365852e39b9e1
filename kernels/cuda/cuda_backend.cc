#include "kernels/cuda/cuda_backend.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/log.h"
#include "base/usable_cpus.h"
#include "kernels/check_arguments.h"
#include "kernels/cuda/cuda_kv_copier.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/cuda_runner.h"
#include "kernels/cuda/cuda_staging.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/numerics.h"
#include "kernels/cuda/pinned_kv_pool.h"
#include "kernels/cuda/product_library.h"
#include "kernels/cuda/quant_order.h"
#include "kernels/quantize.h"
#include "kernels/stacked_matrix.h"

namespace prefixd::cuda {

Result<DeviceMemory> DeviceMemory::Allocate(CudaRuntime* runtime, size_t bytes) {
  DeviceMemory memory;
  PREFIXD_ASSIGN_OR_RETURN(memory.data_, runtime->Allocate(std::max<size_t>(bytes, 1)));
  memory.runtime_ = runtime;
  memory.bytes_ = bytes;
  return memory;
}

Result<PinnedMemory> PinnedMemory::Allocate(CudaRuntime* runtime, size_t bytes) {
  PinnedMemory memory;
  PREFIXD_ASSIGN_OR_RETURN(memory.data_, runtime->AllocatePinned(std::max<size_t>(bytes, 1)));
  memory.runtime_ = runtime;
  memory.bytes_ = bytes;
  return memory;
}

namespace {

class CudaBuffer final : public Buffer {
 public:
  explicit CudaBuffer(DeviceMemory memory)
      : Buffer(memory.data(), memory.bytes()), memory_(std::move(memory)) {}

 private:
  const DeviceMemory memory_;
};

Status Finish(CudaRuntime* runtime, Stream stream) {
  PREFIXD_ASSIGN_OR_RETURN(const Event event, runtime->Record(stream));
  return runtime->Synchronize(event);
}

class CudaBackend final : public Backend {
 public:
  CudaBackend(CudaRuntime* runtime, std::unique_ptr<CudaRuntime> owned, bool deterministic,
              std::string product_choices)
      : owned_(std::move(owned)), runtime_(runtime), product_choices_(std::move(product_choices)) {
    numerics_ = std::string(kNumericsVersion) + "-sm" + std::to_string(runtime->facts().compute_capability);
    if (deterministic) return;
    const Result<ProductLibrary*> library = runtime->LoadProducts();
    if (library.ok()) library_ = *library;
    why_no_library_ = library.status().message();
    if (library_ != nullptr) numerics_ += "-blaslt";
  }

  std::string_view name() const override { return "cuda"; }
  int threads() const override { return 1; }
  std::string_view numerics_version() const override { return numerics_; }
  std::string_view kv_layout_name() const override { return "gpu 1"; }
  Result<std::optional<DeviceInfo>> Device() override {
    PREFIXD_ASSIGN_OR_RETURN(const size_t free, runtime_->FreeBytes());
    const DeviceFacts& facts = runtime_->facts();
    const std::string library = library_ != nullptr ? ", " + library_->name() : "";
    return std::optional<DeviceInfo>(
        {.name = facts.name, .versions = facts.versions + library, .free_bytes = free, .bytes = facts.bytes});
  }
  bool lost() const override { return runtime_->lost(); }

  // Upload cannot report that it has no memory, so what it needs is there with the first buffer.
  Result<std::unique_ptr<Buffer>> Allocate(size_t bytes) override {
    PREFIXD_RETURN_IF_ERROR(ReserveStaging());
    PREFIXD_ASSIGN_OR_RETURN(DeviceMemory memory, AllocateZeroed(bytes));
    return std::unique_ptr<Buffer>(std::make_unique<CudaBuffer>(std::move(memory)));
  }

  Result<std::unique_ptr<Matrix>> AllocateMatrix(int rows, int cols, WeightFormat format) override {
    CheckMatrixShape(rows, cols, format);
    if (!HasKernels(format)) {
      return Unsupported("the backend cuda has no kernels for " + std::string(format.name()) +
                         " weights; use a backend of the CPU (--backend)");
    }
    PREFIXD_RETURN_IF_ERROR(ReserveStaging());
    PREFIXD_ASSIGN_OR_RETURN(DeviceMemory memory,
                             DeviceMemory::Allocate(runtime_, PackedBytes(rows, cols, format)));
    return std::unique_ptr<Matrix>(std::make_unique<CudaMatrix>(std::move(memory), rows, cols, format));
  }
  bool HasKernels(WeightFormat format) const override {
    return !format.quantized() || format == WeightFormat::kQ8_0 || format == WeightFormat::kQ4_0;
  }
  Status UploadRows(Matrix& to, int first_row, const MatrixSource& from) override {
    CheckUploadRows(to, first_row, from);
    auto& matrix = static_cast<CudaMatrix&>(to);
    PREFIXD_CHECK(from.format == matrix.format()) << from.format.name();
    const auto* const rows = static_cast<const std::byte*>(from.data);
    const size_t bytes = PackedBytes(from.rows, from.cols, from.format);
    if (!from.format.quantized()) return staging_->CopyIn(matrix.row(first_row), {rows, bytes});
    std::vector<std::byte> packed(bytes);
    PackQuantizedRows(from.format, from.cols, rows, from.rows, packed.data());
    return staging_->CopyIn(matrix.row(first_row), packed);
  }
  Result<std::unique_ptr<Matrix>> Stack(std::vector<std::unique_ptr<Matrix>> parts) override {
    return std::unique_ptr<Matrix>(std::make_unique<StackedMatrix>(std::move(parts)));
  }
  int upload_threads() const override {
    return std::min(CountUsableCpus().count, static_cast<int>(kStagingPieces));
  }

  Result<std::unique_ptr<Matrix>> MakeDummy(const DummyMatrix& dummy) override {
    CheckDummy(dummy);
    if (dummy.format.quantized()) return MakeQuantizedDummy(dummy);
    PREFIXD_ASSIGN_OR_RETURN(
        DeviceMemory memory,
        DeviceMemory::Allocate(runtime_, PackedBytes(dummy.rows, dummy.cols, dummy.format)));
    const DummyParams params{memory.data(), dummy.seed, dummy.largest, dummy.rows, dummy.cols};
    PREFIXD_RETURN_IF_ERROR(runtime_->Launch(Stream::kCompute, LaunchOf(params, dummy.format.dtype())));
    PREFIXD_RETURN_IF_ERROR(Finish(runtime_, Stream::kCompute));
    return std::unique_ptr<Matrix>(
        std::make_unique<CudaMatrix>(std::move(memory), dummy.rows, dummy.cols, dummy.format));
  }

  size_t PackedBytes(int rows, int cols, WeightFormat format) const override {
    return static_cast<size_t>(rows) * DeviceRowBytes(format, cols);
  }

  // Zeroed: V of tokens that do not exist is multiplied by 0, and must be finite for that.
  Result<std::unique_ptr<KvPool>> AllocateKv(const KvLayout& layout, uint32_t blocks) override {
    CheckLayout(layout);
    PREFIXD_ASSIGN_OR_RETURN(DeviceMemory memory, AllocateZeroed(layout.BlockBytes() * blocks));
    return std::unique_ptr<KvPool>(std::make_unique<CudaKvPool>(runtime_, layout, blocks, std::move(memory)));
  }

  Result<std::unique_ptr<KvPool>> AllocateHostKv(const KvLayout& layout, uint32_t blocks,
                                                 const MemoryProgress& progress) override {
    return PinnedKvPool::Create(runtime_, &host_pools_, layout, blocks, progress);
  }
  Result<std::unique_ptr<KvCopier>> CreateKvCopier(const KvLayout& layout) override {
    return CudaKvCopier::Create(runtime_, layout.BlockBytes(), &host_pools_);
  }

  // A lost device is found by the next step.
  void Upload(Buffer& to, size_t offset, std::span<const std::byte> from) override {
    PREFIXD_CHECK(offset + from.size() <= to.bytes()) << offset << " + " << from.size();
    (void)staging_->CopyIn(static_cast<std::byte*>(to.data()) + offset, from);
  }
  void CopyBlock(KvPool& pool, BlockId from, BlockId to) override {
    CheckCopy(pool, from, to);
    if (!runtime_
             ->CopyOnDevice(Stream::kCompute, pool.block(to), pool.block(from), pool.layout().BlockBytes())
             .ok())
      return;
    const Result<Event> copied = runtime_->Record(Stream::kCompute);
    if (copied.ok()) static_cast<CudaKvPool&>(pool).set_last_copy(*copied);
  }

  StepMemory StepMemoryFor(const ModelShape& shape, const StepLimits& limits) const override {
    return CudaRunner::MemoryFor(shape, limits, library_);
  }
  Result<std::unique_ptr<ModelRunner>> CreateRunner(ModelPlan plan, const StepLimits& limits) override {
    if (!why_no_library_.empty())
      Log(LogLevel::kWarning, "the kernels multiply all matrices, which takes longer than with cuBLASLt",
          {{"reason", why_no_library_}});
    return CudaRunner::Create(runtime_, library_, product_choices_, std::move(plan), limits);
  }

 private:
  // The host quantises them, as it quantises weights of files.
  Result<std::unique_ptr<Matrix>> MakeQuantizedDummy(const DummyMatrix& dummy) {
    PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Matrix> matrix,
                             AllocateMatrix(dummy.rows, dummy.cols, dummy.format));
    constexpr int kRows = 64;  // at a time
    for (int row = 0; row < dummy.rows; row += kRows) {
      const int rows = std::min(kRows, dummy.rows - row);
      const std::vector<std::byte> made = DummyRows(dummy, row, rows);
      PREFIXD_RETURN_IF_ERROR(UploadRows(*matrix, row, {made.data(), dummy.format, rows, dummy.cols}));
    }
    return matrix;
  }

  Result<DeviceMemory> AllocateZeroed(size_t bytes) {
    PREFIXD_ASSIGN_OR_RETURN(DeviceMemory memory, DeviceMemory::Allocate(runtime_, bytes));
    PREFIXD_RETURN_IF_ERROR(runtime_->Zero(Stream::kCompute, memory.data(), std::max<size_t>(bytes, 1)));
    PREFIXD_RETURN_IF_ERROR(Finish(runtime_, Stream::kCompute));
    return memory;
  }

  Status ReserveStaging() {
    if (staging_ != nullptr) return Status::Ok();
    PREFIXD_ASSIGN_OR_RETURN(staging_, CudaStaging::Create(runtime_));
    return Status::Ok();
  }

  const std::unique_ptr<CudaRuntime> owned_;  // may be null; destroyed last
  CudaRuntime* const runtime_;
  const std::string product_choices_;
  std::string numerics_;
  ProductLibrary* library_ = nullptr;
  std::string why_no_library_;            // empty where none is wanted
  std::unique_ptr<CudaStaging> staging_;  // what uploads go through; null before the first allocation
  PinnedRanges host_pools_;
};

}  // namespace

std::unique_ptr<Backend> CreateCudaBackend(CudaRuntime* runtime, bool deterministic,
                                           std::string product_choices) {
  return std::make_unique<CudaBackend>(runtime, nullptr, deterministic, std::move(product_choices));
}

std::unique_ptr<Backend> CreateCudaBackend(std::unique_ptr<CudaRuntime> runtime, bool deterministic,
                                           std::string product_choices) {
  CudaRuntime* const used = runtime.get();
  return std::make_unique<CudaBackend>(used, std::move(runtime), deterministic, std::move(product_choices));
}

}  // namespace prefixd::cuda
