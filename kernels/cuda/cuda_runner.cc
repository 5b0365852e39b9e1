#include "kernels/cuda/cuda_runner.h"

#include <algorithm>
#include <array>
#include <cstring>
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
  const AttentionBound attention = BoundAttention(shape, limits);
  return rows * (sizeof(int32_t) + sizeof(RowPlace)) + rows * tables * sizeof(int32_t) +
         windows *
             (2 * sizeof(AttentionList) + attention.units * sizeof(AttentionUnit) +
              attention.members * sizeof(AttentionMember) + rows * Size(shape.heads) * sizeof(FoldPlace)) +
         Size(limits.max_logit_rows) * (sizeof(int32_t) + sizeof(DrawSpec)) + kArraysOfPage * kAlignment;
}

size_t LogitBytes(const ModelShape& shape) { return Size(shape.vocab) * sizeof(float); }  // of a row

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
  memory.scratch = PartialBytes(shape, limits) +
                   Size(limits.max_logit_rows) * Size(shape.vocab) * sizeof(float) +
                   (library != nullptr ? kProductWorkspaceBytes : 0);
  const size_t of_steps =
      StepPipeline::kMost * (PageBytes(shape, limits) + Size(limits.max_logit_rows) * sizeof(DrawResult));
  memory.scratch += of_steps;
  memory.pinned = of_steps + kStagingBytes;
  return memory;
}

Result<std::unique_ptr<ModelRunner>> CudaRunner::Create(CudaRuntime* runtime, ProductLibrary* library,
                                                        const std::string& product_choices, ModelPlan plan,
                                                        const StepLimits& limits) {
  PREFIXD_CHECK(limits.context > 0 && limits.max_rows > 0 && limits.max_logit_rows > 0)
      << limits.context << ", " << limits.max_rows << ", " << limits.max_logit_rows;
  PREFIXD_CHECK(limits.context <= plan.weights.positions) << limits.context;
  std::unique_ptr<CudaRunner> runner(new CudaRunner(runtime, library, std::move(plan), limits));
  PREFIXD_RETURN_IF_ERROR(runner->Allocate());
  if (library != nullptr) PREFIXD_RETURN_IF_ERROR(runner->CheckProducts(product_choices));
  return std::unique_ptr<ModelRunner>(std::move(runner));
}

CudaRunner::CudaRunner(CudaRuntime* runtime, ProductLibrary* library, ModelPlan plan,
                       const StepLimits& limits)
    : runtime_(runtime),
      library_(library),
      plan_(std::move(plan)),
      limits_(limits),
      products_(runtime),
      steps_{Step(runtime), Step(runtime)} {
  static_assert(StepPipeline::kMost == 2);
  const std::vector<int> windows = DistinctWindows(plan_.shape);
  for (Step& step : steps_) {
    for (const int window : windows) step.units.push_back({.window = window});
  }
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
  for (Step& step : steps_) {
    PREFIXD_ASSIGN_OR_RETURN(step.results, DeviceMemory::Allocate(runtime_, rows * sizeof(DrawResult)));
    PREFIXD_ASSIGN_OR_RETURN(step.taken, PinnedMemory::Allocate(runtime_, rows * sizeof(DrawResult)));
    PREFIXD_RETURN_IF_ERROR(step.page.Reserve(PageBytes(plan_.shape, limits_)));
  }
  return Status::Ok();
}

