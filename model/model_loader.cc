#include "model/model_loader.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "hashing/fingerprint.h"
#include "kernels/dummy_weights.h"
#include "kernels/numerics.h"
#include "model/rope.h"
#include "model/weights.h"

namespace prefixd {
namespace {

// Counts the bytes done, out of all there are to do.
class Meter {
 public:
  Meter(const LoadProgress& progress, size_t total)
      : progress_(progress), total_(std::max<size_t>(total, 1)) {}
  void Add(size_t bytes) {
    done_ += bytes;
    if (progress_) progress_(std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_)));
  }
  void Finish() { Add(total_); }  // what is not counted apart is done, too

 private:
  const LoadProgress& progress_;
  size_t total_, done_ = 0;
};

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

// The matrices of a model: where the plan keeps each of them, and the tensors that are stacked in it.
struct MatrixPlace {
  std::unique_ptr<Matrix>* matrix;
  std::vector<std::string> tensors;
};

std::vector<MatrixPlace> MatricesOf(const ModelConfig& config, ModelWeights* weights) {
  std::vector<MatrixPlace> places;
  places.push_back({&weights->embedding, {std::string(kEmbeddingWeight)}});
  if (!config.tied_embeddings) places.push_back({&weights->head, {std::string(kHeadWeight)}});
  for (int l = 0; l < config.layers; ++l) {
    LayerWeights& layer = weights->layers[static_cast<size_t>(l)];
    const auto name = [l](std::string_view part) { return LayerWeight(l, part); };
    places.push_back(
        {&layer.qkv, {name("self_attn.q_proj"), name("self_attn.k_proj"), name("self_attn.v_proj")}});
    places.push_back({&layer.out, {name("self_attn.o_proj")}});
    places.push_back({&layer.gate_up, {name("mlp.gate_proj"), name("mlp.up_proj")}});
    places.push_back({&layer.down, {name("mlp.down_proj")}});
  }
  return places;
}

// The vectors of a model, in the same way. They are one after the other in one buffer.
struct VectorPlace {
  const float** vector;
  std::vector<std::string> tensors;
};

std::vector<VectorPlace> VectorsOf(const ModelConfig& config, ModelWeights* weights) {
  std::vector<VectorPlace> places;
  const auto add = [&](const float** vector, std::vector<std::string> tensors) {
    places.push_back({vector, std::move(tensors)});
  };
  for (int l = 0; l < config.layers; ++l) {
    LayerWeights& layer = weights->layers[static_cast<size_t>(l)];
    const auto weight = [l](std::string_view part) { return LayerWeight(l, part); };
    const auto bias = [l](std::string_view part) { return LayerBias(l, part); };
    add(&layer.input_norm, {weight("input_layernorm")});
    add(&layer.attention_norm, {weight("post_attention_layernorm")});
    if (config.qk_norm) {
      add(&layer.q_norm, {weight("self_attn.q_norm")});
      add(&layer.k_norm, {weight("self_attn.k_norm")});
    }
    if (config.qkv_bias) {
      add(&layer.qkv_bias, {bias("self_attn.q_proj"), bias("self_attn.k_proj"), bias("self_attn.v_proj")});
    }
    if (config.output_bias) add(&layer.out_bias, {bias("self_attn.o_proj")});
    if (config.mlp_bias) {
      add(&layer.gate_up_bias, {bias("mlp.gate_proj"), bias("mlp.up_proj")});
      add(&layer.down_bias, {bias("mlp.down_proj")});
    }
  }
  add(&weights->final_norm, {std::string(kFinalNormWeight)});
  return places;
}

// The shapes of the tensors, which CheckWeights has found in the files.
class Shapes {
 public:
  explicit Shapes(const ModelConfig& config) {
    for (WeightSpec& spec : RequiredWeights(config)) shapes_.emplace(std::move(spec.name), spec.shape);
  }
  // Of tensors that are stacked.
  int Rows(std::span<const std::string> tensors) const {
    int64_t rows = 0;
    for (const std::string& name : tensors) rows += shapes_.at(name)[0];
    return static_cast<int>(rows);
  }
  int Cols(std::span<const std::string> tensors) const {
    return static_cast<int>(shapes_.at(tensors.front())[1]);
  }

 private:
  std::map<std::string, std::vector<int64_t>> shapes_;
};

ModelWeights EmptyWeights(const ModelConfig& config) {
  ModelWeights weights;
  weights.layers.resize(static_cast<size_t>(config.layers));
  return weights;
}

Status CheckContext(const ModelConfig& config, int context) {
  if (context < 1) return InvalidArgument("context must be at least 1");
  if (context > config.max_positions) {
    return InvalidArgument("context of " + std::to_string(context) + " tokens: this model was made for " +
                           std::to_string(config.max_positions) + " (" + config.max_positions_reason + ")");
  }
  return Status::Ok();
}

