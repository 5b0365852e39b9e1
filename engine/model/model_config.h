// What config.json says about a model, reduced to what the forward pass needs. A config that asks for
// anything else is refused by name: a model is computed exactly or not at all. Plain values; any thread.
//
// Invariants of a ModelConfig that ParseModelConfig returned
//   1. Every size lies within kConfigLimits, so that elements, bytes and parameters count without overflow.
//   2. heads is a multiple of kv_heads; head_dim is even; eos and bos lie in the vocabulary.
//   3. Two configs with the same CanonicalArchitecture compute the same function of (weights, tokens).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "kernels/kv_layout.h"

namespace prefixd {

enum class RopeType : uint8_t { kDefault, kLinear, kLlama3 };

// Rotary positions. What a type does not use stays at its default, so that equality is equality of the
// function.
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000;
  double factor = 1;           // linear, llama3
  double low_freq_factor = 0;  // llama3
  double high_freq_factor = 0;
  int original_context = 0;

  friend bool operator==(const RopeConfig&, const RopeConfig&) = default;
};

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
  int max_positions = 0;  // context the model was made for
  RopeConfig rope;
  std::optional<DType> dtype;  // of the weights, as announced; the tensors themselves decide
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

// "LlamaForCausalLM, ...": for messages and `validate`.
std::string SupportedArchitectures();

// One line with everything that enters the forward pass besides the weights; part of the model fingerprint.
std::string CanonicalArchitecture(const ModelConfig& config);

// Bytes of K and V that one token takes in all layers.
size_t KvBytesPerToken(const ModelConfig& config, DType dtype);

}  // namespace prefixd