// All layers have the shapes of the first one.
Status CudaRunner::CheckProducts(const std::string& product_choices) {
  const LayerWeights& layer = plan_.weights.layers.front();
  const Matrix& head = plan_.weights.head ? *plan_.weights.head : *plan_.weights.embedding;
  // The launches of a layer of few rows overlap and norm their rows; the head is alone.
  std::vector<Products::Use> uses;
  const auto use = [&](const Matrix& w, int most_rows, const float* bias, bool accumulate) {
    if (!w.parts().empty()) return;  // the kernels multiply the parts of a stack
    uses.push_back({.w = static_cast<const CudaMatrix*>(&w),
                    .fewest_rows = &w == &head ? 1 : kFewNormRows + 1,
                    .most_rows = most_rows,
                    .bias = bias,
                    .accumulate = accumulate});
  };
  use(*layer.qkv, limits_.max_rows, layer.qkv_bias, false);
  use(*layer.out, limits_.max_rows, layer.out_bias, true);
  use(*layer.gate_up, limits_.max_rows, layer.gate_up_bias, false);
  use(*layer.down, limits_.max_rows, layer.down_bias, true);
  use(head, limits_.max_logit_rows, nullptr, false);
  ProductChoices choices(product_choices, runtime_->facts(), *library_);
  PREFIXD_RETURN_IF_ERROR(products_.Check(library_, uses, &choices));
  choices.Write();
  return Status::Ok();
}

void CudaRunner::CheckStep(const StepInput& input) const {
  const BatchView& batch = input.batch;
  PREFIXD_CHECK(batch.rows() >= 1 && batch.rows() <= limits_.max_rows) << batch.rows() << " rows";
  PREFIXD_CHECK(static_cast<int>(input.logit_rows.size()) <= std::min(batch.rows(), limits_.max_logit_rows))
      << input.logit_rows.size() << " logit rows of " << batch.rows();
  const int drawn = in_flight_.empty() ? 0 : static_cast<int>(in_flight_.back()->rows.size());
  for (const TokenId token : batch.tokens)
    PREFIXD_CHECK(token >= TokenDrawnBy(drawn - 1)) << token << ", and " << drawn << " tokens are drawn";
  for (const LogitRow& row : input.logit_rows) {
    PREFIXD_CHECK(row.row >= 0 && row.row < batch.rows()) << row.row;
    PREFIXD_CHECK(row.uncounted < drawn) << row.uncounted << " of " << drawn << " drawn tokens";
  }
  for (const SequenceSpan& sequence : batch.sequences) {
    PREFIXD_CHECK(sequence.position + sequence.rows <= limits_.context)
        << sequence.position << " + " << sequence.rows;
  }
  PREFIXD_CHECK(input.pool != nullptr);
  const KvLayout& layout = input.pool->layout();
  PREFIXD_CHECK(layout == plan_.shape.Kv(layout.block_tokens, layout.type)) << "a pool of another model";
}

void CudaRunner::Launch(const StepInput& input, std::function<void()> on_done) {
  PREFIXD_CHECK(in_flight_.size() < steps_.size()) << in_flight_.size() << " steps are in flight already";
  CheckStep(input);
  Step* const before = in_flight_.empty() ? nullptr : in_flight_.back();
  Step* const step = before == steps_.data() ? &steps_[1] : steps_.data();
  step->rows = input.logit_rows;
  step->logits_to = input.logits;
  step->pool = input.pool;
  const int rows = input.batch.rows(), kept = static_cast<int>(input.logit_rows.size());
  const bool decodes = rows == kept && std::ranges::all_of(input.batch.sequences,
                                                           [](const SequenceSpan& s) { return s.rows == 1; });
  const int graph_rows =
      decodes ? StepGraphs::RowsFor(rows, std::min(limits_.max_rows, limits_.max_logit_rows)) : 0;
  step->is_graph = graph_rows > 0;
  step->launch_rows = step->is_graph ? graph_rows : rows;
  step->kept_rows = step->is_graph ? graph_rows : kept;
  step->takes_tokens =
      std::ranges::any_of(input.batch.tokens, [](TokenId token) { return token < 0; }) ||
      std::ranges::any_of(input.logit_rows, [](const LogitRow& row) { return row.uncounted >= 0; });
  // A graph always has the same.
  Step* const other = step == steps_.data() ? &steps_[1] : steps_.data();
  step->drawn = before == nullptr && !step->is_graph
                    ? nullptr
                    : reinterpret_cast<const DrawResult*>(other->results.data());
  step->layers.clear();
  step->waited = 0;
  step->prepared = Prepare(input, step);
  in_flight_.push_back(step);
  pipeline_.Start({.begin = [this, step] { return Begin(step); },
                   .advance = [this, step] { return WaitForLayer(step); },
                   .on_done = std::move(on_done)});
}

