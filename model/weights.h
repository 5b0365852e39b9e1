// Which tensors a model needs, and whether a folder has them. Pure functions; any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/config.h"
#include "model/safetensors.h"

namespace prefixd {

inline constexpr std::string_view kEmbeddingWeight = "model.embed_tokens.weight";
inline constexpr std::string_view kFinalNormWeight = "model.norm.weight";
inline constexpr std::string_view kHeadWeight = "lm_head.weight";

// "model.layers.<layer>.<part>.weight" and ".bias"; parts of a layer: input_layernorm,
// self_attn.{q,k,v,o}_proj, self_attn.{q,k}_norm, post_attention_layernorm, mlp.{gate,up,down}_proj.
std::string LayerWeight(int layer, std::string_view part);
std::string LayerBias(int layer, std::string_view part);

struct WeightSpec {
  std::string name;
  std::vector<int64_t> shape;  // [outputs, inputs], or [width] of a norm or a bias
};

// Everything the forward pass reads. With tied embeddings there is no lm_head.
std::vector<WeightSpec> RequiredWeights(const ModelConfig& config);

int64_t ParameterCount(const ModelConfig& config);

// ok when every required tensor is there with its shape and a dtype that kernels read; matrices that are
// stacked (q, k, v; gate, up) share theirs. kCorrupt names what is missing or of another shape, kUnsupported
// the dtype, or an lm_head that differs from the embedding which config.json says it is tied to. Tensors that
// no one reads are logged, once, unless they are known to be of no use.
Status CheckWeights(const ModelConfig& config, const WeightFiles& files);

// Whether no element is NaN or infinite. bytes: whole elements, of any alignment.
bool AllFinite(std::span<const std::byte> bytes, DType dtype);

}  // namespace prefixd
