#include "model/weights.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "base/log.h"

namespace prefixd {
namespace {

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "[" : ", ") + std::to_string(size);
  return text.empty() ? "[]" : text + "]";
}

// Tensors that older exporters wrote without need, or a copy of the embedding.
bool IsKnownUseless(std::string_view name) {
  return name.ends_with("rotary_emb.inv_freq") || name == kHeadWeight;
}

// The tensors that the architecture does not read.
std::vector<std::string> Unread(const std::vector<WeightSpec>& required, const WeightFiles& files) {
  std::set<std::string_view> known;
  for (const WeightSpec& spec : required) known.insert(spec.name);
  std::vector<std::string> names;
  for (const TensorView& tensor : files.tensors()) {
    if (!known.contains(tensor.name) && !IsKnownUseless(tensor.name)) names.push_back(tensor.shown_name());
  }
  return names;
}

// Endings with which quantised checkpoints name the parts of a matrix "NAME.weight".
constexpr std::string_view kQuantised[] = {"qweight", "weight_packed", "weight_scale", "weight_scale_inv",
                                           "scales",  "SCB",           "weight.absmax"};

// Says that a matrix is quantised where its parts are there; empty otherwise.
std::string QuantisedHint(const std::string& name, const WeightFiles& files) {
  const std::string stem = name.substr(0, name.rfind('.') + 1);
  for (const std::string_view part : kQuantised) {
    if (files.Find(stem + std::string(part)) != nullptr) {
      return "; '" + stem + std::string(part) +
             "' is there: the weights are quantised, which is not supported; use the model before it was "
             "quantised";
    }
  }
  return "";
}

// The number of the layer in "model.layers.7.x"; -1 where `name` is none of that kind.
int LayerOf(std::string_view name) {
  constexpr std::string_view kStart = "model.layers.";
  int layer = -1;
  if (name.starts_with(kStart))
    std::from_chars(name.data() + kStart.size(), name.data() + name.size(), layer);
  return layer;
}

// One past the last layer of which the files have tensors that are of use.
int64_t LayersIn(const WeightFiles& files) {
  int64_t layers = 0;
  for (const TensorView& tensor : files.tensors()) {
    if (!IsKnownUseless(tensor.name)) layers = std::max(layers, int64_t{LayerOf(tensor.name)} + 1);
  }
  return layers;
}

// Parts of a name with which checkpoints have several matrices in one tensor.
struct Fused {
  std::string_view missing;  // part of the name of the first matrix that is in it
  std::string_view found;    // part of the name of the tensor
  std::string_view what, apart;
};
constexpr Fused kFused[] = {
    {"self_attn.q_proj.", "qkv", "q, k and v", "q_proj, k_proj and v_proj"},
    {"self_attn.q_proj.", "query_key_value", "q, k and v", "q_proj, k_proj and v_proj"},
    {"self_attn.q_proj.", "W_pack", "q, k and v", "q_proj, k_proj and v_proj"},
    {"self_attn.q_proj.", "c_attn", "q, k and v", "q_proj, k_proj and v_proj"},
    {"mlp.gate_proj.", "gate_up", "gate and up", "gate_proj and up_proj"},
};

// Says that the files have other tensors than `name`, one of them `unread`.
std::string OthersHint(const std::string& name, const std::vector<std::string>& unread) {
  for (const Fused& row : kFused) {
    if (name.find(row.missing) == name.npos) continue;
    for (const std::string& other : unread) {
      if (other.find(row.found) == other.npos) continue;
      return "; '" + other + "' is there: it has " + std::string(row.what) +
             " in one tensor, which is not supported; use a version of this model with " +
             std::string(row.apart);
    }
  }
  return "; the files have other names, such as '" + unread.front() +
         "'; use a version of this model in the layout of transformers";
}

// What may explain that tensor `name` is missing.
std::string MissingHint(const ModelConfig& config, const std::vector<WeightSpec>& required,
                        const std::string& name, const WeightFiles& files) {
  if (std::string hint = QuantisedHint(name, files); !hint.empty()) return hint;
  if (name == kHeadWeight) {
    return "; a model without it usually shares the embedding: then set tie_word_embeddings in config.json "
           "to true; otherwise download the folder again";
  }
  if (const int64_t layers = LayersIn(files); layers > 0 && LayerOf(name) >= layers) {
    return "; num_hidden_layers in config.json is " + std::to_string(config.layers) +
           ", but the weights have " + std::to_string(layers) + (layers == 1 ? " layer" : " layers") +
           "; correct it, or download both again";
  }
  const std::vector<std::string> unread = Unread(required, files);
  return unread.empty() ? "; the folder is not complete: download it again" : OthersHint(name, unread);
}

