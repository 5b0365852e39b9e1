#include "kernels/cuda/cuda_runner.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "base/check.h"

namespace prefixd::cuda {
namespace {

constexpr size_t kAnyElement = 4;  // bytes of the largest type: that of the KV is known with the first step
// Block tables of the page from the start are for blocks of so many tokens; smaller ones make it grow once.
constexpr size_t kUsualBlockTokens = 16;
constexpr size_t kAlignment = 256;
constexpr size_t kArraysOfPage = 16;

size_t Size(int n) { return static_cast<size_t>(n); }

// The bytes of the activations, in the order of CudaRunner's members.
std::array<size_t, 10> ActivationBytes(const ModelShape& s, const StepLimits& limits) {
  const size_t rows = Size(limits.max_rows), logit_rows = Size(limits.max_logit_rows), f = sizeof(float);
  const size_t hidden = Size(s.hidden), query = Size(s.QueryWidth()), wide = Size(s.intermediate);
  return {rows * hidden * f,
          std::max(rows, logit_rows) * hidden * kAnyElement,
          rows * Size(s.QkvWidth()) * f,
          rows * query * kAnyElement,
          rows * query * kAnyElement,
          rows * 2 * wide * f,
          rows * wide * kAnyElement,
          logit_rows * hidden * f,
          logit_rows * query * kAnyElement,
          logit_rows * Size(s.vocab) * f};
}

std::vector<int> DistinctWindows(const ModelShape& shape) {
  std::vector<int> windows = shape.windows;
  std::sort(windows.begin(), windows.end());
  windows.erase(std::unique(windows.begin(), windows.end()), windows.end());
  return windows;
}

// A bound on the page of an ordinary step: draws without bias, penalties and bans.
size_t PageBytes(const ModelShape& shape, const StepLimits& limits) {
  const size_t rows = Size(limits.max_rows),
               tables = (Size(limits.context) + kUsualBlockTokens - 1) / kUsualBlockTokens;
  const size_t windows = DistinctWindows(shape).size();
  return rows * (sizeof(int32_t) + sizeof(RowPlace)) + rows * tables * sizeof(int32_t) +
         windows * (BoundAttention(shape, limits).units * sizeof(AttentionUnit) +
                    rows * Size(shape.heads) * sizeof(FoldPlace)) +
         Size(limits.max_logit_rows) * (sizeof(int32_t) + sizeof(DrawSpec)) + kArraysOfPage * kAlignment;
}

size_t PartialBytes(const ModelShape& shape, const StepLimits& limits) {
  return BoundAttention(shape, limits).partials * (2 + Size(shape.head_dim)) * sizeof(float);
}

}  // namespace

Status StepPage::Reserve(size_t bytes) {
  if (bytes <= host_.bytes()) return Status::Ok();
  PREFIXD_ASSIGN_OR_RETURN(PinnedMemory host, PinnedMemory::Allocate(runtime_, bytes));
  PREFIXD_ASSIGN_OR_RETURN(DeviceMemory device, DeviceMemory::Allocate(runtime_, bytes));
  host_ = std::move(host);
  device_ = std::move(device);
  return Status::Ok();
}

StepMemory CudaRunner::MemoryFor(const ModelShape& shape, const StepLimits& limits,
                                 const ProductLibrary* library) {
  StepMemory memory;
  for (const size_t bytes : ActivationBytes(shape, limits)) memory.activations += bytes;
  memory.scratch = PartialBytes(shape, limits) + PageBytes(shape, limits) +
                   Size(limits.max_logit_rows) * (Size(shape.vocab) * sizeof(float) + sizeof(DrawResult)) +
                   (library != nullptr ? kProductWorkspaceBytes : 0);
  memory.pinned = PageBytes(shape, limits) + Size(limits.max_logit_rows) * sizeof(DrawResult) + kStagingBytes;
  return memory;
}

Result<std::unique_ptr<ModelRunner>> CudaRunner::Create(CudaRuntime* runtime, ProductLibrary* library,
                                                        ModelPlan plan, const StepLimits& limits) {
  PREFIXD_CHECK(limits.context > 0 && limits.max_rows > 0 && limits.max_logit_rows > 0)
      << limits.context << ", " << limits.max_rows << ", " << limits.max_logit_rows;
  PREFIXD_CHECK(limits.context <= plan.weights.positions) << limits.context;
  std::unique_ptr<CudaRunner> runner(new CudaRunner(runtime, library, std::move(plan), limits));
  PREFIXD_RETURN_IF_ERROR(runner->Allocate());
  if (library != nullptr) PREFIXD_RETURN_IF_ERROR(runner->CheckProducts());
  return std::unique_ptr<ModelRunner>(std::move(runner));
}

CudaRunner::CudaRunner(CudaRuntime* runtime, ProductLibrary* library, ModelPlan plan,
                       const StepLimits& limits)
    : runtime_(runtime),
      library_(library),
      plan_(std::move(plan)),
      limits_(limits),
      dtype_(static_cast<const CudaMatrix&>(*plan_.weights.embedding).dtype()),
      page_(runtime),
      products_(runtime) {
  const std::vector<int> windows = DistinctWindows(plan_.shape);
  for (const int window : windows) units_.push_back({.window = window});
  for (const int window : plan_.shape.windows) {
    units_of_layer_.push_back(
        static_cast<size_t>(std::lower_bound(windows.begin(), windows.end(), window) - windows.begin()));
  }
}

Status CudaRunner::Allocate() {
  DeviceMemory* const pieces[] = {
      &x_, &normed_, &qkv_, &q_, &attention_, &gate_up_, &activated_, &last_x_, &last_attention_, &logits_};
  const auto bytes = ActivationBytes(plan_.shape, limits_);
  static_assert(std::size(pieces) == std::tuple_size_v<decltype(bytes)>);
  for (size_t i = 0; i < bytes.size(); ++i) {
    PREFIXD_ASSIGN_OR_RETURN(*pieces[i], DeviceMemory::Allocate(runtime_, bytes[i]));
  }
  const size_t rows = Size(limits_.max_logit_rows), vocab = Size(plan_.shape.vocab);
  PREFIXD_ASSIGN_OR_RETURN(partials_, DeviceMemory::Allocate(runtime_, PartialBytes(plan_.shape, limits_)));
  PREFIXD_ASSIGN_OR_RETURN(changed_logits_, DeviceMemory::Allocate(runtime_, rows * vocab * sizeof(float)));
  PREFIXD_ASSIGN_OR_RETURN(results_, DeviceMemory::Allocate(runtime_, rows * sizeof(DrawResult)));
  PREFIXD_ASSIGN_OR_RETURN(taken_, PinnedMemory::Allocate(runtime_, rows * sizeof(DrawResult)));
  return page_.Reserve(PageBytes(plan_.shape, limits_));
}

// All layers have the shapes of the first one.
Status CudaRunner::CheckProducts() {
  const LayerWeights& layer = plan_.weights.layers.front();
  const Matrix& head = plan_.weights.head ? *plan_.weights.head : *plan_.weights.embedding;
  const auto use = [](const Matrix& w, int most_rows, const float* bias, bool accumulate) {
    return Products::Use{.w = static_cast<const CudaMatrix*>(&w),
                         .most_rows = most_rows,
                         .has_bias = bias != nullptr,
                         .accumulate = accumulate};
  };
  const Products::Use uses[] = {use(*layer.qkv, limits_.max_rows, layer.qkv_bias, false),
                                use(*layer.out, limits_.max_rows, layer.out_bias, true),
                                use(*layer.gate_up, limits_.max_rows, layer.gate_up_bias, false),
                                use(*layer.down, limits_.max_rows, layer.down_bias, true),
                                use(head, limits_.max_logit_rows, nullptr, false)};
  return products_.Check(library_, uses);
}

void CudaRunner::Launch(const StepInput& input, std::function<void()> on_done) {
  const BatchView& batch = input.batch;
  PREFIXD_CHECK(batch.rows() >= 1 && batch.rows() <= limits_.max_rows) << batch.rows() << " rows";
  PREFIXD_CHECK(static_cast<int>(input.logit_rows.size()) <= std::min(batch.rows(), limits_.max_logit_rows))
      << input.logit_rows.size() << " logit rows of " << batch.rows();
  for (const LogitRow& row : input.logit_rows)
    PREFIXD_CHECK(row.row >= 0 && row.row < batch.rows()) << row.row;
  for (const SequenceSpan& sequence : batch.sequences) {
    PREFIXD_CHECK(sequence.position + sequence.rows <= limits_.context)
        << sequence.position << " + " << sequence.rows;
  }
  PREFIXD_CHECK(input.pool != nullptr);
  const KvLayout& layout = input.pool->layout();
  PREFIXD_CHECK(layout == plan_.shape.Kv(layout.block_tokens, layout.dtype)) << "a pool of another model";
  thread_.Start([this, input] { return Compute(input); }, std::move(on_done));
}

Status CudaRunner::Compute(const StepInput& input) {
  layers_.clear();
  // All memory of the step comes first. After it a lost device fails, which leaves the memory alone, or the
  // library of products, after which the work before it still runs.
  PREFIXD_RETURN_IF_ERROR(FillPage(input));
  PREFIXD_RETURN_IF_ERROR(ReserveResults(input.logit_rows.size()));
  PREFIXD_RETURN_IF_ERROR(page_.Send(Stream::kCompute));
  if (Status enqueued = Enqueue(input); !enqueued.ok()) {
    if (enqueued.code() == Code::kUnavailable) return enqueued;
    PREFIXD_ASSIGN_OR_RETURN(const Event event, runtime_->Record(Stream::kCompute));
    PREFIXD_RETURN_IF_ERROR(runtime_->Synchronize(event));
    return enqueued;
  }
  PREFIXD_RETURN_IF_ERROR(WaitForLayers());
  return TakeResults(input);
}

// --- The page ---

Status CudaRunner::FillPage(const StepInput& input) {
  for (Units& units : units_) PlanAttention(input.batch, plan_.shape, units.window, &units.plan);
  PREFIXD_RETURN_IF_ERROR(PlanDraws(input.logit_rows, plan_.shape.vocab, &draws_));
  AddArrays(input);
  if (!page_.full()) return Status::Ok();
  PREFIXD_RETURN_IF_ERROR(page_.Reserve(page_.used()));
  AddArrays(input);
  PREFIXD_CHECK(!page_.full());
  return Status::Ok();
}

// The log probabilities that rows report follow the results. They are not part of StepMemory.
Status CudaRunner::ReserveResults(size_t logit_rows) {
  const size_t bytes = logit_rows * sizeof(DrawResult) + Size(draws_.top) * (sizeof(int32_t) + sizeof(float));
  if (bytes <= results_.bytes()) return Status::Ok();
  PREFIXD_ASSIGN_OR_RETURN(DeviceMemory results, DeviceMemory::Allocate(runtime_, bytes));
  PREFIXD_ASSIGN_OR_RETURN(taken_, PinnedMemory::Allocate(runtime_, bytes));
  results_ = std::move(results);
  return Status::Ok();
}

void CudaRunner::AddArrays(const StepInput& input) {
  const BatchView& batch = input.batch;
  page_.Begin();
  device_ = {};
  device_.tokens = page_.Add(std::span(batch.tokens));
  places_.clear();
  size_t longest = 0;
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const SequenceSpan& sequence = batch.sequences[s];
    for (int i = 0; i < sequence.rows; ++i)
      places_.push_back({sequence.position + i, static_cast<int32_t>(s)});
    longest = std::max(longest, sequence.blocks.size());
  }
  device_.places = page_.Add(std::span<const RowPlace>(places_));
  // Unused entries of a table are the block 0: nothing of it is used.
  ids_.assign(longest * batch.sequences.size(), 0);
  for (size_t s = 0; s < batch.sequences.size(); ++s)
    std::ranges::copy(batch.sequences[s].blocks, ids_.begin() + static_cast<std::ptrdiff_t>(s * longest));
  device_.tables = {page_.Add(std::span<const int32_t>(ids_)), static_cast<int32_t>(longest)};
  for (Units& units : units_) {
    units.units = page_.Add(std::span<const AttentionUnit>(units.plan.units));
    units.places = page_.Add(std::span<const FoldPlace>(units.plan.places));
  }
  gathered_.clear();
  for (const LogitRow& row : input.logit_rows) gathered_.push_back(row.row);
  device_.gathered = page_.Add(std::span<const int32_t>(gathered_));
  device_.draws = {.specs = page_.Add(std::span<const DrawSpec>(draws_.specs)),
                   .logits = reinterpret_cast<const float*>(logits_.data()),
                   .changed = reinterpret_cast<float*>(changed_logits_.data()),
                   .bias = page_.Add(std::span<const LogitBias>(draws_.bias)),
                   .counts = page_.Add(std::span<const TokenCount>(draws_.counts)),
                   .banned = page_.Add(std::span<const int32_t>(draws_.banned)),
                   .specs_count = static_cast<int>(draws_.specs.size()),
                   .vocab = plan_.shape.vocab};
}

