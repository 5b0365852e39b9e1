// A backend and a runner that forward every call to another one, which must outlive them. A test derives from
// them and overrides what it changes. The threads are those of the target.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "kernels/backend.h"

namespace prefixd::kernel_testing {

class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(Backend& to) : to_(to) {}

  std::string_view name() const override { return to_.name(); }
  int threads() const override { return to_.threads(); }
  std::string_view numerics_version() const override { return to_.numerics_version(); }
  std::string_view kv_layout_name() const override { return to_.kv_layout_name(); }

  Result<std::unique_ptr<Buffer>> Allocate(size_t bytes) override { return to_.Allocate(bytes); }
  Result<std::unique_ptr<Matrix>> AllocateMatrix(int rows, int cols, WeightFormat format) override {
    return to_.AllocateMatrix(rows, cols, format);
  }
  bool HasKernels(WeightFormat format) const override { return to_.HasKernels(format); }
  WeightFormat WideFormat() const override { return to_.WideFormat(); }
  Status UploadRows(Matrix& to, int first_row, const MatrixSource& from) override {
    return to_.UploadRows(to, first_row, from);
  }
  Result<std::unique_ptr<Matrix>> Stack(std::vector<std::unique_ptr<Matrix>> parts) override {
    return to_.Stack(std::move(parts));
  }
  int upload_threads() const override { return to_.upload_threads(); }
  Result<std::unique_ptr<Matrix>> MakeDummy(const DummyMatrix& dummy) override {
    return to_.MakeDummy(dummy);
  }
  size_t PackedBytes(int rows, int cols, WeightFormat format) const override {
    return to_.PackedBytes(rows, cols, format);
  }
  Result<std::unique_ptr<KvPool>> AllocateKv(const KvLayout& layout, uint32_t blocks) override {
    return to_.AllocateKv(layout, blocks);
  }
  Result<std::unique_ptr<KvPool>> AllocateHostKv(const KvLayout& layout, uint32_t blocks,
                                                 const MemoryProgress& progress) override {
    return to_.AllocateHostKv(layout, blocks, progress);
  }
  Result<std::unique_ptr<KvCopier>> CreateKvCopier(const KvLayout& layout) override {
    return to_.CreateKvCopier(layout);
  }
  void Upload(Buffer& to, size_t offset, std::span<const std::byte> from) override {
    to_.Upload(to, offset, from);
  }
  void CopyBlock(KvPool& pool, BlockId from, BlockId to) override { to_.CopyBlock(pool, from, to); }
  Result<std::optional<DeviceInfo>> Device() override { return to_.Device(); }
  bool lost() const override { return to_.lost(); }
  StepMemory StepMemoryFor(const ModelShape& shape, const StepLimits& limits) const override {
    return to_.StepMemoryFor(shape, limits);
  }
  Result<std::unique_ptr<ModelRunner>> CreateRunner(ModelPlan plan, const StepLimits& limits) override {
    return to_.CreateRunner(std::move(plan), limits);
  }

 private:
  Backend& to_;
};

class ForwardingRunner : public ModelRunner {
 public:
  explicit ForwardingRunner(ModelRunner& to) : to_(to) {}

  const ModelShape& shape() const override { return to_.shape(); }
  const StepLimits& limits() const override { return to_.limits(); }
  StepMemory memory() const override { return to_.memory(); }
  int most_steps() const override { return to_.most_steps(); }
  void Launch(const StepInput& input, std::function<void()> on_done) override {
    to_.Launch(input, std::move(on_done));
  }
  bool Done() const override { return to_.Done(); }
  Status Collect() override { return to_.Collect(); }
  AttentionReads attention_reads() const override { return to_.attention_reads(); }
  uint64_t progress() const override { return to_.progress(); }
  double draw_cpu_seconds() const override { return to_.draw_cpu_seconds(); }

 private:
  ModelRunner& to_;
};

}  // namespace prefixd::kernel_testing
