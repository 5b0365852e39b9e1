// HostRunner runs the steps of a model as a list of Operations, on a thread of its own. It owns the weights
// and the activations of one step. Threads: as kernels/backend.h says; while a step is in flight, only the
// thread of the runner uses the operations.
//
// Invariant: all memory is allocated at creation. A step allocates nothing, except for lists of a few
// numbers per row, and for the log probabilities that LogitRow reports.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/host/step_thread.h"
#include "kernels/operations.h"

namespace prefixd {

class HostRunner final : public ModelRunner {
 public:
  // As Backend::StepMemoryFor and CreateRunner. `operations` must outlive the runner.
  static StepMemory MemoryFor(const Operations& operations, const ModelShape& shape,
                              const StepLimits& limits);
  static Result<std::unique_ptr<ModelRunner>> Create(Operations* operations, ModelPlan plan,
                                                     const StepLimits& limits);

  const ModelShape& shape() const override { return plan_.shape; }
  const StepLimits& limits() const override { return limits_; }
  StepMemory memory() const override { return MemoryFor(ops_, plan_.shape, limits_); }
  void Launch(const StepInput& input, std::function<void()> on_done) override;
  bool Done() const override { return thread_.Done(); }
  Status Collect() override;
  AttentionReads attention_reads() const override { return reads_; }
  uint64_t progress() const override { return progress_.load(std::memory_order_relaxed); }
  double draw_cpu_seconds() const override { return draw_cpu_seconds_.load(std::memory_order_relaxed); }

 private:
  HostRunner(Operations* operations, ModelPlan plan, const StepLimits& limits)
      : ops_(*operations), plan_(std::move(plan)), limits_(limits) {}
  Status AllocateActivations();
  void CheckStep(const StepInput& input) const;
  Status Compute(const StepInput& input);
  Status Draw(std::span<LogitRow> rows);
  void Attend(int layer, int rows, KvPool& pool);
  void FeedForward(const LayerWeights& layer, const float* attention, int rows, float* x);
  void Advance() { progress_.fetch_add(1, std::memory_order_relaxed); }

  Operations& ops_;
  const ModelPlan plan_;
  const StepLimits limits_;
  std::vector<std::unique_ptr<Buffer>> buffers_;  // own the memory behind the pointers below
  std::vector<int> gathered_;                     // the rows of the batch that have logits

  // [max_rows][..]
  float* x_ = nullptr;          // the residual stream, [hidden]
  float* normed_ = nullptr;     // [hidden]
  float* qkv_ = nullptr;        // [q | k | v]
  float* attention_ = nullptr;  // [heads * head_dim]
  float* gate_up_ = nullptr;    // [2 * intermediate]
  float* activated_ = nullptr;  // [intermediate]
  // [max_logit_rows][..]
  float* last_x_ = nullptr;          // [hidden]
  float* last_attention_ = nullptr;  // [heads * head_dim]
  float* logits_ = nullptr;          // [vocab]

  AttentionReads reads_;  // of the step that was collected last
  std::atomic<uint64_t> progress_{0};
  std::atomic<double> draw_cpu_seconds_{0};  // written by the thread of the runner
  StepThread thread_;                        // destroyed first: its work uses all of the above
};

}  // namespace prefixd
