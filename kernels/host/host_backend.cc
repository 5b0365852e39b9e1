#include "kernels/host/host_backend.h"

#include <utility>

#include "kernels/host/host_runner.h"
#include "kernels/host_memory.h"
#include "kernels/numerics.h"

namespace prefixd {
namespace {

class HostBackend final : public Backend {
 public:
  explicit HostBackend(std::unique_ptr<Operations> operations) : operations_(std::move(operations)) {}

  std::string_view name() const override { return operations_->name(); }
  int threads() const override { return operations_->threads(); }
  std::string_view numerics_version() const override { return numerics::VersionName(operations_->version()); }
  std::string_view kv_layout_name() const override { return kCpuKvLayoutName; }

  Result<std::unique_ptr<Buffer>> Allocate(size_t bytes) override { return AllocateHostBuffer(bytes); }
  Result<std::unique_ptr<Matrix>> AllocateMatrix(int rows, int cols, WeightFormat format) override {
    return operations_->AllocateMatrix(rows, cols, format);
  }
  WeightFormat WideFormat() const override {
    return operations_->version() == numerics::Version::kCpu1 ? WeightFormat::kF32 : WeightFormat::kBF16;
  }
  Status UploadRows(Matrix& to, int first_row, const MatrixSource& from) override {
    operations_->UploadRows(to, first_row, from);
    return Status::Ok();
  }
  Result<std::unique_ptr<Matrix>> Stack(std::vector<std::unique_ptr<Matrix>> parts) override {
    return operations_->Stack(std::move(parts));
  }
  int upload_threads() const override { return operations_->threads(); }
  Result<std::unique_ptr<Matrix>> MakeDummy(const DummyMatrix& dummy) override {
    return operations_->MakeDummy(dummy);
  }
  size_t PackedBytes(int rows, int cols, WeightFormat format) const override {
    return operations_->PackedBytes(rows, cols, format);
  }
  Result<std::unique_ptr<KvPool>> AllocateKv(const KvLayout& layout, uint32_t blocks) override {
    if (layout.type == KvType::kFp8)
      return Unsupported("the backend " + std::string(name()) + " has no kernels for fp8 KV");
    return prefixd::AllocateHostKv(layout, blocks, KvOrder::kGroups);
  }
  Result<std::unique_ptr<KvPool>> AllocateHostKv(const KvLayout& layout, uint32_t blocks,
                                                 const MemoryProgress&) override {
    return prefixd::AllocateHostKv(layout, blocks, KvOrder::kBlocks);
  }
  Result<std::unique_ptr<KvCopier>> CreateKvCopier(const KvLayout& layout) override {
    return CreateHostKvCopier(layout);
  }
  void Upload(Buffer& to, size_t offset, std::span<const std::byte> from) override {
    UploadToHost(to, offset, from);
  }
  void CopyBlock(KvPool& pool, BlockId from, BlockId to) override { CopyHostBlock(pool, from, to); }
  StepMemory StepMemoryFor(const ModelShape& shape, const StepLimits& limits) const override {
    return HostRunner::MemoryFor(*operations_, shape, limits);
  }
  Result<std::unique_ptr<ModelRunner>> CreateRunner(ModelPlan plan, const StepLimits& limits) override {
    return HostRunner::Create(operations_.get(), std::move(plan), limits);
  }

 private:
  const std::unique_ptr<Operations> operations_;
};

}  // namespace

std::unique_ptr<Backend> CreateHostBackend(std::unique_ptr<Operations> operations) {
  return std::make_unique<HostBackend>(std::move(operations));
}

}  // namespace prefixd