// --- The launches ---

Status CudaRunner::Norm(const float* x, const float* weight, int rows, void* out) {
  const RmsNormParams params{.x = x,
                             .weight = weight,
                             .out = out,
                             .eps = plan_.shape.rms_eps,
                             .rows = rows,
                             .dim = plan_.shape.hidden};
  return Launch(LaunchOf(params, dtype_));
}

Status CudaRunner::Product(const Matrix& w, const void* x, int rows, const float* bias, bool accumulate,
                           float* y) {
  const auto& matrix = static_cast<const CudaMatrix&>(w);
  const GemmParams params{.w = matrix.data(),
                          .x = x,
                          .bias = bias,
                          .y = y,
                          .rows = rows,
                          .n = matrix.rows(),
                          .k = matrix.cols(),
                          .accumulate = accumulate};
  return products_.Multiply(params, matrix.dtype());
}

// Stores K and V of the rows and writes the result of attention into attention_.
Status CudaRunner::Attend(int l, int rows, const KvPool& pool) {
  const ModelShape& s = plan_.shape;
  const LayerWeights& layer = plan_.weights.layers[Size(l)];
  const KvLayout& layout = pool.layout();
  const Units& units = units_[units_of_layer_[Size(l)]];
  auto* const qkv = reinterpret_cast<float*>(qkv_.data());
  const KvBlocks kv{.base = pool.block(0),
                    .block_bytes = layout.BlockBytes(),
                    .block_tokens = layout.block_tokens,
                    .kv_heads = s.kv_heads,
                    .head_dim = s.head_dim,
                    .layer = l};
  PREFIXD_RETURN_IF_ERROR(
      Norm(reinterpret_cast<const float*>(x_.data()), layer.input_norm, rows, normed_.data()));
  PREFIXD_RETURN_IF_ERROR(Product(*layer.qkv, normed_.data(), rows, layer.qkv_bias, false, qkv));
  const QkvParams append{.qkv = qkv,
                         .q_norm = layer.q_norm,
                         .k_norm = layer.k_norm,
                         .rope = plan_.weights.rope,
                         .places = device_.places,
                         .tables = device_.tables,
                         .kv = kv,
                         .q = q_.data(),
                         .eps = s.rms_eps,
                         .scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim)),
                         .rows = rows,
                         .heads = s.heads};
  PREFIXD_RETURN_IF_ERROR(Launch(LaunchOf(append, layout.dtype)));
  const AttentionParams attend{.units = units.units,
                               .unit_count = static_cast<int32_t>(units.plan.units.size()),
                               .q = q_.data(),
                               .places = device_.places,
                               .tables = device_.tables,
                               .kv = kv,
                               .partials = reinterpret_cast<float*>(partials_.data()),
                               .heads = s.heads,
                               .window = units.window};
  PREFIXD_RETURN_IF_ERROR(Launch(LaunchOf(attend, layout.dtype)));
  const FoldParams fold{.partials = attend.partials,
                        .places = units.places,
                        .out = attention_.data(),
                        .rows = rows,
                        .heads = s.heads,
                        .head_dim = s.head_dim};
  return Launch(LaunchOf(fold, dtype_));
}

