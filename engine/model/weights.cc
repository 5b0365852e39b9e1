#include "engine/model/weights.h"

#include <set>

#include "base/log.h"

namespace prefixd {
namespace {

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "[" : ", ") + std::to_string(size);
  return text.empty() ? "[]" : text + "]";
}

Status CheckTensor(const WeightSpec& wanted, const WeightFiles& files) {
  const TensorView* tensor = files.Find(wanted.name);
  if (tensor == nullptr) {
    return Corrupt("tensor '" + wanted.name + "' " + ShapeText(wanted.shape) +
                   " is missing from the *.safetensors files (config.json asks for it)");
  }
  if (tensor->shape != wanted.shape) {
    return Corrupt("tensor '" + wanted.name + "' has shape " + ShapeText(tensor->shape) +
                   ", config.json asks for " + ShapeText(wanted.shape));
  }
  if (!tensor->dtype.has_value()) {
    return Unsupported("tensor '" + wanted.name + "' has dtype " + tensor->dtype_name +
                       " (supported: F32, F16, BF16)");
  }
  return Status::Ok();
}

Status CheckSameType(const WeightFiles& files, int layer, std::initializer_list<std::string_view> parts) {
  const TensorView* first = files.Find(LayerWeight(layer, *parts.begin()));
  for (const std::string_view part : parts) {
    const TensorView* tensor = files.Find(LayerWeight(layer, part));
    if (tensor->dtype != first->dtype) {
      return Unsupported("tensors '" + first->name + "' (" + first->dtype_name + ") and '" + tensor->name +
                         "' (" + tensor->dtype_name + ") have different dtypes; save the model in one");
    }
  }
  return Status::Ok();
}

// Left behind by older exporters, or a copy of the embedding.
bool IsKnownUseless(std::string_view name) {
  return name.ends_with("rotary_emb.inv_freq") || name == kHeadWeight;
}

void WarnOfUnread(const std::vector<WeightSpec>& required, const WeightFiles& files) {
  std::set<std::string_view> known;
  for (const WeightSpec& spec : required) known.insert(spec.name);
  size_t count = 0;
  std::string first;
  for (const TensorView& tensor : files.tensors()) {
    if (known.contains(tensor.name) || IsKnownUseless(tensor.name)) continue;
    if (count++ == 0) first = tensor.name;
  }
  if (count > 0)
    Log(LogLevel::kWarning, "model has tensors that this architecture does not read",
        {{"count", count}, {"first", first}});
}

}  // namespace

std::string LayerWeight(int layer, std::string_view part) {
  return "model.layers." + std::to_string(layer) + "." + std::string(part) + ".weight";
}

std::vector<WeightSpec> RequiredWeights(const ModelConfig& c) {
  std::vector<WeightSpec> specs = {{std::string(kEmbeddingWeight), {c.vocab, c.hidden}},
                                   {std::string(kFinalNormWeight), {c.hidden}}};
  if (!c.tied_embeddings) specs.push_back({std::string(kHeadWeight), {c.vocab, c.hidden}});
  for (int l = 0; l < c.layers; ++l) {
    specs.push_back({LayerWeight(l, "input_layernorm"), {c.hidden}});
    specs.push_back({LayerWeight(l, "self_attn.q_proj"), {c.QueryWidth(), c.hidden}});
    specs.push_back({LayerWeight(l, "self_attn.k_proj"), {c.KvWidth(), c.hidden}});
    specs.push_back({LayerWeight(l, "self_attn.v_proj"), {c.KvWidth(), c.hidden}});
    specs.push_back({LayerWeight(l, "self_attn.o_proj"), {c.hidden, c.QueryWidth()}});
    specs.push_back({LayerWeight(l, "post_attention_layernorm"), {c.hidden}});
    specs.push_back({LayerWeight(l, "mlp.gate_proj"), {c.intermediate, c.hidden}});
    specs.push_back({LayerWeight(l, "mlp.up_proj"), {c.intermediate, c.hidden}});
    specs.push_back({LayerWeight(l, "mlp.down_proj"), {c.hidden, c.intermediate}});
  }
  return specs;
}

int64_t ParameterCount(const ModelConfig& config) {
  int64_t sum = 0;
  for (const WeightSpec& spec : RequiredWeights(config)) {
    int64_t elements = 1;
    for (const int64_t size : spec.shape) elements *= size;
    sum += elements;
  }
  return sum;
}

Status CheckWeights(const ModelConfig& config, const WeightFiles& files) {
  const std::vector<WeightSpec> required = RequiredWeights(config);
  for (const WeightSpec& spec : required) PREFIXD_RETURN_IF_ERROR(CheckTensor(spec, files));
  for (int l = 0; l < config.layers; ++l) {
    PREFIXD_RETURN_IF_ERROR(
        CheckSameType(files, l, {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}));
    PREFIXD_RETURN_IF_ERROR(CheckSameType(files, l, {"mlp.gate_proj", "mlp.up_proj"}));
  }
  WarnOfUnread(required, files);
  return Status::Ok();
}

}  // namespace prefixd
