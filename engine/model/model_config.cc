#include "engine/model/model_config.h"

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <charconv>

#include "engine/model/json_fields.h"

namespace prefixd {
namespace {

namespace bj = boost::json;

static_assert(static_cast<int64_t>(kConfigLimits.heads) * kConfigLimits.head_dim <= 1 << 20);
static_assert(static_cast<__int128>(kConfigLimits.layers) * (2 << 20) * 2 * kConfigLimits.intermediate <
                  INT64_MAX,
              "layers times a stacked matrix must fit 63 bits");

// The table of architectures. A Llama-like family is a row here, and what sets it apart from Llama a further
// column.
struct Architecture {
  std::string_view model_type;
  std::string_view class_name;
};
constexpr Architecture kArchitectures[] = {
    {"llama", "LlamaForCausalLM"},
};

bool IsFalse(const bj::value& v) { return v.is_bool() && !v.get_bool(); }
bool IsOne(const bj::value& v) {
  return (v.is_int64() && v.get_int64() == 1) || (v.is_double() && v.get_double() == 1.0);
}
bool IsSilu(const bj::value& v) {
  return v.is_string() && (v.get_string() == "silu" || v.get_string() == "swish");
}
bool Never(const bj::value&) { return false; }
bool IsAllFullAttention(const bj::value& v) {
  return v.is_array() && std::all_of(v.get_array().begin(), v.get_array().end(), [](const bj::value& layer) {
           return layer.is_string() && layer.get_string() == "full_attention";
         });
}

// Keys that change the forward pass in ways that prefixd lacks, unless they have (or default to) the harmless
// value.
struct Feature {
  std::string_view key;
  bool (*harmless)(const bj::value&);
  std::string_view supported;
};
constexpr Feature kFeatures[] = {
    {"attention_bias", IsFalse, "false"},
    {"mlp_bias", IsFalse, "false"},
    {"hidden_act", IsSilu, "silu"},
    {"layer_types", IsAllFullAttention, "full_attention"},
    {"partial_rotary_factor", IsOne, "1"},
    {"pretraining_tp", IsOne, "1"},
    {"quantization_config", Never, "none: weights in F32, F16 or BF16"},
};

Status Lacks(const JsonFields& fields, std::string_view key, std::string_view supported) {
  return Unsupported(fields.place() + ": " + std::string(key) + " " + Quote(*fields.Find(key)) +
                     " is not supported (supported: " + std::string(supported) + ")");
}

Status RefuseUnsupported(const JsonFields& fields) {
  for (const Feature& feature : kFeatures) {
    const bj::value* value = fields.Find(feature.key);
    if (value != nullptr && !feature.harmless(*value)) return Lacks(fields, feature.key, feature.supported);
  }
  PREFIXD_ASSIGN_OR_RETURN(const bool window_in_use, fields.BoolOr("use_sliding_window", true));
  if (window_in_use && fields.Find("sliding_window") != nullptr) {
    return Lacks(fields, "sliding_window", "null, or use_sliding_window false");
  }
  return Status::Ok();
}

Result<std::string> FindArchitecture(const JsonFields& fields) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string model_type, fields.StringOr("model_type", ""));
  std::string class_name;
  if (const bj::value* list = fields.Find("architectures"); list != nullptr) {
    if (!list->is_array() || list->get_array().size() != 1 || !list->get_array()[0].is_string()) {
      return fields.Bad("architectures", "a list with one class name");
    }
    class_name = std::string(list->get_array()[0].get_string());
  }
  if (model_type.empty() && class_name.empty()) return fields.Bad("architectures", SupportedArchitectures());
  for (const Architecture& row : kArchitectures) {
    if ((model_type.empty() || model_type == row.model_type) &&
        (class_name.empty() || class_name == row.class_name)) {
      return std::string(row.model_type);
    }
  }
  return Lacks(fields, class_name.empty() ? "model_type" : "architectures", SupportedArchitectures());
}

Result<RopeType> ParseRopeType(const JsonFields& fields) {
  const std::string_view key = fields.Find("rope_type") != nullptr ? "rope_type" : "type";
  PREFIXD_ASSIGN_OR_RETURN(const std::string name, fields.StringOr(key, "default"));
  if (name == "default") return RopeType::kDefault;
  if (name == "linear") return RopeType::kLinear;
  if (name == "llama3") return RopeType::kLlama3;
  return Lacks(fields, key, "default, linear, llama3");
}

constexpr double kLargestTheta = 1e15;
constexpr double kLargestFactor = 1e6;

