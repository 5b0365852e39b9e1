#include "model/gguf_config.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "base/bytes.h"
#include "kernels/portable_math.h"

namespace prefixd {
namespace {

constexpr GgufFamily kFamilies[] = {
    {"llama", "llama", false, false, true},
    {"qwen2", "qwen2", true, false, false},
    {"qwen3", "qwen3", false, true, false},
};

// Keys of the architecture that change the forward pass in ways that prefixd does not compute, unless they
// are absent or have the harmless value.
struct Feature {
  std::string_view key;
  double harmless;
  std::string_view supported;
};
constexpr Feature kFeatures[] = {
    {"expert_count", 0, "0: one feed-forward network in each layer, no mixture of experts"},
    {"attention.max_alibi_bias", 0, "0"},
    {"attention.clamp_kqv", 0, "0"},
    {"attn_logit_softcapping", 0, "0"},
    {"final_logit_softcapping", 0, "0"},
    {"attention.temperature_length", 0, "0"},
    {"logit_scale", 1, "1"},
    {"residual_scale", 1, "1"},
    {"embedding_scale", 1, "1"},
    {"attention.scale", 0, "0"},
    {"rope.scaling.attn_factor", 1, "1"},
    {"rope.scaling.yarn_log_multiplier", 0, "0"},
};

constexpr double kLargestTheta = 1e15, kLargestFactor = 1e6;

// The values of one model, by the part of their key after the architecture.
class Reader {
 public:
  Reader(const GgufModel& model, const GgufFamily& family)
      : model_(model), values_(model.values()), prefix_(std::string(family.name) + ".") {}

  std::string Key(std::string_view name) const { return prefix_ + std::string(name); }
  const GgufModel& model() const { return model_; }
  const GgufValues& values() const { return values_; }
  Status Wrong(std::string_view name, std::string_view expected) const {
    return values_.Wrong(Key(name), expected);
  }
  Status Unsupported(std::string_view name, std::string_view supported) const {
    return values_.Unsupported(Key(name), supported);
  }
  Result<int> Integer(std::string_view name, int low, int high) const {
    PREFIXD_ASSIGN_OR_RETURN(const auto number, values_.Integer(Key(name), low, high));
    if (!number) return Wrong(name, "a number; the file is not complete");
    return static_cast<int>(*number);
  }
  Result<int> IntegerOr(std::string_view name, int low, int high, int fallback) const {
    PREFIXD_ASSIGN_OR_RETURN(const auto number, values_.Integer(Key(name), low, high));
    return static_cast<int>(number.value_or(fallback));
  }
  Result<double> NumberOr(std::string_view name, double low, double high, double fallback) const {
    PREFIXD_ASSIGN_OR_RETURN(const auto number, values_.Number(Key(name), low, high));
    return number.value_or(fallback);
  }