Status CudaRunner::Collect() {
  Status status = pipeline_.Wait();
  in_flight_.front()->outgrown.clear();
  reads_ = in_flight_.front()->reads;
  in_flight_.pop_front();
  return status;
}

// --- Before a step: its memory and its page ---

// All memory of the step comes first. After it a lost device fails, which leaves the memory alone, or the
// library of products, after which the work before it still runs.
Status CudaRunner::Prepare(const StepInput& input, Step* step) {
  PREFIXD_RETURN_IF_ERROR(FillPage(input, step));
  PREFIXD_RETURN_IF_ERROR(ReserveResults(step));
  if (step->logits_to == nullptr || step->rows.empty()) return Status::Ok();
  PREFIXD_ASSIGN_OR_RETURN(step->logits,
                           PinnedMemory::Allocate(runtime_, step->rows.size() * LogitBytes(plan_.shape)));
  return Status::Ok();
}

Status CudaRunner::FillPage(const StepInput& input, Step* step) {
  const KvLayout& layout = input.pool->layout();
  for (Units& units : step->units)
    PlanAttention(input.batch, plan_.shape, units.window, layout.block_tokens, &units.plan);
  CountReads(layout, step);
  PREFIXD_RETURN_IF_ERROR(PlanDraws(input.logit_rows, plan_.shape.vocab, &step->draws));
  AddArrays(input, step);
  if (!step->page.full()) return Status::Ok();
  PREFIXD_RETURN_IF_ERROR(step->page.Reserve(step->page.used()));
  AddArrays(input, step);
  PREFIXD_CHECK(!step->page.full());
  return Status::Ok();
}

// A plan counts blocks of a KV head of a layer.
void CudaRunner::CountReads(const KvLayout& layout, Step* step) const {
  step->reads = {};
  const size_t bytes = layout.BlockBytes() / Size(layout.layers * layout.kv_heads);
  for (const size_t window : units_of_layer_) {
    const AttentionPlan& plan = step->units[window].plan;
    step->reads += {.read_bytes = plan.reads * bytes, .saved_bytes = plan.saved * bytes};
  }
}

// The log probabilities that rows report follow the results. They are not part of StepMemory.
Status CudaRunner::ReserveResults(Step* step) {
  const size_t bytes = step->ResultBytes();
  if (bytes <= step->results.bytes()) return Status::Ok();
  PREFIXD_ASSIGN_OR_RETURN(DeviceMemory results, DeviceMemory::Allocate(runtime_, bytes));
  PREFIXD_ASSIGN_OR_RETURN(step->taken, PinnedMemory::Allocate(runtime_, bytes));
  std::swap(step->results, results);
  // The step in flight may take tokens from them.
  if (!in_flight_.empty()) in_flight_.back()->outgrown.push_back(std::move(results));
  return Status::Ok();
}