// Computes the rest of a layer: adds the outputs of `attention` and the gated MLP to the residual stream x.
Status CudaRunner::FeedForward(const LayerWeights& layer, const void* attention, int rows, float* x) {
  auto* const gate_up = reinterpret_cast<float*>(gate_up_.data());
  PREFIXD_RETURN_IF_ERROR(Product(*layer.out, attention, rows, layer.out_bias, true, x));
  PREFIXD_RETURN_IF_ERROR(Norm(x, layer.attention_norm, rows, normed_.data()));
  PREFIXD_RETURN_IF_ERROR(Product(*layer.gate_up, normed_.data(), rows, layer.gate_up_bias, false, gate_up));
  const ActivationParams activate{.x = gate_up,
                                  .out = activated_.data(),
                                  .activation = plan_.shape.activation,
                                  .rows = rows,
                                  .width = plan_.shape.intermediate};
  PREFIXD_RETURN_IF_ERROR(Launch(LaunchOf(activate, dtype_)));
  PREFIXD_RETURN_IF_ERROR(Product(*layer.down, activated_.data(), rows, layer.down_bias, true, x));
  PREFIXD_ASSIGN_OR_RETURN(const Event event, runtime_->Record(Stream::kCompute));
  layers_.push_back(event);
  return Status::Ok();
}

