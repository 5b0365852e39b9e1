// A backend that forwards every call to another backend, which must outlive it. A test derives from it and
// overrides what it changes. One thread.
#pragma once

#include <memory>

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
  Result<std::unique_ptr<Matrix>> Pack(std::span<const MatrixSource> sources) override {
    return to_.Pack(sources);
  }
  Result<std::unique_ptr<KvPool>> AllocateKv(const KvLayout& layout, uint32_t blocks) override {
    return to_.AllocateKv(layout, blocks);
  }
  void Upload(Buffer& to, size_t offset, std::span<const std::byte> from) override {
    to_.Upload(to, offset, from);
  }

  void BeginStep(const BatchView& batch) override { to_.BeginStep(batch); }
  void Embed(const Matrix& table, float* out) override { to_.Embed(table, out); }
  void RmsNorm(const float* x, const float* weight, float eps, int rows, int dim, float* out) override {
    to_.RmsNorm(x, weight, eps, rows, dim, out);
  }
  void Gemm(const Matrix& w, const float* x, int rows, float* y, GemmOutput output) override {
    to_.Gemm(w, x, rows, y, output);
  }
  void AddBias(const float* bias, int rows, int width, float* x) override {
    to_.AddBias(bias, rows, width, x);
  }
  void HeadRmsNorm(float* x, int stride, int heads, int head_dim, const float* weight, float eps) override {
    to_.HeadRmsNorm(x, stride, heads, head_dim, weight, eps);
  }
  void Rope(float* x, int stride, int heads, int head_dim, const float* table) override {
    to_.Rope(x, stride, heads, head_dim, table);
  }
  void StoreKv(const float* k, const float* v, int stride, int layer, KvPool& pool) override {
    to_.StoreKv(k, v, stride, layer, pool);
  }
  void Attention(const float* q, int stride, const AttentionParams& params, int layer, const KvPool& pool,
                 float* out) override {
    to_.Attention(q, stride, params, layer, pool, out);
  }
  void GatedActivation(Activation activation, const float* x, int rows, int width, float* out) override {
    to_.GatedActivation(activation, x, rows, width, out);
  }
  void GatherRows(const float* x, std::span<const int> indices, int dim, float* out) override {
    to_.GatherRows(x, indices, dim, out);
  }
  void CopyBlock(KvPool& pool, BlockId from, BlockId to) override { to_.CopyBlock(pool, from, to); }
  Status Synchronize() override { return to_.Synchronize(); }
  Result<const void*> ToHost(const void* from, size_t bytes) override { return to_.ToHost(from, bytes); }
  void Sample(std::span<SampleRow> rows, int vocab) override { to_.Sample(rows, vocab); }

 private:
  Backend& to_;
};

}  // namespace prefixd::kernel_testing
