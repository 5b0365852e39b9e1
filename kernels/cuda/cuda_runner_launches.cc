// The launches of a step: what CudaRunner gives to the compute stream between the page of the step and its
// results.
#include <algorithm>
#include <cmath>

#include "kernels/cuda/cuda_runner.h"

namespace prefixd::cuda {
namespace {

size_t Size(int n) { return static_cast<size_t>(n); }
// Of a warp, that a multiprocessor has at once where it has 255 registers.
constexpr int kMostBlocks = 8;
DType TypeOf(const Matrix& w) { return static_cast<const CudaMatrix&>(w).dtype(); }

}  // namespace

Status CudaRunner::Norm(const float* x, const float* weight, int rows, void* out) {
  const RmsNormParams params{.x = x,
                             .weight = weight,
                             .out = out,
                             .eps = plan_.shape.rms_eps,
                             .rows = rows,
                             .dim = plan_.shape.hidden};
  return Launch(LaunchOf(params, dtype_));
}

GemmParams CudaRunner::ProductOf(const Matrix& w, const void* x, int rows, const float* bias) {
  const auto& matrix = static_cast<const CudaMatrix&>(w);
  return {.w = matrix.data(),
          .x = x,
          .bias = bias,
          .y = nullptr,
          .rows = rows,
          .n = matrix.rows(),
          .k = matrix.cols(),
          .accumulate = false};
}

Status CudaRunner::Product(const Matrix& w, const void* x, int rows, const float* bias, bool accumulate,
                           float* y) {
  GemmParams params = ProductOf(w, x, rows, bias);
  params.y = y;
  params.accumulate = accumulate;
  return products_.Multiply(params, TypeOf(w));
}

Result<FewNorm> CudaRunner::NormFor(const GemmParams& product, const float* x, const float* weight,
                                    bool fused) {
  const FewNorm norm{.x = x, .weight = weight, .eps = plan_.shape.rms_eps};
  if (fused && FewCanNorm(product, dtype_, norm, runtime_->facts().shared_bytes)) return norm;
  PREFIXD_RETURN_IF_ERROR(Norm(x, weight, product.rows, normed_.data()));
  return FewNorm{};
}

// Makes q of the rows, and stores their K and V.
Status CudaRunner::MakeQkv(const LayerWeights& layer, const QkvParams& append, DType kv) {
  FewQkvParams few{.product = ProductOf(*layer.qkv, normed_.data(), append.rows, layer.qkv_bias),
                   .norm = {},
                   .append = append};
  const DType type = TypeOf(*layer.qkv);
  const bool fused = CanFuse(few, type, kv) && !products_.Computes(few.product, type);
  const auto* const x = reinterpret_cast<const float*>(x_.data());
  PREFIXD_ASSIGN_OR_RETURN(few.norm, NormFor(few.product, x, layer.input_norm, fused));
  if (fused) return Launch(LaunchOf(few, type));
  PREFIXD_RETURN_IF_ERROR(Product(*layer.qkv, normed_.data(), append.rows, layer.qkv_bias, false,
                                  reinterpret_cast<float*>(qkv_.data())));
  return Launch(LaunchOf(append, kv));
}

// A graph has as many blocks as the device has at once, whatever units there are.
std::array<AttentionParams, 2> CudaRunner::AttentionParts(const Step& step, size_t window,
                                                          const AttentionParams& params) const {
  std::array<AttentionParams, 2> parts = LaunchesOf(step.units[window].plan, params);
  if (!step.is_graph) return parts;
  const DeviceFacts& facts = runtime_->facts();
  for (size_t i = 0; i < parts.size(); ++i) {
    AttentionParams& part = parts[i];
    part.units = nullptr;
    part.list = step.device.lists + 2 * window + i;
    const size_t shared = LaunchOf(part, step.pool->layout().type.dtype(), facts.shared_bytes).shared_bytes;
    const int blocks = std::clamp(static_cast<int>(facts.shared_bytes / shared), 1, kMostBlocks / part.team);
    part.unit_count = i == 0 || HasTeams(step) ? facts.multiprocessors * blocks * part.team : 0;
  }
  return parts;
}

// Stores K and V of the rows and writes the result of attention into attention_.
Status CudaRunner::Attend(const Step& step, int l) {
  const ModelShape& s = plan_.shape;
  const LayerWeights& layer = plan_.weights.layers[Size(l)];
  const KvPool& pool = *step.pool;
  const KvLayout& layout = pool.layout();
  const size_t window = units_of_layer_[Size(l)];
  const Units& units = step.units[window];
  const int rows = step.launch_rows;
  const KvBlocks kv{.base = pool.block(0),
                    .block_bytes = layout.BlockBytes(),
                    .block_tokens = layout.block_tokens,
                    .kv_heads = s.kv_heads,
                    .head_dim = s.head_dim,
                    .layer = l};
  const QkvParams append{.qkv = reinterpret_cast<const float*>(qkv_.data()),
                         .q_norm = layer.q_norm,
                         .k_norm = layer.k_norm,
                         .rope = plan_.weights.rope,
                         .places = step.device.places,
                         .tables = step.device.tables,
                         .kv = kv,
                         .q = q_.data(),
                         .eps = s.rms_eps,
                         .scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim)),
                         .rows = rows,
                         .heads = s.heads};
  PREFIXD_RETURN_IF_ERROR(MakeQkv(layer, append, layout.type.dtype()));
  const AttentionParams attend{.units = units.units,
                               .members = units.members,
                               .unit_count = 0,  // AttentionParts counts them
                               .q = q_.data(),
                               .places = step.device.places,
                               .tables = step.device.tables,
                               .kv = kv,
                               .partials = reinterpret_cast<float*>(partials_.data()),
                               .heads = s.heads,
                               .window = units.window};
  const size_t shared_bytes = runtime_->facts().shared_bytes;
  for (const AttentionParams& part : AttentionParts(step, window, attend)) {
    if (part.unit_count > 0)
      PREFIXD_RETURN_IF_ERROR(Launch(LaunchOf(part, layout.type.dtype(), shared_bytes)));
  }
  const FoldParams fold{.partials = attend.partials,
                        .places = units.places,
                        .out = attention_.data(),
                        .rows = rows,
                        .heads = s.heads,
                        .head_dim = s.head_dim};
  return Launch(LaunchOf(fold, dtype_));
}