Status CudaRunner::Enqueue(const StepInput& input) {
  const ModelShape& s = plan_.shape;
  const ModelWeights& weights = plan_.weights;
  const int rows = input.batch.rows(), last = s.layers - 1;
  auto* const x = reinterpret_cast<float*>(x_.data());
  const EmbedParams embed{.table = static_cast<const CudaMatrix&>(*weights.embedding).data(),
                          .tokens = device_.tokens,
                          .out = x,
                          .rows = rows,
                          .dim = s.hidden};
  PREFIXD_RETURN_IF_ERROR(Launch(LaunchOf(embed, dtype_)));
  for (int l = 0; l < last; ++l) {
    PREFIXD_RETURN_IF_ERROR(Attend(l, rows, *input.pool));
    PREFIXD_RETURN_IF_ERROR(FeedForward(weights.layers[Size(l)], attention_.data(), rows, x));
  }
  PREFIXD_RETURN_IF_ERROR(Attend(last, rows, *input.pool));
  if (!input.logit_rows.empty()) PREFIXD_RETURN_IF_ERROR(DrawRows(input));
  PREFIXD_ASSIGN_OR_RETURN(const Event event, runtime_->Record(Stream::kCompute));
  layers_.push_back(event);
  return Status::Ok();
}

// After the last KV is stored, only the rows that need logits are computed.
Status CudaRunner::DrawRows(const StepInput& input) {
  const ModelShape& s = plan_.shape;
  const ModelWeights& weights = plan_.weights;
  const int kept = static_cast<int>(input.logit_rows.size());
  auto* const x = reinterpret_cast<float*>(last_x_.data());
  const GatherParams gather_x{.x = x_.data(),
                              .indices = device_.gathered,
                              .out = x,
                              .rows = kept,
                              .row_bytes = s.hidden * static_cast<int>(sizeof(float))};
  PREFIXD_RETURN_IF_ERROR(Launch(LaunchOf(gather_x)));
  const GatherParams gather_attention{.x = attention_.data(),
                                      .indices = device_.gathered,
                                      .out = last_attention_.data(),
                                      .rows = kept,
                                      .row_bytes = s.QueryWidth() * static_cast<int>(DTypeBytes(dtype_))};
  PREFIXD_RETURN_IF_ERROR(Launch(LaunchOf(gather_attention)));
  PREFIXD_RETURN_IF_ERROR(FeedForward(weights.layers.back(), last_attention_.data(), kept, x));
  PREFIXD_RETURN_IF_ERROR(Norm(x, weights.final_norm, kept, normed_.data()));
  PREFIXD_RETURN_IF_ERROR(Product(weights.head ? *weights.head : *weights.embedding, normed_.data(), kept,
                                  nullptr, false, reinterpret_cast<float*>(logits_.data())));
  const size_t results = Size(kept) * sizeof(DrawResult), top = Size(draws_.top);
  const size_t bytes = results + top * (sizeof(int32_t) + sizeof(float));
  DrawParamsTable draws = device_.draws;
  draws.results = reinterpret_cast<DrawResult*>(results_.data());
  draws.top_tokens = reinterpret_cast<int32_t*>(results_.data() + results);
  draws.top_logits = reinterpret_cast<float*>(results_.data() + results + top * sizeof(int32_t));
  PREFIXD_RETURN_IF_ERROR(Launch(LaunchOf(draws)));
  return runtime_->CopyToHost(Stream::kCompute, taken_.data(), results_.data(), bytes);
}

