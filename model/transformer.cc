#include "model/transformer.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/bytes.h"
#include "base/check.h"
#include "hashing/fingerprint.h"
#include "kernels/numerics.h"
#include "model/rope.h"
#include "model/weights.h"

namespace prefixd {

// Counts the bytes read, out of all bytes to read: each tensor is read once to hash it and once to pack it.
class Transformer::Meter {
 public:
  Meter(const LoadProgress& progress, size_t total)
      : progress_(progress), total_(std::max<size_t>(total, 1)) {}
  void Add(size_t bytes) {
    done_ += bytes;
    if (progress_) progress_(std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_)));
  }

 private:
  const LoadProgress& progress_;
  size_t total_, done_ = 0;
};

namespace {

constexpr size_t kHashedAtOnce = 1 << 20;  // small enough to stay in a CPU cache for a second read

const TensorView& Get(const WeightFiles& files, std::string_view name) {
  const TensorView* tensor = files.Find(name);
  PREFIXD_CHECK(tensor != nullptr) << "CheckWeights lets no model pass without " << name;
  return *tensor;
}

MatrixSource Source(const TensorView& tensor) {
  return {tensor.bytes.data(), *tensor.dtype, static_cast<int>(tensor.shape[0]),
          static_cast<int>(tensor.shape[1])};
}

float Element(const TensorView& tensor, size_t i) {
  const std::byte* at = tensor.bytes.data() + i * DTypeBytes(*tensor.dtype);
  switch (*tensor.dtype) {
    case DType::kF32:
      return GetLittle<float>(at);
    case DType::kF16:
      return numerics::F32FromF16(GetLittle<uint16_t>(at));
    case DType::kBF16:
      break;
  }
  return numerics::F32FromBF16(GetLittle<uint16_t>(at));
}

// Stacks the named tensors into one packed matrix.
Result<std::unique_ptr<Matrix>> Pack(Backend& backend, const WeightFiles& files,
                                     const std::vector<std::string>& names) {
  std::vector<MatrixSource> sources;
  for (const std::string& name : names) sources.push_back(Source(Get(files, name)));
  Result<std::unique_ptr<Matrix>> matrix = backend.Pack(sources);
  if (!matrix.ok()) return matrix.status().WithContext("weights of " + names.front());
  return matrix;
}

Status CheckLimits(const ModelConfig& config, const TransformerLimits& limits) {
  if (limits.context < 1 || limits.max_rows < 1 || limits.max_logit_rows < 1) {
    return InvalidArgument("context, rows and logit rows of a step must be at least 1");
  }
  if (limits.context > config.max_positions) {
    return InvalidArgument("context of " + std::to_string(limits.context) +
                           " tokens: this model was made for " + std::to_string(config.max_positions) + " (" +
                           config.max_positions_reason + ")");
  }
  return Status::Ok();
}

}  // namespace

Transformer::Transformer(const ModelConfig& config, Backend& backend, const TransformerLimits& limits)
    : config_(config), backend_(backend), limits_(limits) {}

Transformer::~Transformer() = default;

Result<std::unique_ptr<Transformer>> Transformer::Create(const ModelConfig& config, const WeightFiles& files,
                                                         Backend& backend, const TransformerLimits& limits,
                                                         const LoadProgress& progress) {
  PREFIXD_RETURN_IF_ERROR(CheckLimits(config, limits));
  PREFIXD_RETURN_IF_ERROR(CheckWeights(config, files));
  std::unique_ptr<Transformer> model(new Transformer(config, backend, limits));
  PREFIXD_RETURN_IF_ERROR(model->AllocateActivations());
  PREFIXD_RETURN_IF_ERROR(model->LoadWeights(files, progress));
  return model;
}

KvLayout Transformer::kv_layout(int block_tokens, DType dtype) const {
  return {config_.layers, config_.kv_heads, config_.head_dim, block_tokens, dtype};
}

Result<float*> Transformer::AllocateFloats(size_t rows, size_t width, size_t* counter) {
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, backend_.Allocate(rows * width * sizeof(float)));
  *counter += buffer->bytes();
  buffers_.push_back(std::move(buffer));
  return buffers_.back()->f32();
}

