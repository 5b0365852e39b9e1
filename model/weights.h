// Lists the tensors that a model needs and checks that its weight files have them. Pure functions; any
// thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/config.h"
#include "model/weight_files.h"

namespace prefixd {

inline constexpr std::string_view kEmbeddingWeight = "model.embed_tokens.weight";
inline constexpr std::string_view kFinalNormWeight = "model.norm.weight";
inline constexpr std::string_view kHeadWeight = "lm_head.weight";

// Return the tensor names "model.layers.<layer>.<part>.weight" and "model.layers.<layer>.<part>.bias". The
// parts of a layer are input_layernorm, self_attn.{q,k,v,o}_proj, self_attn.{q,k}_norm,
// post_attention_layernorm and mlp.{gate,up,down}_proj.
std::string LayerWeight(int layer, std::string_view part);
std::string LayerBias(int layer, std::string_view part);

struct WeightSpec {
  std::string name;
  std::vector<int64_t> shape;  // [outputs, inputs]; [width] for a norm or a bias
};

// Returns the tensors that the forward pass reads. With tied embeddings lm_head is not among them.
std::vector<WeightSpec> RequiredWeights(const ModelConfig& config);

int64_t ParameterCount(const ModelConfig& config);

// Returns ok if every required tensor is present with its shape and a type that can be read. kCorrupt: a
// tensor is missing or has another shape. kUnsupported: another type, or an lm_head that differs from the
// embedding although config.json ties the two. If safetensors files have further tensors, logs one warning
// with their number, except for tensors that are known to be of no use. Those of GGUF files are refused
// (kUnsupported): a tensor is all that some of their families differ by.
Status CheckWeights(const ModelConfig& config, const WeightFiles& files);

}  // namespace prefixd