// --- The end of a step ---

Status CudaRunner::WaitForLayers() {
  for (const Event event : layers_) {
    PREFIXD_RETURN_IF_ERROR(runtime_->Synchronize(event));
    ++progress_;
  }
  return Status::Ok();
}

Status CudaRunner::TakeResults(const StepInput& input) {
  const size_t rows = input.logit_rows.size(), top = Size(draws_.top);
  if (rows == 0) return Status::Ok();
  const std::byte* at = taken_.data();
  const auto* const results = reinterpret_cast<const DrawResult*>(at);
  const auto* const tokens = reinterpret_cast<const int32_t*>(at + rows * sizeof(DrawResult));
  const auto* const logits = reinterpret_cast<const float*>(tokens + top);
  PREFIXD_RETURN_IF_ERROR(TakeDraws(draws_, {results, rows}, {tokens, top}, {logits, top}, input.logit_rows));
  if (input.logits == nullptr) return Status::Ok();
  const size_t bytes = rows * Size(plan_.shape.vocab) * sizeof(float);
  PREFIXD_ASSIGN_OR_RETURN(const PinnedMemory copy, PinnedMemory::Allocate(runtime_, bytes));
  PREFIXD_RETURN_IF_ERROR(runtime_->CopyToHost(Stream::kCompute, copy.data(), logits_.data(), bytes));
  PREFIXD_ASSIGN_OR_RETURN(const Event event, runtime_->Record(Stream::kCompute));
  PREFIXD_RETURN_IF_ERROR(runtime_->Synchronize(event));
  std::copy_n(reinterpret_cast<const float*>(copy.data()), bytes / sizeof(float), input.logits);
  return Status::Ok();
}

}  // namespace prefixd::cuda