// The object behind rope_scaling or rope_parameters; theta is the one beside it.
Result<RopeConfig> ParseRope(const JsonFields& fields, double theta) {
  constexpr std::array<std::string_view, 8> kKnown = {"rope_type",
                                                      "type",
                                                      "rope_theta",
                                                      "factor",
                                                      "low_freq_factor",
                                                      "high_freq_factor",
                                                      "original_max_position_embeddings",
                                                      "partial_rotary_factor"};
  RopeConfig rope;
  PREFIXD_ASSIGN_OR_RETURN(rope.type, ParseRopeType(fields));
  for (const auto& [key, value] : fields.object()) {
    const std::string_view name(key.data(), key.size());
    if (!value.is_null() && std::find(kKnown.begin(), kKnown.end(), name) == kKnown.end()) {
      return Lacks(fields, name, "a rope object of type default, linear or llama3");
    }
  }
  if (const bj::value* part = fields.Find("partial_rotary_factor"); part != nullptr && !IsOne(*part)) {
    return Lacks(fields, "partial_rotary_factor", "1");
  }
  PREFIXD_ASSIGN_OR_RETURN(rope.theta, fields.NumberOr("rope_theta", 1, kLargestTheta, theta));
  if (rope.type == RopeType::kDefault) return rope;
  PREFIXD_ASSIGN_OR_RETURN(rope.factor, fields.Number("factor", 1, kLargestFactor));
  if (rope.type == RopeType::kLinear) return rope;
  PREFIXD_ASSIGN_OR_RETURN(rope.low_freq_factor, fields.Number("low_freq_factor", 1e-3, kLargestFactor));
  PREFIXD_ASSIGN_OR_RETURN(rope.high_freq_factor, fields.Number("high_freq_factor", 1e-3, kLargestFactor));
  if (rope.high_freq_factor <= rope.low_freq_factor)
    return fields.Bad("high_freq_factor", "more than low_freq_factor");
  PREFIXD_ASSIGN_OR_RETURN(rope.original_context,
                           fields.Int("original_max_position_embeddings", 1, kConfigLimits.max_positions));
  return rope;
}

// rope_theta with rope_scaling beside it (published checkpoints), or rope_parameters (newest transformers),
// or nothing.
Result<RopeConfig> ParseRopeOfConfig(const JsonFields& fields) {
  std::optional<RopeConfig> rope;
  PREFIXD_ASSIGN_OR_RETURN(const double theta,
                           fields.NumberOr("rope_theta", 1, kLargestTheta, RopeConfig().theta));
  for (const std::string_view key : {"rope_parameters", "rope_scaling"}) {
    const bj::value* value = fields.Find(key);
    if (value == nullptr) continue;
    if (!value->is_object()) return fields.Bad(key, "an object or null");
    const JsonFields inner(fields.place() + ": " + std::string(key), value->get_object());
    PREFIXD_ASSIGN_OR_RETURN(const RopeConfig parsed, ParseRope(inner, theta));
    if (rope.has_value() && *rope != parsed)
      return fields.Bad(key, "the same as in rope_parameters, or null");
    rope = parsed;
  }
  RopeConfig plain;
  plain.theta = theta;
  return rope.value_or(plain);
}

Result<std::optional<DType>> ParseDType(const JsonFields& fields) {
  const std::string_view key = fields.Find("dtype") != nullptr ? "dtype" : "torch_dtype";
  PREFIXD_ASSIGN_OR_RETURN(const std::string name, fields.StringOr(key, ""));
  std::optional<DType> dtype;
  if (name == "float32") dtype = DType::kF32;
  if (name == "float16") dtype = DType::kF16;
  if (name == "bfloat16") dtype = DType::kBF16;
  if (!dtype.has_value() && !name.empty()) return Lacks(fields, key, "float32, float16, bfloat16");
  return dtype;
}