 private:
  const GgufModel& model_;
  const GgufValues& values_;
  const std::string prefix_;
};

Status RefuseFeatures(const Reader& in) {
  for (const Feature& feature : kFeatures) {
    if (in.values().Find(in.Key(feature.key)) == nullptr) continue;
    const auto integer = in.values().Integer(in.Key(feature.key), INT64_MIN, INT64_MAX);
    const auto number = in.values().Number(in.Key(feature.key), -kLargestTheta, kLargestTheta);
    const bool harmless = (integer.ok() && static_cast<double>(**integer) == feature.harmless) ||
                          (number.ok() && **number == feature.harmless);
    if (!harmless) return in.Unsupported(feature.key, feature.supported);
  }
  PREFIXD_ASSIGN_OR_RETURN(const auto causal, in.values().Bool(in.Key("attention.causal")));
  if (causal == false) return in.Unsupported("attention.causal", "true; this is a model of embeddings");
  PREFIXD_ASSIGN_OR_RETURN(const auto parallel, in.values().Bool(in.Key("use_parallel_residual")));
  if (parallel == true) return in.Unsupported("use_parallel_residual", "false");
  return Status::Ok();
}

Status ReadHeads(const Reader& in, ModelConfig* config) {
  constexpr ConfigLimits kMax = kConfigLimits;
  PREFIXD_ASSIGN_OR_RETURN(config->heads, in.Integer("attention.head_count", 1, kMax.heads));
  PREFIXD_ASSIGN_OR_RETURN(config->kv_heads,
                           in.IntegerOr("attention.head_count_kv", 1, config->heads, config->heads));
  if (config->heads % config->kv_heads != 0)
    return in.Wrong("attention.head_count_kv",
                    "a divisor of " + in.Key("attention.head_count") + " " + std::to_string(config->heads));
  const int quotient = config->hidden % config->heads == 0 ? config->hidden / config->heads : 0;
  PREFIXD_ASSIGN_OR_RETURN(config->head_dim,
                           in.IntegerOr("attention.key_length", 2, kMax.head_dim, quotient));
  if (config->head_dim < 2 || config->head_dim > kMax.head_dim || config->head_dim % 2 != 0)
    return in.Wrong("attention.key_length", "an even number from 2 to " + std::to_string(kMax.head_dim) +
                                                "; without it, that many per head of " +
                                                in.Key("embedding_length"));
  const std::string as_keys = std::to_string(config->head_dim) + ", as wide as keys";
  PREFIXD_ASSIGN_OR_RETURN(const int values,
                           in.IntegerOr("attention.value_length", 1, kMax.head_dim, config->head_dim));
  if (values != config->head_dim) return in.Unsupported("attention.value_length", as_keys);
  PREFIXD_ASSIGN_OR_RETURN(const int rotated,
                           in.IntegerOr("rope.dimension_count", 0, kMax.head_dim, config->head_dim));
  if (rotated != config->head_dim)
    return in.Unsupported("rope.dimension_count", std::to_string(config->head_dim) + ", the whole head");
  return Status::Ok();
}

// What the frequencies of the pairs are divided by: the tensor rope_freqs.weight.
Status ReadDivisors(const Reader& in, int head_dim, RopeConfig* rope) {
  const GgufTensor* tensor = in.model().Find("rope_freqs.weight");
  if (tensor == nullptr) return Status::Ok();
  const auto pairs = static_cast<int64_t>(head_dim) / 2;
  if (tensor->type != StoredType(StoredType::kF32) || tensor->shape != std::vector<int64_t>{pairs})
    return Corrupt(in.values().file() + ": tensor 'rope_freqs.weight' has not " + std::to_string(pairs) +
                   " numbers of F32, one for each rotated pair");
  for (int64_t i = 0; i < pairs; ++i) {
    const float divisor = GetLittle<float>(tensor->bytes.data() + i * 4);
    if (!(divisor >= 1e-6f && divisor <= 1e9f))
      return Corrupt(in.values().file() + ": tensor 'rope_freqs.weight' has " + std::to_string(divisor) +
                     ", which divides no frequency");
    rope->divisors.push_back(divisor);
  }
  return Status::Ok();
}

Status ReadYarn(const Reader& in, ModelConfig* config) {
  RopeConfig& rope = config->rope;
  if (rope.theta <= 1) return in.Wrong("rope.freq_base", "more than 1 for yarn");
  rope.type = RopeType::kYarn;
  PREFIXD_ASSIGN_OR_RETURN(const int original, in.IntegerOr("rope.scaling.original_context_length", 0,
                                                            kConfigLimits.max_positions, 0));
  rope.original_context = original != 0 ? original : config->max_positions;
  PREFIXD_ASSIGN_OR_RETURN(rope.beta_fast, in.NumberOr("rope.scaling.yarn_beta_fast", 1e-3, 1e6, 32));
  PREFIXD_ASSIGN_OR_RETURN(rope.beta_slow, in.NumberOr("rope.scaling.yarn_beta_slow", 1e-3, 1e6, 1));
  rope.attention_factor = 1 + 0.1 * portable::Log(rope.factor);
  const double extended = rope.factor * original;
  if (extended > config->max_positions) {
    config->max_positions = static_cast<int>(std::min<double>(extended, kConfigLimits.max_positions));
    config->max_positions_reason = "yarn: factor times rope.scaling.original_context_length";
  }
  return Status::Ok();
}

Status ReadRope(const Reader& in, ModelConfig* config) {
  RopeConfig& rope = config->rope;
  PREFIXD_ASSIGN_OR_RETURN(config->max_positions,
                           in.Integer("context_length", 2, kConfigLimits.max_positions));
  config->max_positions_reason = in.Key("context_length");
  PREFIXD_ASSIGN_OR_RETURN(rope.theta, in.NumberOr("rope.freq_base", 1, kLargestTheta, rope.theta));
  PREFIXD_RETURN_IF_ERROR(ReadDivisors(in, config->head_dim, &rope));
  PREFIXD_ASSIGN_OR_RETURN(const auto type, in.values().String(in.Key("rope.scaling.type")));
  // Files of before rope.scaling have the factor alone.
  PREFIXD_ASSIGN_OR_RETURN(const double old, in.NumberOr("rope.scale_linear", 1, kLargestFactor, 1));
  PREFIXD_ASSIGN_OR_RETURN(rope.factor, in.NumberOr("rope.scaling.factor", 1, kLargestFactor, old));
  const std::string_view name = type.value_or(old != 1 ? "linear" : "none");
  if (name != "none" && name != "linear" && name != "yarn")
    return in.Unsupported("rope.scaling.type", "none, linear, yarn");
  if (name == "yarn") return ReadYarn(in, config);
  if (name == "linear") rope.type = RopeType::kLinear;
  if (name == "none") rope.factor = 1;
  return Status::Ok();
}

Status ReadWindow(const Reader& in, ModelConfig* config) {
  PREFIXD_ASSIGN_OR_RETURN(const int window,
                           in.IntegerOr("attention.sliding_window", 0, kConfigLimits.max_positions, 0));
  // The programs that read GGUF do not agree on the layers of these families that it is for.
  if (window != 0 && window < config->max_positions)
    return in.Unsupported("attention.sliding_window", "0, or at least " + in.Key("context_length") +
                                                          "; for a model with a window use "
                                                          "the original Hugging Face folder");
  config->windows.assign(static_cast<size_t>(config->layers), 0);
  return Status::Ok();
}

// The embedding says how many tokens there are: a key is not always there.
Result<int> VocabularyOf(const Reader& in) {
  const GgufTensor* embedding = in.model().Find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2 || embedding->shape[0] < 1 ||
      embedding->shape[0] > kConfigLimits.vocab)
    return Corrupt(in.values().file() + ": tensor 'token_embd.weight' is missing, or is no table of 1 to " +
                   std::to_string(kConfigLimits.vocab) +
                   " tokens; the file is not complete: download it again");
  return static_cast<int>(embedding->shape[0]);
}

// The type of elements that most bytes of the matrices have; bf16 where most are quantised.
DType DTypeOf(const GgufModel& model) {
  std::map<std::optional<DType>, uint64_t> bytes;
  for (const GgufFile& part : model.parts) {
    for (const GgufTensor& tensor : part.tensors) {
      if (tensor.shape.size() == 2 && tensor.type) bytes[tensor.type->dtype()] += tensor.bytes.size();
    }
  }
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  return most == bytes.end() ? DType::kBF16 : most->first.value_or(DType::kBF16);
}

}  // namespace

