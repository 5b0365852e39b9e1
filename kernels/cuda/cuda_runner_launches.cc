// The launches of a step: what CudaRunner gives to the compute stream between the page of the step and its
// results.
#include <algorithm>
#include <cmath>
#include <optional>

#include "kernels/cuda/cuda_runner.h"

namespace prefixd::cuda {
namespace {

size_t Size(int n) { return static_cast<size_t>(n); }
// Of a warp, that a multiprocessor has at once where it has 255 registers.
constexpr int kMostBlocks = 8;
// All quantised weights multiply activations of one form.
bool SameActivations(WeightFormat a, WeightFormat b) { return a == b || (a.quantized() && b.quantized()); }
// Whether a product may share its launch with what is before and after it.
bool IsPlain(const Matrix& w) { return w.parts().empty() && !FormatOf(w).quantized(); }

}  // namespace

// Into normed_, for weights of a format.
Status CudaRunner::Norm(const float* x, const float* weight, int rows, WeightFormat format) {
  const RmsNormParams params{.x = x,
                             .weight = weight,
                             .out = normed_.data(),
                             .eps = plan_.shape.rms_eps,
                             .rows = rows,
                             .dim = plan_.shape.hidden};
  return Launch(LaunchOf(params, format));
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

Status CudaRunner::AddProduct(const Matrix& w, const void* x, int rows, const float* bias, float* y) {
  GemmParams params = ProductOf(w, x, rows, bias);
  params.y = y;
  params.accumulate = true;
  return products_.Multiply(params, FormatOf(w));
}

// The norm of the rows of a product, for its launch, or made before it.
Result<FewNorm> CudaRunner::NormFor(const GemmParams& product, DType type, const float* x,
                                    const float* weight) {
  const FewNorm norm{.x = x, .weight = weight, .eps = plan_.shape.rms_eps};
  if (FewCanNorm(product, type, norm, runtime_->facts().shared_bytes)) return norm;
  PREFIXD_RETURN_IF_ERROR(Norm(x, weight, product.rows, type));
  return FewNorm{};
}

// Parts of a stack may multiply activations of different forms, one after the other from the same memory.
Status CudaRunner::MultiplyNormed(const Matrix& w, const float* x, const float* weight, int rows,
                                  const float* bias, float* y) {
  std::optional<WeightFormat> normed;  // for these weights
  const auto multiply = [&](const Matrix& part, int first, int stride) {
    const WeightFormat format = FormatOf(part);
    if (!normed || !SameActivations(*normed, format)) PREFIXD_RETURN_IF_ERROR(Norm(x, weight, rows, format));
    normed = format;
    GemmParams params = ProductOf(part, normed_.data(), rows, bias != nullptr ? bias + first : nullptr);
    params.y = y + first;
    params.stride = stride;
    return products_.Multiply(params, format);
  };
  if (w.parts().empty()) return multiply(w, 0, 0);
  int first = 0;
  for (const auto& part : w.parts()) {
    PREFIXD_RETURN_IF_ERROR(multiply(*part, first, w.rows()));
    first += part->rows();
  }
  return Status::Ok();
}

// Makes q of the rows, and stores their K and V.
Status CudaRunner::MakeQkv(const LayerWeights& layer, const QkvParams& append, KvType kv) {
  const auto* const x = reinterpret_cast<const float*>(x_.data());
  if (IsPlain(*layer.qkv)) {
    FewQkvParams few{.product = ProductOf(*layer.qkv, normed_.data(), append.rows, layer.qkv_bias),
                     .norm = {},
                     .append = append};
    const DType type = FormatOf(*layer.qkv).dtype();
    if (CanFuse(few, type, kv) && !products_.Computes(few.product, type)) {
      PREFIXD_ASSIGN_OR_RETURN(few.norm, NormFor(few.product, type, x, layer.input_norm));
      return Launch(LaunchOf(few, type));
    }
  }
  PREFIXD_RETURN_IF_ERROR(MultiplyNormed(*layer.qkv, x, layer.input_norm, append.rows, layer.qkv_bias,
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
    const size_t shared = LaunchOf(part, step.pool->layout().type, facts).shared_bytes;
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
  PREFIXD_RETURN_IF_ERROR(MakeQkv(layer, append, layout.type));
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
  for (const AttentionParams& part : AttentionParts(step, window, attend)) {
    if (part.unit_count > 0) PREFIXD_RETURN_IF_ERROR(Launch(LaunchOf(part, layout.type, runtime_->facts())));
  }
  const FoldParams fold{.partials = attend.partials,
                        .places = units.places,
                        .out = attention_.data(),
                        .rows = rows,
                        .heads = s.heads,
                        .head_dim = s.head_dim};
  return Launch(LaunchOf(fold, FormatOf(*layer.out)));
}

// Writes activation(gate) * up of the rows x into activated_.
Status CudaRunner::MakeActivated(const LayerWeights& layer, const float* x, int rows) {
  auto* const gate_up = reinterpret_cast<float*>(gate_up_.data());
  const ActivationParams activate{.x = gate_up,
                                  .out = activated_.data(),
                                  .activation = plan_.shape.activation,
                                  .rows = rows,
                                  .width = plan_.shape.intermediate};
  const WeightFormat down = FormatOf(*layer.down);
  if (IsPlain(*layer.gate_up) && FormatOf(*layer.gate_up) == down) {
    FewGateParams few{.product = ProductOf(*layer.gate_up, normed_.data(), rows, layer.gate_up_bias),
                      .norm = {},
                      .activate = activate};
    const DType type = down.dtype();
    if (IsFew(few.product, type) && !products_.Computes(few.product, type)) {
      PREFIXD_ASSIGN_OR_RETURN(few.norm, NormFor(few.product, type, x, layer.attention_norm));
      return Launch(LaunchOf(few, type));
    }
  }
  PREFIXD_RETURN_IF_ERROR(
      MultiplyNormed(*layer.gate_up, x, layer.attention_norm, rows, layer.gate_up_bias, gate_up));
  return Launch(LaunchOf(activate, down));
}

// Computes the rest of a layer: adds the outputs of `attention` and the gated MLP to the residual stream x.
Status CudaRunner::FeedForward(const LayerWeights& layer, const void* attention, int rows, float* x,
                               Step* step) {
  PREFIXD_RETURN_IF_ERROR(AddProduct(*layer.out, attention, rows, layer.out_bias, x));
  PREFIXD_RETURN_IF_ERROR(MakeActivated(layer, x, rows));
  PREFIXD_RETURN_IF_ERROR(AddProduct(*layer.down, activated_.data(), rows, layer.down_bias, x));
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
  PREFIXD_RETURN_IF_ERROR(Launch(LaunchOf(embed, FormatOf(*weights.embedding))));
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
  const WeightFormat out = FormatOf(*weights.layers.back().out);
  const GatherParams gather_attention{
      .x = attention_.data(),
      .indices = step->device.gathered,
      .out = last_attention_.data(),
      .rows = kept,
      .row_bytes = out.quantized() ? QuantXRowBytes(s.QueryWidth())
                                   : s.QueryWidth() * static_cast<int>(DTypeBytes(out.dtype()))};
  PREFIXD_RETURN_IF_ERROR(Launch(LaunchOf(gather_attention)));
  PREFIXD_RETURN_IF_ERROR(FeedForward(weights.layers.back(), last_attention_.data(), kept, x, step));
  return MultiplyNormed(weights.head ? *weights.head : *weights.embedding, x, weights.final_norm, kept,
                        nullptr, reinterpret_cast<float*>(logits_.data()));
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