// The keys of config.json that give a matrix its two sizes, or a vector its one.
struct Sizes {
  std::string_view part;
  std::array<std::string_view, 2> keys;
};
constexpr std::string_view kHeads = "num_attention_heads times head_dim";
constexpr std::string_view kKvHeads = "num_key_value_heads times head_dim";
constexpr Sizes kSizes[] = {
    {kEmbeddingWeight, {"vocab_size", "hidden_size"}},
    {kHeadWeight, {"vocab_size", "hidden_size"}},
    {"self_attn.q_proj", {kHeads, "hidden_size"}},
    {"self_attn.k_proj", {kKvHeads, "hidden_size"}},
    {"self_attn.v_proj", {kKvHeads, "hidden_size"}},
    {"self_attn.o_proj", {"hidden_size", kHeads}},
    {"_norm.", {"head_dim", ""}},
    {"norm.", {"hidden_size", ""}},
    {"gate_proj", {"intermediate_size", "hidden_size"}},
    {"up_proj", {"intermediate_size", "hidden_size"}},
    {"down_proj", {"hidden_size", "intermediate_size"}},
};

// " (hidden_size)": the first size of `wanted` that a tensor does not have. Empty where it is not known.
std::string KeyOfSize(const WeightSpec& wanted, const std::vector<int64_t>& shape) {
  size_t i = 0;
  while (i < shape.size() && i < wanted.shape.size() && shape[i] == wanted.shape[i]) ++i;
  if (i >= wanted.shape.size() || shape.size() != wanted.shape.size()) return "";
  for (const Sizes& row : kSizes) {
    if (wanted.name.find(row.part) != wanted.name.npos) return " (" + std::string(row.keys.at(i)) + ")";
  }
  return "";
}

// The same of CheckTensor for a tensor of GGUF files.
Status CheckGgufTensor(const WeightSpec& wanted, const TensorView* tensor, const WeightFiles& files) {
  if (tensor == nullptr)
    return Corrupt(
        "the tensor for " + wanted.name + " " + ShapeText(wanted.shape) +
        " is missing from the file, or has a name that its family does not have; download the file "
        "again, or choose another file of this model");
  const std::string what = files.FileOf(*tensor) + ": tensor '" + tensor->shown_name() + "' has ";
  const bool is_vector = wanted.shape.size() == 1;
  if (!tensor->dtype.has_value() || (is_vector && !tensor->dtype->dtype()))
    return Unsupported(what + "type " + tensor->dtype_name +
                       " (supported: " + (is_vector ? "F32, F16, BF16" : NamesOfStoredTypes()) +
                       "); choose a file of this model in another type, such as Q8_0");
  if (tensor->shape != wanted.shape)
    return Corrupt(what + "shape " + ShapeText(tensor->shape) + ", but the values of the file ask for " +
                   ShapeText(wanted.shape) + "; the file is damaged: download it again");
  return Status::Ok();
}

Status CheckTensor(const ModelConfig& config, const std::vector<WeightSpec>& required,
                   const WeightSpec& wanted, const WeightFiles& files) {
  const TensorView* tensor = files.Find(wanted.name);
  if (files.kind() == WeightFiles::Kind::kGguf) return CheckGgufTensor(wanted, tensor, files);
  if (tensor == nullptr) {
    return Corrupt("tensor '" + wanted.name + "' " + ShapeText(wanted.shape) +
                   " is missing from the *.safetensors files (config.json asks for it)" +
                   MissingHint(config, required, wanted.name, files));
  }
  if (!tensor->dtype.has_value()) {
    const std::string hint = QuantisedHint(wanted.name, files);
    return Unsupported(files.FileOf(*tensor) + ": tensor '" + wanted.name + "' has dtype " +
                       tensor->dtype_name + " (supported: F32, F16, BF16)" +
                       (hint.empty() ? "; use the model before it was quantised or converted" : hint));
  }
  if (tensor->shape != wanted.shape) {
    return Corrupt("tensor '" + wanted.name + "' has shape " + ShapeText(tensor->shape) +
                   ", but config.json asks for " + ShapeText(wanted.shape) +
                   KeyOfSize(wanted, tensor->shape) +
                   "; the two are not of the same model: download both again");
  }
  return Status::Ok();
}