// Writes activation(gate) * up of the rows x into activated_.
Status CudaRunner::MakeActivated(const LayerWeights& layer, const float* x, int rows) {
  auto* const gate_up = reinterpret_cast<float*>(gate_up_.data());
  FewGateParams few{.product = ProductOf(*layer.gate_up, normed_.data(), rows, layer.gate_up_bias),
                    .norm = {},
                    .activate = {.x = gate_up,
                                 .out = activated_.data(),
                                 .activation = plan_.shape.activation,
                                 .rows = rows,
                                 .width = plan_.shape.intermediate}};
  const DType type = TypeOf(*layer.gate_up);
  const bool fused = IsFew(few.product, type) && !products_.Computes(few.product, type);
  PREFIXD_ASSIGN_OR_RETURN(few.norm, NormFor(few.product, x, layer.attention_norm, fused));
  if (fused) return Launch(LaunchOf(few, type));
  PREFIXD_RETURN_IF_ERROR(Product(*layer.gate_up, normed_.data(), rows, layer.gate_up_bias, false, gate_up));
  return Launch(LaunchOf(few.activate, dtype_));
}

// Computes the rest of a layer: adds the outputs of `attention` and the gated MLP to the residual stream x.
Status CudaRunner::FeedForward(const LayerWeights& layer, const void* attention, int rows, float* x,
                               Step* step) {
  PREFIXD_RETURN_IF_ERROR(Product(*layer.out, attention, rows, layer.out_bias, true, x));
  PREFIXD_RETURN_IF_ERROR(MakeActivated(layer, x, rows));
  PREFIXD_RETURN_IF_ERROR(Product(*layer.down, activated_.data(), rows, layer.down_bias, true, x));
  return step->is_graph ? Status::Ok() : RecordLayer(step);
}

Status CudaRunner::RecordLayer(Step* step) {
  PREFIXD_ASSIGN_OR_RETURN(const Event event, runtime_->Record(Stream::kCompute));
  step->layers.push_back(event);
  return Status::Ok();
}

bool CudaRunner::HasTeams(const Step& step) {
  return std::ranges::any_of(step.units,
                             [](const Units& units) { return units.plan.singles < units.plan.units.size(); });
}