std::span<const GgufFamily> GgufFamilies() { return kFamilies; }

Result<GgufFamily> FamilyOfGguf(const GgufModel& model) {
  const GgufValues& values = model.values();
  PREFIXD_ASSIGN_OR_RETURN(const auto name, values.String("general.architecture"));
  std::string names;
  for (const GgufFamily& family : kFamilies) {
    if (name == family.name) return family;
    names += (names.empty() ? "" : ", ") + std::string(family.name);
  }
  const Status refusal = values.Unsupported("general.architecture", names);
  return Status(refusal.code(), refusal.message() + "; choose a model of one of these families");
}

Result<ModelConfig> ConfigOfGguf(const GgufModel& model) {
  constexpr ConfigLimits kMax = kConfigLimits;
  PREFIXD_ASSIGN_OR_RETURN(const GgufFamily family, FamilyOfGguf(model));
  const Reader in(model, family);
  PREFIXD_RETURN_IF_ERROR(RefuseFeatures(in));
  ModelConfig config;
  config.model_type = family.model_type;
  config.qk_norm = family.qk_norm;
  PREFIXD_ASSIGN_OR_RETURN(config.hidden, in.Integer("embedding_length", 1, kMax.hidden));
  PREFIXD_ASSIGN_OR_RETURN(config.layers, in.Integer("block_count", 1, kMax.layers));
  PREFIXD_ASSIGN_OR_RETURN(config.intermediate, in.Integer("feed_forward_length", 1, kMax.intermediate));
  PREFIXD_ASSIGN_OR_RETURN(config.vocab, VocabularyOf(in));
  PREFIXD_RETURN_IF_ERROR(ReadHeads(in, &config));
  PREFIXD_RETURN_IF_ERROR(ReadRope(in, &config));
  PREFIXD_RETURN_IF_ERROR(ReadWindow(in, &config));
  PREFIXD_ASSIGN_OR_RETURN(const double eps, in.NumberOr("attention.layer_norm_rms_epsilon", 1e-30, 1, 0));
  if (eps == 0) return in.Wrong("attention.layer_norm_rms_epsilon", "a number; the file is not complete");
  config.rms_eps = static_cast<float>(eps);
  config.tied_embeddings = model.Find("output.weight") == nullptr;
  config.qkv_bias = family.always_qkv_bias || model.Find("blk.0.attn_q.bias") != nullptr;
  config.output_bias = model.Find("blk.0.attn_output.bias") != nullptr;
  config.mlp_bias = model.Find("blk.0.ffn_gate.bias") != nullptr;
  config.dtype = DTypeOf(model);
  return config;
}

}  // namespace prefixd
