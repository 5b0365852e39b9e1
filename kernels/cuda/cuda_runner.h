// CudaRunner: runs the steps of a model on a CudaRuntime, as a list of launches. kernels/cuda/numerics.h has
// the arithmetic. Launch fills the page of the step. A thread of the runner gives all work of the step to the
// compute stream and waits for an event after each layer, so that progress() moves; then it takes the
// results. A step in which every row decodes is one graph (step_graphs.h) and a draw, with an event at its
// end.
//
// Two steps may be in flight. Each has a page and results of its own; they share the activations, which the
// order of the stream allows. The second one reads the tokens that the first one draws in its results on the
// device, so the host need not know them.
//
// Threads: as ModelRunner.
//
// Invariants
//   1. A step writes its page and its results, and reads the results of the step before. So the memory of a
//      step is filled again only after it was collected, and its results are freed only after the step
//      launched next was collected as well.
//   2. A step that takes tokens from a step of which not all work was given to the stream is not given to it.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/draw_plan.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/products.h"
#include "kernels/cuda/step_graphs.h"
#include "kernels/cuda/step_page.h"
#include "kernels/cuda/step_pipeline.h"

namespace prefixd::cuda {

class CudaRunner final : public ModelRunner {
 public:
  // `library` multiplies matrices where products.h lets it; null: there is none.
  static StepMemory MemoryFor(const ModelShape& shape, const StepLimits& limits,
                              const ProductLibrary* library);
  // `product_choices`: as CreateCudaBackend.
  static Result<std::unique_ptr<ModelRunner>> Create(CudaRuntime* runtime, ProductLibrary* library,
                                                     const std::string& product_choices, ModelPlan plan,
                                                     const StepLimits& limits);

  const ModelShape& shape() const override { return plan_.shape; }
  const StepLimits& limits() const override { return limits_; }
  StepMemory memory() const override { return MemoryFor(plan_.shape, limits_, library_); }
  int most_steps() const override { return static_cast<int>(StepPipeline::kMost); }
  void Launch(const StepInput& input, std::function<void()> on_done) override;
  bool Done() const override { return pipeline_.Done(); }
  Status Collect() override;
  AttentionReads attention_reads() const override { return reads_; }
  uint64_t progress() const override { return progress_; }

 private:
  CudaRunner(CudaRuntime* runtime, ProductLibrary* library, ModelPlan plan, const StepLimits& limits);
  Status Allocate();
  Status CheckProducts(const std::string& product_choices);

  // The arrays of the step on the device. Where those up to `tables` begin depends on the rows of its
  // launches alone.
  struct OnDevice {
    const AttentionList* lists = nullptr;  // for each window, of single units and of teams
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
    const AttentionMember* members = nullptr;
    const FoldPlace* places = nullptr;
  };

  // One of the steps in flight.
  struct Step {
    explicit Step(CudaRuntime* runtime) : page(runtime), graphs(runtime) {}
    size_t ResultBytes() const {
      return rows.size() * sizeof(DrawResult) +
             static_cast<size_t>(draws.top) * (sizeof(int32_t) + sizeof(float));
    }

    StepPage page;
    DeviceMemory results;
    PinnedMemory taken;   // results on the host, as many bytes
    PinnedMemory logits;  // the same of the logits, where they are wanted
    // Of the step that was launched last.
    std::span<LogitRow> rows;
    float* logits_to = nullptr;
    const KvPool* pool = nullptr;
    // Of the launches: those of the batch, or of a graph, which may have more.
    int launch_rows = 0, kept_rows = 0;  // kept: for logits
    bool is_graph = false;
    bool takes_tokens = false;           // from the step before,
    const DrawResult* drawn = nullptr;   // whose results these are
    Status prepared;                     // whether it has all its memory
    std::vector<DeviceMemory> outgrown;  // what it may still read; freed when it is collected
    OnDevice device;
    std::vector<Units> units;
    AttentionReads reads;
    DrawPlan draws;
    std::vector<Event> layers;  // in order
    size_t waited = 0;          // of them
    StepGraphs graphs;
  };

  // On the owner's thread.
  void CheckStep(const StepInput& input) const;
  Status Prepare(const StepInput& input, Step* step);
  Status FillPage(const StepInput& input, Step* step);
  void CountReads(const KvLayout& layout, Step* step) const;
  Status ReserveResults(Step* step);
  void AddArrays(const StepInput& input, Step* step);
  // On the runner's thread.
  Status Begin(Step* step);
  Result<bool> WaitForLayer(Step* step);
  Status Enqueue(Step* step);
  Status EnqueueLayers(Step* step);
  Status RecordLayer(Step* step);
  StepGraphs::Key GraphKey(const Step& step) const;
  static bool HasTeams(const Step& step);
  Status Attend(const Step& step, int layer);
  Status FeedForward(const LayerWeights& layer, const void* attention, int rows, float* x, Step* step);
  std::array<AttentionParams, 2> AttentionParts(const Step& step, size_t window,
                                                const AttentionParams& params) const;
  Status KeptRows(Step* step);
  Status DrawRows(Step* step);
  Status TakeResults(Step* step);
  Status Launch(const KernelLaunch& launch) { return runtime_->Launch(Stream::kCompute, launch); }
  Status Norm(const float* x, const float* weight, int rows, WeightFormat format);
  // With x and y where a launch has them.
  static GemmParams ProductOf(const Matrix& w, const void* x, int rows, const float* bias);
  // y = y + w x + bias; x is what a launch made for the format of w.
  Status AddProduct(const Matrix& w, const void* x, int rows, const float* bias, float* y);
  // y = w RmsNorm(x) + bias. w may be a stack.
  Status MultiplyNormed(const Matrix& w, const float* x, const float* weight, int rows, const float* bias,
                        float* y);
  // The norm of the rows x: what the fused launch of the product makes of it, or empty after a launch of its
  // own into normed_.
  Result<FewNorm> NormFor(const GemmParams& product, DType type, const float* x, const float* weight);
  Status MakeQkv(const LayerWeights& layer, const QkvParams& append, KvType kv);
  Status MakeActivated(const LayerWeights& layer, const float* x, int rows);

  CudaRuntime* const runtime_;
  ProductLibrary* const library_;  // may be null
  const ModelPlan plan_;
  const StepLimits limits_;

  // Activations: f32, or of the type of the weights (normed, attention, activated) or of the KV (q).
  DeviceMemory x_, normed_, qkv_, q_, attention_, gate_up_, activated_;
  DeviceMemory last_x_, last_attention_, logits_;
  DeviceMemory partials_, changed_logits_;
  Products products_;
  std::vector<size_t> units_of_layer_;  // [layers]: index into Step::units
  std::array<Step, StepPipeline::kMost> steps_;
  std::deque<Step*> in_flight_;  // the oldest first
  std::vector<int32_t> ids_, gathered_, tokens_;
  std::vector<AttentionList> lists_;
  std::vector<RowPlace> places_;
  AttentionReads reads_;  // of the step that was collected last
  Status begun_;          // of the step that has begun last; of the runner's thread
  std::atomic<uint64_t> progress_{0};
  StepPipeline pipeline_;  // destroyed first
};

}  // namespace prefixd::cuda