// Hashes every tensor and refuses one that holds NaN or infinite values.
Result<BlockKey> ReadWeights(const WeightFiles& files, Meter& meter) {
  WeightsHasher hasher;
  for (const TensorView& tensor : files.tensors()) {
    hasher.BeginTensor(tensor.name, tensor.dtype_name, tensor.shape);
    for (size_t at = 0; at < tensor.bytes.size(); at += kHashedAtOnce) {
      const auto piece = tensor.bytes.subspan(at, std::min(kHashedAtOnce, tensor.bytes.size() - at));
      hasher.Update(piece);
      meter.Add(piece.size());
      if (tensor.dtype.has_value() && !AllFinite(piece, *tensor.dtype)) {
        return Corrupt(
            "tensor '" + tensor.name +
            "' holds NaN or infinite values: its file is damaged, or was saved in a dtype too small "
            "for it; download it again, or save the model in BF16 or F32");
      }
    }
  }
  return hasher.Finish();
}

Status LoadMatrices(const ModelConfig& config, const WeightFiles& files, Backend& backend, Meter& meter,
                    ModelWeights* weights) {
  for (const MatrixPlace& place : MatricesOf(config, weights)) {
    std::vector<MatrixSource> sources;
    for (const std::string& name : place.tensors) sources.push_back(Source(Get(files, name)));
    Result<std::unique_ptr<Matrix>> matrix = backend.Pack(sources);
    if (!matrix.ok()) return matrix.status().WithContext("weights of " + place.tensors.front());
    *place.matrix = std::move(*matrix);
    weights->bytes += (*place.matrix)->bytes();
    for (const std::string& name : place.tensors) {
      files.DropPages(Get(files, name).bytes);  // so that files and packed weights are never in memory whole
      meter.Add(Get(files, name).bytes.size());
    }
  }
  return Status::Ok();
}

// Copies floats into a new buffer of the plan. Returns where they are.
Result<const float*> UploadFloats(std::span<const float> values, Backend& backend, ModelWeights* weights) {
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, backend.Allocate(values.size_bytes()));
  backend.Upload(*buffer, 0, std::as_bytes(values));
  weights->bytes += buffer->bytes();
  weights->buffers.push_back(std::move(buffer));
  return static_cast<const float*>(weights->buffers.back()->f32());
}

// Loads norms and biases as f32. `append` appends the elements of a tensor to a vector.
template <typename Append>
Status LoadVectors(const ModelConfig& config, Backend& backend, const Append& append, ModelWeights* weights) {
  const std::vector<VectorPlace> places = VectorsOf(config, weights);
  std::vector<float> values;
  std::vector<size_t> offsets;
  for (const VectorPlace& place : places) {
    offsets.push_back(values.size());
    for (const std::string& name : place.tensors) append(name, &values);
  }
  PREFIXD_ASSIGN_OR_RETURN(const float* at, UploadFloats(values, backend, weights));
  for (size_t i = 0; i < places.size(); ++i) *places[i].vector = at + offsets[i];
  return Status::Ok();
}

// Loads the table of `context` positions, which is the last part of the weights. `planned` are the bytes of
// all.
Status LoadRope(const ModelConfig& config, Backend& backend, int context, size_t planned,
                ModelWeights* weights) {
  const std::vector<float> rope = RopeTable(config.rope, config.head_dim, context);
  PREFIXD_ASSIGN_OR_RETURN(weights->rope, UploadFloats(rope, backend, weights));
  weights->positions = context;
  PREFIXD_CHECK(weights->bytes == planned) << weights->bytes << ", but the memory plan counts on " << planned;
  return Status::Ok();
}

// Each has seeds of its own. Products of a row with `cols` numbers, uniform in [-largest, largest), keep the
// size of the row: the variance of such a number is largest^2 / 3.
Status MakeMatrices(const ModelConfig& config, Backend& backend, Meter& meter, ModelWeights* weights) {
  const Shapes shapes(config);
  uint64_t seed = 0;
  for (const MatrixPlace& place : MatricesOf(config, weights)) {
    const int cols = shapes.Cols(place.tensors);
    Result<std::unique_ptr<Matrix>> matrix =
        backend.MakeDummy({.dtype = DummyDType(config),
                           .rows = shapes.Rows(place.tensors),
                           .cols = cols,
                           .seed = seed++,
                           .largest = std::sqrt(3.0f / static_cast<float>(cols))});
    if (!matrix.ok()) return matrix.status().WithContext("weights of " + place.tensors.front());
    *place.matrix = std::move(*matrix);
    weights->bytes += (*place.matrix)->bytes();
    meter.Add((*place.matrix)->bytes());
  }
  return Status::Ok();
}