size_t Transformer::ActivationBytes(const ModelConfig& c, const TransformerLimits& limits) {
  const size_t row = 2 * c.hidden + 2 * c.QueryWidth() + 2 * c.KvWidth() + 3 * c.intermediate;
  const size_t logit_row = c.hidden + c.QueryWidth() + c.vocab;
  return (row * limits.max_rows + logit_row * limits.max_logit_rows) * sizeof(float);
}

Status Transformer::AllocateActivations() {
  struct Need {
    float** pointer;
    int rows, width;
  };
  const int rows = limits_.max_rows;
  const int logit_rows = limits_.max_logit_rows;
  const Need needs[] = {
      {&x_, rows, config_.hidden},
      {&normed_, rows, config_.hidden},
      {&qkv_, rows, config_.QueryWidth() + 2 * config_.KvWidth()},
      {&attention_, rows, config_.QueryWidth()},
      {&gate_up_, rows, 2 * config_.intermediate},
      {&activated_, rows, config_.intermediate},
      {&last_x_, logit_rows, config_.hidden},
      {&last_attention_, logit_rows, config_.QueryWidth()},
      {&logits_, logit_rows, config_.vocab},
  };
  for (const Need& need : needs) {
    Result<float*> floats = AllocateFloats(need.rows, need.width, &activation_bytes_);
    if (!floats.ok()) return floats.status().WithContext("activations of " + std::to_string(rows) + " rows");
    *need.pointer = *floats;
  }
  PREFIXD_CHECK(activation_bytes_ == ActivationBytes(config_, limits_))
      << "the memory plan counts on that sum";
  return Status::Ok();
}

// Hashes every tensor and refuses one that holds NaN or infinite values.
Status Transformer::ReadWeights(const WeightFiles& files, Meter& meter) {
  WeightsHasher hasher;
  for (const TensorView& tensor : files.tensors()) {
    hasher.BeginTensor(tensor.name, tensor.dtype_name, tensor.shape);
    for (size_t at = 0; at < tensor.bytes.size(); at += kHashedAtOnce) {
      const auto piece = tensor.bytes.subspan(at, std::min(kHashedAtOnce, tensor.bytes.size() - at));
      hasher.Update(piece);
      if (tensor.dtype.has_value() && !AllFinite(piece, *tensor.dtype)) {
        return Corrupt("tensor '" + tensor.name +
                       "' holds NaN or infinite values; its file is damaged, or "
                       "was saved in a dtype too small for it");
      }
    }
    meter.Add(tensor.bytes.size());
  }
  weights_hash_ = hasher.Finish();
  return Status::Ok();
}

Status Transformer::LoadMatrices(const WeightFiles& files, Meter& meter) {
  const auto pack = [&](std::unique_ptr<Matrix>* matrix, const std::vector<std::string>& names) -> Status {
    PREFIXD_ASSIGN_OR_RETURN(*matrix, Pack(backend_, files, names));
    weight_bytes_ += (*matrix)->bytes();
    for (const std::string& name : names) meter.Add(Get(files, name).bytes.size());
    return Status::Ok();
  };
  PREFIXD_RETURN_IF_ERROR(pack(&embedding_, {std::string(kEmbeddingWeight)}));
  if (!config_.tied_embeddings) PREFIXD_RETURN_IF_ERROR(pack(&head_, {std::string(kHeadWeight)}));
  for (int l = 0; l < config_.layers; ++l) {
    Layer& layer = layers_[l];
    const auto name = [l](std::string_view part) { return LayerWeight(l, part); };
    PREFIXD_RETURN_IF_ERROR(
        pack(&layer.qkv, {name("self_attn.q_proj"), name("self_attn.k_proj"), name("self_attn.v_proj")}));
    PREFIXD_RETURN_IF_ERROR(pack(&layer.out, {name("self_attn.o_proj")}));
    PREFIXD_RETURN_IF_ERROR(pack(&layer.gate_up, {name("mlp.gate_proj"), name("mlp.up_proj")}));
    PREFIXD_RETURN_IF_ERROR(pack(&layer.down, {name("mlp.down_proj")}));
  }
  return Status::Ok();
}

