// CudaRunner: runs the steps of a model on a CudaRuntime, as a list of launches. kernels/cuda/numerics.h has
// the arithmetic. A thread of the runner fills the page of the step, gives all its work to the compute stream
// and waits for an event after each layer, so that progress() moves; then it takes the results.
//
// Threads: as ModelRunner.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/draw_plan.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/products.h"
#include "kernels/cuda/step_page.h"
#include "kernels/host/step_thread.h"

namespace prefixd::cuda {

class CudaRunner final : public ModelRunner {
 public:
  // `library` multiplies matrices where products.h lets it; null: there is none.
  static StepMemory MemoryFor(const ModelShape& shape, const StepLimits& limits,
                              const ProductLibrary* library);
  static Result<std::unique_ptr<ModelRunner>> Create(CudaRuntime* runtime, ProductLibrary* library,
                                                     ModelPlan plan, const StepLimits& limits);

  const ModelShape& shape() const override { return plan_.shape; }
  const StepLimits& limits() const override { return limits_; }
  StepMemory memory() const override { return MemoryFor(plan_.shape, limits_, library_); }
  void Launch(const StepInput& input, std::function<void()> on_done) override;
  bool Done() const override { return thread_.Done(); }
  Status Collect() override { return thread_.Wait(); }
  uint64_t progress() const override { return progress_; }

 private:
  CudaRunner(CudaRuntime* runtime, ProductLibrary* library, ModelPlan plan, const StepLimits& limits);
  Status Allocate();
  Status CheckProducts();

  // The arrays of the step on the device.
  struct OnDevice {
    const int32_t* tokens = nullptr;
    const RowPlace* places = nullptr;
    BlockTables tables = {};
    const int32_t* gathered = nullptr;
    DrawParamsTable draws = {};
  };
  // One for each window of the model.
  struct Units {
    int window = 0;
    AttentionPlan plan;
    const AttentionUnit* units = nullptr;
    const FoldPlace* places = nullptr;
  };

  // All of them on the runner's thread.
  Status Compute(const StepInput& input);
  Status FillPage(const StepInput& input);
  Status ReserveResults(size_t logit_rows);
  void AddArrays(const StepInput& input);
  Status Enqueue(const StepInput& input);
  Status Attend(int layer, int rows, const KvPool& pool);
  Status FeedForward(const LayerWeights& layer, const void* attention, int rows, float* x);
  Status DrawRows(const StepInput& input);
  Status TakeResults(const StepInput& input);
  Status WaitForLayers();
  Status Launch(const KernelLaunch& launch) { return runtime_->Launch(Stream::kCompute, launch); }
  Status Norm(const float* x, const float* weight, int rows, void* out);
  Status Product(const Matrix& w, const void* x, int rows, const float* bias, bool accumulate, float* y);

  CudaRuntime* const runtime_;
  ProductLibrary* const library_;  // may be null
  const ModelPlan plan_;
  const StepLimits limits_;
  const DType dtype_;  // of the weights

  // Activations: f32, or of the type of the weights (normed, attention, activated) or of the KV (q).
  DeviceMemory x_, normed_, qkv_, q_, attention_, gate_up_, activated_;
  DeviceMemory last_x_, last_attention_, logits_;
  DeviceMemory partials_, changed_logits_, results_;
  PinnedMemory taken_;  // results on the host, as many bytes as results_
  StepPage page_;
  Products products_;
  OnDevice device_;
  std::vector<Units> units_;
  std::vector<size_t> units_of_layer_;  // [layers]: index into units_
  DrawPlan draws_;
  std::vector<Event> layers_;  // of the step, in order
  std::vector<int32_t> ids_, gathered_;
  std::vector<RowPlace> places_;
  std::atomic<uint64_t> progress_{0};
  StepThread thread_;  // destroyed first
};

}  // namespace prefixd::cuda