// `dtype_of` returns the type of a tensor.
template <typename DTypeOf>
size_t PlannedBytes(const ModelConfig& config, const Backend& backend, int context, const DTypeOf& dtype_of) {
  const Shapes shapes(config);
  ModelWeights weights = EmptyWeights(config);
  size_t bytes = static_cast<size_t>(context) * static_cast<size_t>(config.head_dim) * sizeof(float);
  for (const MatrixPlace& place : MatricesOf(config, &weights)) {
    bytes += backend.PackedBytes(shapes.Rows(place.tensors), shapes.Cols(place.tensors),
                                 dtype_of(place.tensors.front()));
  }
  for (const VectorPlace& place : VectorsOf(config, &weights))
    bytes += static_cast<size_t>(shapes.Rows(place.tensors)) * sizeof(float);
  return bytes;
}

}  // namespace

ModelShape ShapeOf(const ModelConfig& config) {
  return {.layers = config.layers,
          .hidden = config.hidden,
          .intermediate = config.intermediate,
          .heads = config.heads,
          .kv_heads = config.kv_heads,
          .head_dim = config.head_dim,
          .vocab = config.vocab,
          .rms_eps = config.rms_eps,
          .activation = config.activation,
          .windows = config.windows};
}

Result<LoadedPlan> LoadPlan(const ModelConfig& config, const WeightFiles& files, Backend& backend,
                            int context, const LoadProgress& progress) {
  PREFIXD_RETURN_IF_ERROR(CheckContext(config, context));
  PREFIXD_RETURN_IF_ERROR(CheckWeights(config, files));
  Meter meter(progress, 2 * files.total_bytes());  // once to hash, once to pack
  LoadedPlan loaded;
  loaded.plan = {ShapeOf(config), EmptyWeights(config)};
  ModelWeights* weights = &loaded.plan.weights;
  PREFIXD_ASSIGN_OR_RETURN(loaded.weights_hash, ReadWeights(files, meter));
  PREFIXD_RETURN_IF_ERROR(LoadMatrices(config, files, backend, meter, weights));
  const auto append = [&files](const std::string& name, std::vector<float>* values) {
    const TensorView& tensor = Get(files, name);
    for (int64_t i = 0; i < tensor.shape[0]; ++i) values->push_back(Element(tensor, static_cast<size_t>(i)));
  };
  PREFIXD_RETURN_IF_ERROR(LoadVectors(config, backend, append, weights));
  PREFIXD_RETURN_IF_ERROR(files.CheckUnchanged());
  PREFIXD_RETURN_IF_ERROR(
      LoadRope(config, backend, context, PlannedWeightBytes(config, files, backend, context), weights));
  meter.Finish();
  return loaded;
}

Result<LoadedPlan> LoadDummyPlan(const ModelConfig& config, Backend& backend, int context,
                                 const LoadProgress& progress) {
  PREFIXD_RETURN_IF_ERROR(CheckContext(config, context));
  const size_t planned = PlannedDummyBytes(config, backend, context);
  Meter meter(progress, planned);
  LoadedPlan loaded;
  loaded.plan = {ShapeOf(config), EmptyWeights(config)};
  loaded.weights_hash = DummyHash(config);
  ModelWeights* weights = &loaded.plan.weights;
  PREFIXD_RETURN_IF_ERROR(MakeMatrices(config, backend, meter, weights));
  const Shapes shapes(config);
  const auto append = [&shapes](const std::string& name, std::vector<float>* values) {
    const auto size = static_cast<size_t>(shapes.Rows({&name, 1}));
    values->insert(values->end(), size, name.ends_with(".bias") ? 0.0f : 1.0f);
  };
  PREFIXD_RETURN_IF_ERROR(LoadVectors(config, backend, append, weights));
  PREFIXD_RETURN_IF_ERROR(LoadRope(config, backend, context, planned, weights));
  meter.Finish();
  return loaded;
}

DType DummyDType(const ModelConfig& config) { return config.dtype.value_or(DType::kF32); }

BlockKey DummyHash(const ModelConfig& config) {
  std::vector<WeightSpec> specs = RequiredWeights(config);
  std::ranges::sort(specs, {}, &WeightSpec::name);
  // No file has such a dtype.
  const std::string dtype = std::string(kDummyWeightsName) + " " + std::string(DTypeName(DummyDType(config)));
  WeightsHasher hasher;
  for (const WeightSpec& spec : specs) hasher.BeginTensor(spec.name, dtype, spec.shape);
  return hasher.Finish();
}

size_t PlannedWeightBytes(const ModelConfig& config, const WeightFiles& files, const Backend& backend,
                          int context) {
  return PlannedBytes(config, backend, context,
                      [&files](const std::string& name) { return *Get(files, name).dtype; });
}

size_t PlannedDummyBytes(const ModelConfig& config, const Backend& backend, int context) {
  return PlannedBytes(config, backend, context, [&config](const std::string&) { return DummyDType(config); });
}

}  // namespace prefixd
