// What config.json says about a model, reduced to what the forward pass needs. A config that asks for
// anything else is refused by name: a model is computed exactly or not at all. Plain values; any thread.
//
// Invariants of a ModelConfig that ParseModelConfig returned
//   1. Every size lies within kConfigLimits, so that elements, bytes and parameters count without overflow.
//   2. heads is a multiple of kv_heads; head_dim is even; eos and bos lie in the vocabulary.
//   3. windows has one entry per layer, each 0 or below max_positions.
//   4. Two configs with the same CanonicalArchitecture compute the same function of (weights, tokens).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "kernels/activation.h"
#include "kernels/kv_layout.h"
#include "model/rope_config.h"

namespace prefixd {

struct ModelConfig {
  std::string model_type;  // a row of the table of architectures: "llama"
  int hidden = 0;
  int layers = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;  // heads * head_dim need not equal hidden
  int intermediate = 0;
  int vocab = 0;
  float rms_eps = 0;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool output_bias = false;  // of the projection after attention
  bool mlp_bias = false;
  bool qk_norm = false;  // queries and keys are normalised per head
  Activation activation = Activation::kSilu;
  std::vector<int> windows;  // per layer: how many positions a token sees, itself the last; 0: all
  RopeConfig rope;
  int max_positions = 0;             // context that the model and its rope admit
  std::string max_positions_reason;  // where that number comes from, for messages
  std::optional<DType> dtype;        // of the weights, as announced; the tensors themselves decide
  std::optional<TokenId> bos;
  std::vector<TokenId> eos;

  int QueryWidth() const { return heads * head_dim; }
  int KvWidth() const { return kv_heads * head_dim; }
};

struct ConfigLimits {
  int hidden = 1 << 16;
  int layers = 1 << 10;
  int heads = 1 << 10;
  int head_dim = 1 << 10;
  int intermediate = 1 << 18;
  int vocab = 1 << 22;
  int max_positions = 1 << 26;
};
inline constexpr ConfigLimits kConfigLimits;

// kCorrupt: not a JSON object. kInvalidArgument: a value that makes no sense. kUnsupported: a model or a
// feature that prefixd does not compute. The message begins with "config.json: " and names key and value.
Result<ModelConfig> ParseModelConfig(std::string_view config_json);

// The value of `key`: one token id, an array of them, or missing (empty). Every id is in [0, vocab).
Result<std::vector<TokenId>> ParseTokenIds(const JsonFields& fields, std::string_view key, int vocab);

// "LlamaForCausalLM, ...": for messages and `validate`.
std::string SupportedArchitectures();

// One line with everything that enters the forward pass besides the weights; part of the model fingerprint.
std::string CanonicalArchitecture(const ModelConfig& config);

// What sets this model apart, in words: names and texts for a person. `validate` prints them.
std::vector<std::pair<std::string, std::string>> DescribeModel(const ModelConfig& config);

// Bytes of K and V that one token takes in all layers.
size_t KvBytesPerToken(const ModelConfig& config, DType dtype);

}  // namespace prefixd