// A tied model may contain its head as a copy of the embedding. If the two differ, some programs use the head
// (transformers 5 unties them) and others ignore it.
Status CheckTiedHead(const WeightFiles& files) {
  const TensorView* head = files.Find(kHeadWeight);
  const TensorView* embedding = files.Find(kEmbeddingWeight);
  if (head == nullptr) return Status::Ok();
  const bool same = head->dtype_name == embedding->dtype_name && head->shape == embedding->shape &&
                    std::ranges::equal(head->bytes, embedding->bytes);
  files.DropPages(head->bytes);
  files.DropPages(embedding->bytes);
  if (same) return Status::Ok();
  return Unsupported("tensor '" + head->name + "' differs from '" + embedding->name +
                     "', though tie_word_embeddings in config.json says they are one; set it to false to use "
                     "both, or remove " +
                     head->name);
}

}  // namespace

std::string LayerWeight(int layer, std::string_view part) {
  return "model.layers." + std::to_string(layer) + "." + std::string(part) + ".weight";
}

std::string LayerBias(int layer, std::string_view part) {
  return "model.layers." + std::to_string(layer) + "." + std::string(part) + ".bias";
}

std::vector<WeightSpec> RequiredWeights(const ModelConfig& c) {
  std::vector<WeightSpec> specs = {{std::string(kEmbeddingWeight), {c.vocab, c.hidden}},
                                   {std::string(kFinalNormWeight), {c.hidden}}};
  if (!c.tied_embeddings) specs.push_back({std::string(kHeadWeight), {c.vocab, c.hidden}});
  for (int l = 0; l < c.layers; ++l) {
    const auto norm = [&](std::string_view part, int width) {
      specs.push_back({LayerWeight(l, part), {width}});
    };
    const auto projection = [&](std::string_view part, int outputs, int inputs, bool bias) {
      specs.push_back({LayerWeight(l, part), {outputs, inputs}});
      if (bias) specs.push_back({LayerBias(l, part), {outputs}});
    };
    norm("input_layernorm", c.hidden);
    projection("self_attn.q_proj", c.QueryWidth(), c.hidden, c.qkv_bias);
    projection("self_attn.k_proj", c.KvWidth(), c.hidden, c.qkv_bias);
    projection("self_attn.v_proj", c.KvWidth(), c.hidden, c.qkv_bias);
    if (c.qk_norm) norm("self_attn.q_norm", c.head_dim);
    if (c.qk_norm) norm("self_attn.k_norm", c.head_dim);
    projection("self_attn.o_proj", c.hidden, c.QueryWidth(), c.output_bias);
    norm("post_attention_layernorm", c.hidden);
    projection("mlp.gate_proj", c.intermediate, c.hidden, c.mlp_bias);
    projection("mlp.up_proj", c.intermediate, c.hidden, c.mlp_bias);
    projection("mlp.down_proj", c.hidden, c.intermediate, c.mlp_bias);
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
  for (const WeightSpec& spec : required) PREFIXD_RETURN_IF_ERROR(CheckTensor(config, required, spec, files));
  if (config.tied_embeddings) PREFIXD_RETURN_IF_ERROR(CheckTiedHead(files));
  const std::vector<std::string> unread = Unread(required, files);
  if (files.kind() == WeightFiles::Kind::kGguf && !unread.empty())
    return Unsupported(
        "tensor '" + unread.front() +
        "' is one that prefixd does not read in this family, so answers would be wrong; use the "
        "original Hugging Face folder of this model");
  if (const int64_t layers = LayersIn(files); layers > config.layers) {
    Log(LogLevel::kWarning,
        "the weights have more layers than num_hidden_layers; answers may be wrong: download both again",
        {{"num_hidden_layers", config.layers}, {"layers", layers}, {"first", unread.front()}});
  } else if (!unread.empty()) {
    Log(LogLevel::kWarning,
        "the weights have tensors that this architecture does not read; check that config.json is theirs",
        {{"count", unread.size()}, {"first", unread.front()}});
  }
  return Status::Ok();
}

}  // namespace prefixd
