#include "kernels/host/host_runner.h"

#include <time.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "kernels/host_memory.h"

namespace prefixd {
namespace {

// The floats of one row of each activation, in the order of HostRunner's pointers.
std::array<size_t, 6> RowWidths(const ModelShape& s) {
  const auto width = [](int n) { return static_cast<size_t>(n); };
  return {width(s.hidden),       width(s.hidden),           width(s.QkvWidth()),
          width(s.QueryWidth()), 2 * width(s.intermediate), width(s.intermediate)};
}
std::array<size_t, 3> LogitRowWidths(const ModelShape& s) {
  return {static_cast<size_t>(s.hidden), static_cast<size_t>(s.QueryWidth()), static_cast<size_t>(s.vocab)};
}

template <size_t n>
size_t Bytes(const std::array<size_t, n>& widths, int rows) {
  size_t floats = 0;
  for (const size_t width : widths) floats += width;
  return floats * static_cast<size_t>(rows) * sizeof(float);
}

// Of all threads of the process: those that draw, and what runs beside them.
double CpuSeconds() {
  timespec time{};
  PREFIXD_CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

StepMemory HostRunner::MemoryFor(const Operations& operations, const ModelShape& shape,
                                 const StepLimits& limits) {
  return {.activations =
              Bytes(RowWidths(shape), limits.max_rows) + Bytes(LogitRowWidths(shape), limits.max_logit_rows),
          .scratch = operations.ScratchBytes(shape, limits)};
}

Result<std::unique_ptr<ModelRunner>> HostRunner::Create(Operations* operations, ModelPlan plan,
                                                        const StepLimits& limits) {
  PREFIXD_CHECK(limits.context > 0 && limits.max_rows > 0 && limits.max_logit_rows > 0)
      << limits.context << ", " << limits.max_rows << ", " << limits.max_logit_rows;
  PREFIXD_CHECK(limits.context <= plan.weights.positions) << limits.context;
  std::unique_ptr<HostRunner> runner(new HostRunner(operations, std::move(plan), limits));
  PREFIXD_RETURN_IF_ERROR(runner->AllocateActivations());
  PREFIXD_RETURN_IF_ERROR(operations->Reserve(runner->plan_.shape, limits));
  return std::unique_ptr<ModelRunner>(std::move(runner));
}

Status HostRunner::AllocateActivations() {
  float** const of_rows[] = {&x_, &normed_, &qkv_, &attention_, &gate_up_, &activated_};
  float** const of_logit_rows[] = {&last_x_, &last_attention_, &logits_};
  const auto allocate = [&](float** pointer, size_t width, int rows) -> Status {
    Result<std::unique_ptr<Buffer>> buffer =
        AllocateHostBuffer(width * static_cast<size_t>(rows) * sizeof(float));
    if (!buffer.ok()) return buffer.status().WithContext("activations of " + std::to_string(rows) + " rows");
    *pointer = (*buffer)->f32();
    buffers_.push_back(std::move(*buffer));
    return Status::Ok();
  };
  const auto widths = RowWidths(plan_.shape);
  for (size_t i = 0; i < widths.size(); ++i)
    PREFIXD_RETURN_IF_ERROR(allocate(of_rows[i], widths[i], limits_.max_rows));
  const auto logit_widths = LogitRowWidths(plan_.shape);
  for (size_t i = 0; i < logit_widths.size(); ++i)
    PREFIXD_RETURN_IF_ERROR(allocate(of_logit_rows[i], logit_widths[i], limits_.max_logit_rows));
  return Status::Ok();
}

void HostRunner::CheckStep(const StepInput& input) const {
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
  PREFIXD_CHECK(layout == plan_.shape.Kv(layout.block_tokens, layout.type)) << "a pool of another model";
}

void HostRunner::Launch(const StepInput& input, std::function<void()> on_done) {
  CheckStep(input);
  thread_.Start([this, input] { return Compute(input); }, std::move(on_done));
}

Status HostRunner::Collect() {
  Status status = thread_.Wait();
  reads_ = ops_.attention_reads();
  return status;
}

// Stores K and V of the rows and writes the result of attention into attention_.
void HostRunner::Attend(int l, int rows, KvPool& pool) {
  const ModelShape& s = plan_.shape;
  const LayerWeights& layer = plan_.weights.layers[static_cast<size_t>(l)];
  const int stride = s.QkvWidth();
  float* q = qkv_;
  float* k = q + s.QueryWidth();
  float* v = k + s.KvWidth();
  const AttentionParams params{.heads = s.heads,
                               .scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim)),
                               .window = s.windows[static_cast<size_t>(l)]};
  ops_.RmsNorm(x_, layer.input_norm, s.rms_eps, rows, s.hidden, normed_);
  ops_.Gemm(*layer.qkv, normed_, rows, qkv_, GemmOutput::kStore);
  if (layer.qkv_bias != nullptr) ops_.AddBias(layer.qkv_bias, rows, stride, qkv_);
  if (layer.q_norm != nullptr) {
    ops_.HeadRmsNorm(q, stride, s.heads, s.head_dim, layer.q_norm, s.rms_eps);
    ops_.HeadRmsNorm(k, stride, s.kv_heads, s.head_dim, layer.k_norm, s.rms_eps);
  }
  ops_.Rope(q, stride, s.heads, s.head_dim, plan_.weights.rope);
  ops_.Rope(k, stride, s.kv_heads, s.head_dim, plan_.weights.rope);
  ops_.StoreKv(k, v, stride, l, pool);
  Advance();
  ops_.Attention(q, stride, params, l, pool, attention_);
  Advance();
}

// Computes the rest of a layer: adds the outputs of `attention` and the gated MLP to the residual stream x.
void HostRunner::FeedForward(const LayerWeights& layer, const float* attention, int rows, float* x) {
  const ModelShape& s = plan_.shape;
  ops_.Gemm(*layer.out, attention, rows, x, GemmOutput::kAccumulate);
  if (layer.out_bias != nullptr) ops_.AddBias(layer.out_bias, rows, s.hidden, x);
  ops_.RmsNorm(x, layer.attention_norm, s.rms_eps, rows, s.hidden, normed_);
  ops_.Gemm(*layer.gate_up, normed_, rows, gate_up_, GemmOutput::kStore);
  Advance();
  if (layer.gate_up_bias != nullptr) ops_.AddBias(layer.gate_up_bias, rows, 2 * s.intermediate, gate_up_);
  ops_.GatedActivation(s.activation, gate_up_, rows, s.intermediate, activated_);
  ops_.Gemm(*layer.down, activated_, rows, x, GemmOutput::kAccumulate);
  if (layer.down_bias != nullptr) ops_.AddBias(layer.down_bias, rows, s.hidden, x);
  Advance();
}

Status HostRunner::Draw(std::span<LogitRow> rows) {
  const double begun = CpuSeconds();
  Status status = ops_.ReadRows(rows, logits_, plan_.shape.vocab);
  draw_cpu_seconds_.store(draw_cpu_seconds() + CpuSeconds() - begun, std::memory_order_relaxed);
  return status;
}

Status HostRunner::Compute(const StepInput& input) {
  const ModelShape& s = plan_.shape;
  const ModelWeights& weights = plan_.weights;
  const int rows = input.batch.rows();
  const int last = s.layers - 1;
  ops_.BeginStep(input.batch);
  ops_.Embed(*weights.embedding, x_);
  for (int l = 0; l < last; ++l) {
    Attend(l, rows, *input.pool);
    FeedForward(weights.layers[static_cast<size_t>(l)], attention_, rows, x_);
  }
  Attend(last, rows, *input.pool);
  if (input.logit_rows.empty()) return Status::Ok();

  // After the last KV is stored, only the rows that need logits are computed.
  gathered_.clear();
  for (const LogitRow& row : input.logit_rows) gathered_.push_back(row.row);
  const int kept = static_cast<int>(gathered_.size());
  ops_.GatherRows(x_, gathered_, s.hidden, last_x_);
  ops_.GatherRows(attention_, gathered_, s.QueryWidth(), last_attention_);
  FeedForward(weights.layers[static_cast<size_t>(last)], last_attention_, kept, last_x_);
  ops_.RmsNorm(last_x_, weights.final_norm, s.rms_eps, kept, s.hidden, normed_);
  ops_.Gemm(weights.head ? *weights.head : *weights.embedding, normed_, kept, logits_, GemmOutput::kStore);
  Advance();
  PREFIXD_RETURN_IF_ERROR(Draw(input.logit_rows));
  Advance();
  if (input.logits != nullptr)
    std::copy_n(logits_, static_cast<size_t>(kept) * static_cast<size_t>(s.vocab), input.logits);
  return Status::Ok();
}

}  // namespace prefixd