Status ParseSizes(const JsonFields& fields, ModelConfig* config) {
  constexpr ConfigLimits kMax = kConfigLimits;
  PREFIXD_ASSIGN_OR_RETURN(config->hidden, fields.Int("hidden_size", 1, kMax.hidden));
  PREFIXD_ASSIGN_OR_RETURN(config->layers, fields.Int("num_hidden_layers", 1, kMax.layers));
  PREFIXD_ASSIGN_OR_RETURN(config->heads, fields.Int("num_attention_heads", 1, kMax.heads));
  PREFIXD_ASSIGN_OR_RETURN(config->kv_heads,
                           fields.IntOr("num_key_value_heads", 1, config->heads, config->heads));
  if (config->heads % config->kv_heads != 0) {
    return fields.Bad("num_key_value_heads",
                      "a divisor of num_attention_heads " + std::to_string(config->heads));
  }
  if (fields.Find("head_dim") == nullptr && config->hidden % config->heads != 0) {
    return fields.Bad("head_dim", "hidden_size " + std::to_string(config->hidden) +
                                      " is no multiple of num_attention_heads");
  }
  PREFIXD_ASSIGN_OR_RETURN(config->head_dim,
                           fields.IntOr("head_dim", 2, kMax.head_dim, config->hidden / config->heads));
  if (config->head_dim < 2 || config->head_dim > kMax.head_dim || config->head_dim % 2 != 0) {
    return InvalidArgument(fields.place() + ": head_dim " + std::to_string(config->head_dim) +
                           " is not an even number from 2 to " + std::to_string(kMax.head_dim));
  }
  PREFIXD_ASSIGN_OR_RETURN(config->intermediate, fields.Int("intermediate_size", 1, kMax.intermediate));
  PREFIXD_ASSIGN_OR_RETURN(config->vocab, fields.Int("vocab_size", 1, kMax.vocab));
  PREFIXD_ASSIGN_OR_RETURN(config->max_positions,
                           fields.IntOr("max_position_embeddings", 1, kMax.max_positions, 2048));
  return Status::Ok();
}

// The shortest decimal that reads back as the same number, so that one value has one spelling.
template <typename T>
std::string Shortest(T number) {
  std::array<char, 64> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), number).ptr;
  return std::string(text.data(), end);
}

std::string CanonicalRope(const RopeConfig& rope) {
  const std::string theta = " theta=" + Shortest(rope.theta);
  switch (rope.type) {
    case RopeType::kDefault:
      return "default" + theta;
    case RopeType::kLinear:
      return "linear" + theta + " factor=" + Shortest(rope.factor);
    case RopeType::kLlama3:
      break;
  }
  return "llama3" + theta + " factor=" + Shortest(rope.factor) + " low=" + Shortest(rope.low_freq_factor) +
         " high=" + Shortest(rope.high_freq_factor) + " original=" + Shortest(rope.original_context);
}

}  // namespace

std::string SupportedArchitectures() {
  std::string names;
  for (const Architecture& row : kArchitectures)
    names += (names.empty() ? "" : ", ") + std::string(row.class_name);
  return names;
}

Result<ModelConfig> ParseModelConfig(std::string_view config_json) {
  PREFIXD_ASSIGN_OR_RETURN(const bj::object object, ParseJsonObject("config.json", config_json));
  const JsonFields fields("config.json", object);
  ModelConfig config;
  PREFIXD_ASSIGN_OR_RETURN(config.model_type, FindArchitecture(fields));
  PREFIXD_RETURN_IF_ERROR(RefuseUnsupported(fields));
  PREFIXD_RETURN_IF_ERROR(ParseSizes(fields, &config));
  PREFIXD_ASSIGN_OR_RETURN(const double eps, fields.NumberOr("rms_norm_eps", 1e-30, 1, 1e-6));
  config.rms_eps = static_cast<float>(eps);
  PREFIXD_ASSIGN_OR_RETURN(config.tied_embeddings, fields.BoolOr("tie_word_embeddings", false));
  PREFIXD_ASSIGN_OR_RETURN(config.rope, ParseRopeOfConfig(fields));
  PREFIXD_ASSIGN_OR_RETURN(config.dtype, ParseDType(fields));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<TokenId> bos, fields.TokenIds("bos_token_id", config.vocab));
  if (!bos.empty()) config.bos = bos.front();
  PREFIXD_ASSIGN_OR_RETURN(config.eos, fields.TokenIds("eos_token_id", config.vocab));
  return config;
}

std::string CanonicalArchitecture(const ModelConfig& c) {
  return c.model_type + " hidden=" + Shortest(c.hidden) + " layers=" + Shortest(c.layers) +
         " heads=" + Shortest(c.heads) + " kv_heads=" + Shortest(c.kv_heads) +
         " head_dim=" + Shortest(c.head_dim) + " intermediate=" + Shortest(c.intermediate) +
         " vocab=" + Shortest(c.vocab) + " eps=" + Shortest(c.rms_eps) +
         " tied=" + (c.tied_embeddings ? "yes" : "no") + " rope=" + CanonicalRope(c.rope);
}

size_t KvBytesPerToken(const ModelConfig& config, DType dtype) {
  return static_cast<size_t>(config.layers) * 2 * config.KvWidth() * DTypeBytes(dtype);
}

}  // namespace prefixd
