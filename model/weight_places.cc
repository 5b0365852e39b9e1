#include "model/weight_places.h"

#include <string_view>
#include <utility>

#include "model/weights.h"

namespace prefixd {
namespace {

// A vector: where the weights keep the pointer to it, and the tensors that are one after the other in it.
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

}  // namespace

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

WeightShapes::WeightShapes(const ModelConfig& config) {
  for (WeightSpec& spec : RequiredWeights(config)) shapes_.emplace(std::move(spec.name), spec.shape);
}

int WeightShapes::Rows(std::span<const std::string> tensors) const {
  int64_t rows = 0;
  for (const std::string& name : tensors) rows += shapes_.at(name)[0];
  return static_cast<int>(rows);
}

int WeightShapes::Cols(std::span<const std::string> tensors) const {
  return static_cast<int>(shapes_.at(tensors.front())[1]);
}

WeightVectors::WeightVectors(const ModelConfig& config, ModelWeights* weights) {
  const WeightShapes shapes(config);
  for (const VectorPlace& place : VectorsOf(config, weights)) {
    vectors_.push_back({place.vector, values_.size()});
    for (const std::string& name : place.tensors) {
      begins_.emplace(name, values_.size());
      values_.resize(values_.size() + static_cast<size_t>(shapes.Rows({&name, 1})));
    }
  }
}

float* WeightVectors::Find(const std::string& tensor) {
  const auto at = begins_.find(tensor);
  return at == begins_.end() ? nullptr : values_.data() + at->second;
}

void WeightVectors::Place(const float* values) const {
  for (const Vector& vector : vectors_) *vector.pointer = values + vector.begin;
}

}  // namespace prefixd
