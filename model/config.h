// Reads config.json into the values that the forward pass needs. A config that asks for anything else is
// refused by name, because prefixd computes a model exactly or not at all. Plain values; any thread.
//
// Invariants of a ModelConfig that ParseModelConfig returns
//   1. Every size is within kConfigLimits, so elements, bytes and parameters are counted without overflow.
//   2. heads is a multiple of kv_heads, head_dim is even, and the eos and bos ids are in the vocabulary.
//   3. windows has one entry per layer. Each is 0 or below max_positions.
//   4. Two configs with the same CanonicalArchitecture compute the same function of weights and tokens.
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
  std::string model_type;  // names a row of the table of architectures: "llama"
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
  bool output_bias = false;  // on the projection after attention
  bool mlp_bias = false;
  bool qk_norm = false;  // normalise queries and keys per head
  Activation activation = Activation::kSilu;
  std::vector<int> windows;  // per layer: number of positions that a token sees, including itself; 0: all
  RopeConfig rope;
  int max_positions = 0;             // longest context that the model and its rope allow; 2 or more
  std::string max_positions_reason;  // the source of max_positions, for messages
  std::optional<DType> dtype;        // of the weights, as config.json states it; each tensor has its own
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

// A token id that is not in the vocabulary.
struct IgnoredId {
  std::string key;  // "config.json: eos_token_id"
  int64_t id;
};

// Parses the text of a config.json. kCorrupt: not a JSON object. kInvalidArgument: a value that makes no
// sense. kUnsupported: a model or a feature that prefixd does not compute. The message begins with
// "config.json" and names key and value. `ignored`, unless it is null, gets the ids that are left out.
Result<ModelConfig> ParseModelConfig(std::string_view config_json, std::vector<IgnoredId>* ignored = nullptr);

// Returns the token ids at `key`: one id, an array of ids, or none where the key is missing. An id that is
// not in [0, vocab) is left out, as no model generates it. transformers takes it, too.
Result<std::vector<TokenId>> ParseTokenIds(const JsonFields& fields, std::string_view key, int vocab,
                                           std::vector<IgnoredId>* ignored = nullptr);

// Returns the class names, as in "LlamaForCausalLM, ...", for messages and `validate`.
std::string SupportedArchitectures();
// Returns the class name of a family: "LlamaForCausalLM" for "llama". Requires a model_type of a ModelConfig.
std::string_view ClassNameOf(std::string_view model_type);

// Returns one line with everything besides the weights that determines the forward pass. The line is part of
// the model fingerprint.
std::string CanonicalArchitecture(const ModelConfig& config);

// Returns pairs of name and text that describe the model to a person. `validate` prints them.
std::vector<std::pair<std::string, std::string>> DescribeConfig(const ModelConfig& config);

// Returns the bytes of K and V for one token in all layers.
size_t KvBytesPerToken(const ModelConfig& config, KvType type);

}  // namespace prefixd