void CudaRunner::AddArrays(const StepInput& input, Step* step) {
  const BatchView& batch = input.batch;
  StepPage& page = step->page;
  OnDevice& device = step->device;
  page.Begin();
  device = {};
  lists_.assign(2 * step->units.size(), {});
  device.lists = page.Add(std::span<const AttentionList>(lists_));
  // The rows of the batch, and then those that are not there.
  tokens_.assign(batch.tokens.begin(), batch.tokens.end());
  tokens_.resize(Size(step->launch_rows), 0);
  device.tokens = page.Add(std::span<const int32_t>(tokens_));
  places_.clear();
  ids_.clear();
  for (const SequenceSpan& sequence : batch.sequences) {
    for (int i = 0; i < sequence.rows; ++i)
      places_.push_back({sequence.position + i, static_cast<int32_t>(ids_.size())});
    ids_.insert(ids_.end(), sequence.blocks.begin(), sequence.blocks.end());
  }
  places_.resize(Size(step->launch_rows), {0, -1});
  device.places = page.Add(std::span<const RowPlace>(places_));
  gathered_.clear();
  for (const LogitRow& row : input.logit_rows) gathered_.push_back(row.row);
  gathered_.resize(Size(step->kept_rows), 0);
  device.gathered = page.Add(std::span<const int32_t>(gathered_));
  for (Units& units : step->units) {
    units.plan.places.resize(Size(step->launch_rows) * Size(plan_.shape.heads));
    units.places = page.Add(std::span<const FoldPlace>(units.plan.places));
  }
  // The sequence of a row is where its blocks begin.
  device.tables = {page.Add(std::span<const int32_t>(ids_)), 1};
  for (size_t window = 0; window < step->units.size(); ++window) {
    Units& units = step->units[window];
    const AttentionPlan& plan = units.plan;
    units.units = page.Add(std::span<const AttentionUnit>(plan.units));
    units.members = page.Add(std::span<const AttentionMember>(plan.members));
    if (page.full()) continue;
    const auto singles = static_cast<int32_t>(plan.singles), all = static_cast<int32_t>(plan.units.size());
    page.Replace(device.lists + 2 * window, {units.units, units.members, singles, 0});
    page.Replace(device.lists + 2 * window + 1, {units.units + singles, units.members, all - singles, 0});
  }
  const DrawPlan& draws = step->draws;
  device.draws = {.specs = page.Add(std::span<const DrawSpec>(draws.specs)),
                  .logits = reinterpret_cast<const float*>(logits_.data()),
                  .changed = reinterpret_cast<float*>(changed_logits_.data()),
                  .bias = page.Add(std::span<const LogitBias>(draws.bias)),
                  .counts = page.Add(std::span<const TokenCount>(draws.counts)),
                  .banned = page.Add(std::span<const int32_t>(draws.banned)),
                  .allowed = page.Add(std::span<const uint32_t>(draws.allowed)),
                  .specs_count = static_cast<int>(draws.specs.size()),
                  .vocab = plan_.shape.vocab,
                  .drawn = step->drawn};
}

// --- The beginning of a step ---

Status CudaRunner::Begin(Step* step) {
  const auto begin = [this, step] {
    if (step->takes_tokens) PREFIXD_RETURN_IF_ERROR(begun_);
    PREFIXD_RETURN_IF_ERROR(step->prepared);
    PREFIXD_RETURN_IF_ERROR(step->page.Send(Stream::kCompute));
    Status enqueued = Enqueue(step);
    if (enqueued.ok() || enqueued.code() == Code::kUnavailable) return enqueued;
    PREFIXD_ASSIGN_OR_RETURN(const Event event, runtime_->Record(Stream::kCompute));
    PREFIXD_RETURN_IF_ERROR(runtime_->Synchronize(event));
    return enqueued;
  };
  begun_ = begin();
  return begun_;
}

// --- The end of a step ---

// Waits for the next layer of the step. Returns whether it was the last one; then the step has its results.
Result<bool> CudaRunner::WaitForLayer(Step* step) {
  PREFIXD_RETURN_IF_ERROR(runtime_->Synchronize(step->layers[step->waited]));
  ++progress_;
  if (++step->waited < step->layers.size()) return false;
  PREFIXD_RETURN_IF_ERROR(TakeResults(step));
  return true;
}

Status CudaRunner::TakeResults(Step* step) {
  const size_t rows = step->rows.size(), top = Size(step->draws.top);
  if (rows == 0) return Status::Ok();
  const std::byte* at = step->taken.data();
  const auto* const results = reinterpret_cast<const DrawResult*>(at);
  const auto* const tokens = reinterpret_cast<const int32_t*>(at + rows * sizeof(DrawResult));
  const auto* const logits = reinterpret_cast<const float*>(tokens + top);
  PREFIXD_RETURN_IF_ERROR(TakeDraws(step->draws, {results, rows}, {tokens, top}, {logits, top}, step->rows));
  if (step->logits_to == nullptr) return Status::Ok();
  std::memcpy(step->logits_to, step->logits.data(), rows * LogitBytes(plan_.shape));
  step->logits = {};
  return Status::Ok();
}

}  // namespace prefixd::cuda