StepGraphs::Key CudaRunner::GraphKey(const Step& step) const {
  return {.rows = step.launch_rows,
          .teams = HasTeams(step),
          .page = step.page.device(),
          .drawn = step.drawn,
          .pool = step.pool->block(0),
          .layout = step.pool->layout()};
}

Status CudaRunner::Enqueue(Step* step) {
  const auto layers = [this, step] { return EnqueueLayers(step); };
  PREFIXD_RETURN_IF_ERROR(step->is_graph ? step->graphs.Run(GraphKey(*step), layers) : layers());
  if (!step->rows.empty()) PREFIXD_RETURN_IF_ERROR(DrawRows(step));
  return RecordLayer(step);
}

// All launches up to the logits.
Status CudaRunner::EnqueueLayers(Step* step) {
  const ModelShape& s = plan_.shape;
  const ModelWeights& weights = plan_.weights;
  const int rows = step->launch_rows, last = s.layers - 1;
  auto* const x = reinterpret_cast<float*>(x_.data());
  const EmbedParams embed{.table = static_cast<const CudaMatrix&>(*weights.embedding).data(),
                          .tokens = step->device.tokens,
                          .out = x,
                          .rows = rows,
                          .dim = s.hidden,
                          .drawn = step->drawn};
  PREFIXD_RETURN_IF_ERROR(Launch(LaunchOf(embed, dtype_)));
  for (int l = 0; l < last; ++l) {
    PREFIXD_RETURN_IF_ERROR(Attend(*step, l));
    PREFIXD_RETURN_IF_ERROR(FeedForward(weights.layers[Size(l)], attention_.data(), rows, x, step));
  }
  PREFIXD_RETURN_IF_ERROR(Attend(*step, last));
  return step->kept_rows > 0 ? KeptRows(step) : Status::Ok();
}

// After the last KV is stored, only the rows that need logits are computed.
Status CudaRunner::KeptRows(Step* step) {
  const ModelShape& s = plan_.shape;
  const ModelWeights& weights = plan_.weights;
  const int kept = step->kept_rows;
  auto* const x = reinterpret_cast<float*>(last_x_.data());
  const GatherParams gather_x{.x = x_.data(),
                              .indices = step->device.gathered,
                              .out = x,
                              .rows = kept,
                              .row_bytes = s.hidden * static_cast<int>(sizeof(float))};
  PREFIXD_RETURN_IF_ERROR(Launch(LaunchOf(gather_x)));
  const GatherParams gather_attention{.x = attention_.data(),
                                      .indices = step->device.gathered,
                                      .out = last_attention_.data(),
                                      .rows = kept,
                                      .row_bytes = s.QueryWidth() * static_cast<int>(DTypeBytes(dtype_))};
  PREFIXD_RETURN_IF_ERROR(Launch(LaunchOf(gather_attention)));
  PREFIXD_RETURN_IF_ERROR(FeedForward(weights.layers.back(), last_attention_.data(), kept, x, step));
  PREFIXD_RETURN_IF_ERROR(Norm(x, weights.final_norm, kept, normed_.data()));
  return Product(weights.head ? *weights.head : *weights.embedding, normed_.data(), kept, nullptr, false,
                 reinterpret_cast<float*>(logits_.data()));
}

Status CudaRunner::DrawRows(Step* step) {
  const size_t kept = step->rows.size();
  const size_t results = kept * sizeof(DrawResult), top = Size(step->draws.top);
  DrawParamsTable draws = step->device.draws;
  draws.results = reinterpret_cast<DrawResult*>(step->results.data());
  draws.top_tokens = reinterpret_cast<int32_t*>(step->results.data() + results);
  draws.top_logits = reinterpret_cast<float*>(step->results.data() + results + top * sizeof(int32_t));
  PREFIXD_RETURN_IF_ERROR(Launch(LaunchOf(draws)));
  PREFIXD_RETURN_IF_ERROR(
      runtime_->CopyToHost(Stream::kCompute, step->taken.data(), step->results.data(), step->ResultBytes()));
  if (step->logits_to == nullptr) return Status::Ok();
  return runtime_->CopyToHost(Stream::kCompute, step->logits.data(), logits_.data(),
                              kept * Size(plan_.shape.vocab) * sizeof(float));
}

}  // namespace prefixd::cuda