// Loads norms and biases as f32, one after the other, into one buffer.
Status Transformer::LoadVectors(const WeightFiles& files) {
  struct Place {
    const float** pointer;
    size_t offset;
  };
  std::vector<Place> places;
  std::vector<float> values;
  const auto add = [&](const float** pointer, const std::vector<std::string>& names) {
    places.push_back({pointer, values.size()});
    for (const std::string& name : names) {
      const TensorView& tensor = Get(files, name);
      for (int64_t i = 0; i < tensor.shape[0]; ++i) values.push_back(Element(tensor, i));
    }
  };
  for (int l = 0; l < config_.layers; ++l) {
    Layer& layer = layers_[l];
    const auto weight = [l](std::string_view part) { return LayerWeight(l, part); };
    const auto bias = [l](std::string_view part) { return LayerBias(l, part); };
    add(&layer.input_norm, {weight("input_layernorm")});
    add(&layer.attention_norm, {weight("post_attention_layernorm")});
    if (config_.qk_norm) {
      add(&layer.q_norm, {weight("self_attn.q_norm")});
      add(&layer.k_norm, {weight("self_attn.k_norm")});
    }
    if (config_.qkv_bias) {
      add(&layer.qkv_bias, {bias("self_attn.q_proj"), bias("self_attn.k_proj"), bias("self_attn.v_proj")});
    }
    if (config_.output_bias) add(&layer.out_bias, {bias("self_attn.o_proj")});
    if (config_.mlp_bias) {
      add(&layer.gate_up_bias, {bias("mlp.gate_proj"), bias("mlp.up_proj")});
      add(&layer.down_bias, {bias("mlp.down_proj")});
    }
  }
  add(&final_norm_, {std::string(kFinalNormWeight)});
  PREFIXD_ASSIGN_OR_RETURN(const float* at, AllocateFloats(values.size(), 1, &weight_bytes_));
  backend_.Upload(*buffers_.back(), 0, std::as_bytes(std::span(values)));
  for (const Place& place : places) *place.pointer = at + place.offset;
  return Status::Ok();
}

Status Transformer::LoadWeights(const WeightFiles& files, const LoadProgress& progress) {
  Meter meter(progress, 2 * files.total_bytes());
  layers_.resize(config_.layers);
  PREFIXD_RETURN_IF_ERROR(ReadWeights(files, meter));
  PREFIXD_RETURN_IF_ERROR(LoadMatrices(files, meter));
  PREFIXD_RETURN_IF_ERROR(LoadVectors(files));
  PREFIXD_ASSIGN_OR_RETURN(rope_table_, AllocateFloats(limits_.context, config_.head_dim, &weight_bytes_));
  const std::vector<float> table = RopeTable(config_.rope, config_.head_dim, limits_.context);
  backend_.Upload(*buffers_.back(), 0, std::as_bytes(std::span(table)));
  return Status::Ok();
}

void Transformer::CheckStep(const BatchView& batch, std::span<const int> logit_rows,
                            const KvPool& pool) const {
  PREFIXD_CHECK(batch.rows() >= 1 && batch.rows() <= limits_.max_rows) << batch.rows() << " rows";
  PREFIXD_CHECK(static_cast<int>(logit_rows.size()) <= std::min(batch.rows(), limits_.max_logit_rows))
      << logit_rows.size() << " logit rows of " << batch.rows();
  for (const int row : logit_rows) PREFIXD_CHECK(row >= 0 && row < batch.rows()) << row;
  for (const SequenceSpan& sequence : batch.sequences) {
    PREFIXD_CHECK(sequence.position + sequence.rows <= limits_.context)
        << sequence.position << " + " << sequence.rows;
  }
  PREFIXD_CHECK(pool.layout() == kv_layout(pool.layout().block_tokens, pool.layout().dtype))
      << "a pool of another model";
}

// Stores K and V of the rows and writes the result of attention into attention_.
void Transformer::Attend(int l, int rows, KvPool& pool) {
  const Layer& layer = layers_[l];
  const int q_width = config_.QueryWidth();
  const int kv_width = config_.KvWidth();
  const int stride = q_width + 2 * kv_width;
  float* q = qkv_;
  float* k = q + q_width;
  float* v = k + kv_width;
  const AttentionParams params{.heads = config_.heads,
                               .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim)),
                               .window = config_.windows[l]};
  backend_.RmsNorm(x_, layer.input_norm, config_.rms_eps, rows, config_.hidden, normed_);
  backend_.Gemm(*layer.qkv, normed_, rows, qkv_, GemmOutput::kStore);
  if (layer.qkv_bias != nullptr) backend_.AddBias(layer.qkv_bias, rows, stride, qkv_);
  if (config_.qk_norm) {
    backend_.HeadRmsNorm(q, stride, config_.heads, config_.head_dim, layer.q_norm, config_.rms_eps);
    backend_.HeadRmsNorm(k, stride, config_.kv_heads, config_.head_dim, layer.k_norm, config_.rms_eps);
  }
  backend_.Rope(q, stride, config_.heads, config_.head_dim, rope_table_);
  backend_.Rope(k, stride, config_.kv_heads, config_.head_dim, rope_table_);
  backend_.StoreKv(k, v, stride, l, pool);
  backend_.Attention(q, stride, params, l, pool, attention_);
}

// Computes the rest of a layer: adds the outputs of `attention` and the gated MLP to the residual stream x.
void Transformer::FeedForward(const Layer& layer, const float* attention, int rows, float* x) {
  const int hidden = config_.hidden;
  const int intermediate = config_.intermediate;
  backend_.Gemm(*layer.out, attention, rows, x, GemmOutput::kAccumulate);
  if (layer.out_bias != nullptr) backend_.AddBias(layer.out_bias, rows, hidden, x);
  backend_.RmsNorm(x, layer.attention_norm, config_.rms_eps, rows, hidden, normed_);
  backend_.Gemm(*layer.gate_up, normed_, rows, gate_up_, GemmOutput::kStore);
  if (layer.gate_up_bias != nullptr) backend_.AddBias(layer.gate_up_bias, rows, 2 * intermediate, gate_up_);
  backend_.GatedActivation(config_.activation, gate_up_, rows, intermediate, activated_);
  backend_.Gemm(*layer.down, activated_, rows, x, GemmOutput::kAccumulate);
  if (layer.down_bias != nullptr) backend_.AddBias(layer.down_bias, rows, hidden, x);
}

Result<const float*> Transformer::Forward(const BatchView& batch, std::span<const int> logit_rows,
                                          KvPool& pool) {
  CheckStep(batch, logit_rows, pool);
  const int rows = batch.rows();
  const int last = config_.layers - 1;
  backend_.BeginStep(batch);
  backend_.Embed(*embedding_, x_);
  for (int l = 0; l < last; ++l) {
    Attend(l, rows, pool);
    FeedForward(layers_[l], attention_, rows, x_);
  }
  Attend(last, rows, pool);
  if (logit_rows.empty()) {
    // After this call the caller uses the stored KV, so an error must be reported now.
    PREFIXD_RETURN_IF_ERROR(backend_.Synchronize());
    return nullptr;
  }

  // After the last KV is stored, only the rows that need logits are computed.
  const int kept = static_cast<int>(logit_rows.size());
  backend_.GatherRows(x_, logit_rows, config_.hidden, last_x_);
  backend_.GatherRows(attention_, logit_rows, config_.QueryWidth(), last_attention_);
  FeedForward(layers_[last], last_attention_, kept, last_x_);
  backend_.RmsNorm(last_x_, final_norm_, config_.rms_eps, kept, config_.hidden, normed_);
  backend_.Gemm(head_ ? *head_ : *embedding_, normed_, kept, logits_, GemmOutput::kStore);
  const size_t bytes = static_cast<size_t>(kept) * config_.vocab * sizeof(float);
  PREFIXD_ASSIGN_OR_RETURN(const void* host, backend_.ToHost(logits_, bytes));
  return static_cast<const float*>(host);
}

}  // namespace prefixd
