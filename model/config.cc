#include "model/config.h"

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>

#include "base/check.h"
#include "base/json_fields.h"
#include "model/canonical.h"

namespace prefixd {
namespace {

namespace bj = boost::json;

static_assert(static_cast<int64_t>(kConfigLimits.heads) * kConfigLimits.head_dim <= 1 << 20);
static_assert(static_cast<__int128>(kConfigLimits.layers) * (2 << 20) * 2 * kConfigLimits.intermediate <
                  INT64_MAX,
              "layers times a stacked matrix must fit 63 bits");

enum class Bias : uint8_t { kNever, kAlways, kFromKey };

// The layers that attend to a sliding window of positions only.
enum class WindowRule : uint8_t {
  kNone,
  kAllLayers,   // if sliding_window is set
  kSomeLayers,  // if use_sliding_window: those in layer_types, or all from max_window_layers on
};

// The table of architectures. A Llama-like family is a row, and each difference from Llama is a column. The
// values come from the configuration and modeling files of the family in transformers.
struct Architecture {
  std::string_view model_type;
  std::string_view class_name;
  Bias qkv_bias, output_bias;  // key: attention_bias
  Bias mlp_bias;               // key: mlp_bias
  bool qk_norm;
  WindowRule window;
  // Defaults for absent keys. kv_heads 0 means as many as heads; head_dim 0 means hidden / heads.
  int kv_heads, head_dim, max_positions;
};
constexpr Architecture kArchitectures[] = {
    {"llama", "LlamaForCausalLM", Bias::kFromKey, Bias::kFromKey, Bias::kFromKey, false, WindowRule::kNone, 0,
     0, 2048},
    {"mistral", "MistralForCausalLM", Bias::kNever, Bias::kNever, Bias::kNever, false, WindowRule::kAllLayers,
     8, 0, 131072},
    {"qwen2", "Qwen2ForCausalLM", Bias::kAlways, Bias::kNever, Bias::kNever, false, WindowRule::kSomeLayers,
     32, 0, 32768},
    {"qwen3", "Qwen3ForCausalLM", Bias::kFromKey, Bias::kFromKey, Bias::kNever, true, WindowRule::kSomeLayers,
     32, 128, 32768},
};

constexpr int kDefaultWindow = 4096;    // if sliding_window is absent, in every family that has the key
constexpr int kDefaultFullLayers = 28;  // if max_window_layers is absent

// Values of hidden_act. The three names of the tanh form differ in rounding only.
struct ActivationRow {
  std::string_view name;
  Activation activation;
};
constexpr ActivationRow kActivations[] = {
    {"silu", Activation::kSilu},
    {"swish", Activation::kSilu},
    {"gelu_pytorch_tanh", Activation::kGeluTanh},
    {"gelu_new", Activation::kGeluTanh},
    {"gelu_fast", Activation::kGeluTanh},
    {"relu", Activation::kRelu},
};

bool IsOneOrNull(const bj::value& v) {
  return (v.is_int64() && v.get_int64() == 1) || (v.is_double() && v.get_double() == 1.0) || v.is_null();
}
bool IsTrue(const bj::value& v) { return v.is_bool() && v.get_bool(); }
bool IsNull(const bj::value& v) { return v.is_null(); }

// Keys that change the forward pass in ways that prefixd does not support, unless they are absent or have a
// harmless value. Null is a value here: for is_causal it means false.
struct Feature {
  std::string_view key;
  bool (*harmless)(const bj::value&);
  std::string_view supported, remedy;
};
constexpr Feature kFeatures[] = {
    {"is_causal", IsTrue, "true", ""},
    {"partial_rotary_factor", IsOneOrNull, "1", ""},
    {"quantization_config", IsNull, "weights in F32, F16 or BF16", "; use the model before it was quantised"},
    {"per_layer_config", IsNull, "none: layers differ by layer_types alone", ""},
};

Status RefuseUnsupported(const JsonFields& fields) {
  for (const Feature& feature : kFeatures) {
    const bj::value* value = fields.object().if_contains(bj::string_view(feature.key));
    if (value == nullptr || feature.harmless(*value)) continue;
    const Status refusal = fields.Unsupported(feature.key, std::string(feature.supported));
    return Status(refusal.code(), refusal.message() + std::string(feature.remedy));
  }
  return Status::Ok();
}

// "llama, mistral, ..."
std::string ModelTypes() {
  std::string names;
  for (const Architecture& row : kArchitectures)
    names += (names.empty() ? "" : ", ") + std::string(row.model_type);
  return names;
}

// Adds to a refusal of a family what kind of model it is.
Status WithKind(const JsonFields& fields, std::string_view class_name, const Status& refusal) {
  const auto has = [&](std::string_view key) { return fields.Find(key) != nullptr; };
  const auto ends = [&](std::string_view end) { return class_name.ends_with(end); };
  // Where model_type is refused, a class that is there has been accepted.
  const bool names_type = refusal.message().find("model_type") != std::string::npos;
  const bool only_type = names_type && !class_name.empty();
  std::string kind;
  if (has("vision_config") || has("audio_config") || has("text_config")) {
    kind = "it is multimodal, and prefixd serves text-only models; choose a model of one of these families";
  } else if (const bj::value* both = fields.Find("is_encoder_decoder"); both != nullptr && IsTrue(*both)) {
    kind =
        "it is an encoder-decoder, and prefixd serves decoder-only models; choose a model of one of these "
        "families";
  } else if (ends("Classification") || ends("ForMaskedLM") || ends("ForQuestionAnswering")) {
    kind = "it is of a class that does not generate text; choose a model of one of these classes";
  } else if (ends("Model")) {
    kind = "this class has no head to generate text with; choose the model of the class ...ForCausalLM";
  } else if (only_type) {
    kind = "architectures names another family, " + std::string(class_name) +
           "; correct config.json, or choose a model of one of these families";
  } else {
    kind = "choose a model of one of these families";
  }
  const Field<std::string> type = fields.String("model_type");
  const bool says_type = !names_type && type.ok();
  return Status(
      refusal.code(),
      refusal.message() + (says_type ? "; its model_type is \"" + type.value() + "\"" : "") + "; " + kind);
}

Result<const Architecture*> FindArchitecture(const JsonFields& fields) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string model_type, fields.String("model_type").Or(""));
  std::string class_name;
  if (const bj::value* list = fields.Find("architectures"); list != nullptr) {
    if (!list->is_array() || list->get_array().size() != 1 || !list->get_array()[0].is_string()) {
      return fields.Wrong("architectures", "an array with one class name");
    }
    class_name = std::string(list->get_array()[0].get_string());
  }
  if (model_type.empty() && class_name.empty())
    return InvalidArgument(fields.PathOf("architectures") + " and model_type are missing (expected: one of " +
                           SupportedArchitectures() + " in architectures)");
  for (const Architecture& row : kArchitectures) {
    if ((model_type.empty() || model_type == row.model_type) &&
        (class_name.empty() || class_name == row.class_name)) {
      return &row;
    }
  }
  // The key that names no family of the table is the one that is wrong; if each alone names one, they differ.
  const auto known = [](std::string_view name, std::string_view Architecture::*column) {
    return std::ranges::any_of(kArchitectures, [&](const Architecture& row) { return row.*column == name; });
  };
  if (!class_name.empty() && !known(class_name, &Architecture::class_name))
    return WithKind(fields, class_name, fields.Unsupported("architectures", SupportedArchitectures()));
  if (!known(model_type, &Architecture::model_type))
    return WithKind(fields, class_name, fields.Unsupported("model_type", ModelTypes()));
  return fields.Wrong("model_type", "the family of architectures " + class_name);
}

Result<std::optional<DType>> ParseDType(const JsonFields& fields) {
  const std::string_view key = fields.Find("dtype") != nullptr ? "dtype" : "torch_dtype";
  PREFIXD_ASSIGN_OR_RETURN(const std::string name, fields.String(key).Or(""));
  std::optional<DType> dtype;
  if (name == "float32") dtype = DType::kF32;
  if (name == "float16") dtype = DType::kF16;
  if (name == "bfloat16") dtype = DType::kBF16;
  if (!dtype.has_value() && !name.empty()) return fields.Unsupported(key, "float32, float16, bfloat16");
  return dtype;
}

Status ParseHeads(const JsonFields& fields, const Architecture& row, ModelConfig* config) {
  constexpr ConfigLimits kMax = kConfigLimits;
  PREFIXD_ASSIGN_OR_RETURN(config->heads, fields.Integer("num_attention_heads", 1, kMax.heads).Required());
  const bool by_row = row.kv_heads != 0 && !fields.IsNull("num_key_value_heads");
  PREFIXD_ASSIGN_OR_RETURN(
      config->kv_heads,
      fields.Integer("num_key_value_heads", 1, config->heads).Or(by_row ? row.kv_heads : config->heads));
  if (config->kv_heads > config->heads || config->heads % config->kv_heads != 0) {
    return fields.Wrong("num_key_value_heads",
                        "a divisor of num_attention_heads " + std::to_string(config->heads));
  }
  if (fields.Find("head_dim") == nullptr && row.head_dim == 0 && config->hidden % config->heads != 0) {
    return fields.Wrong("head_dim", "a number, because hidden_size " + std::to_string(config->hidden) +
                                        " is not a multiple of num_attention_heads");
  }
  if (row.head_dim != 0 && fields.IsNull("head_dim")) {
    return InvalidArgument(
        fields.PathOf("head_dim") + " is null (expected: a number; delete the key to get " +
        std::to_string(row.head_dim) + ", the default of " + std::string(row.model_type) + ")");
  }
  PREFIXD_ASSIGN_OR_RETURN(config->head_dim,
                           fields.Integer("head_dim", 2, kMax.head_dim)
                               .Or(row.head_dim != 0 ? row.head_dim : config->hidden / config->heads));
  if (config->head_dim < 2 || config->head_dim > kMax.head_dim || config->head_dim % 2 != 0) {
    return InvalidArgument(fields.PathOf("head_dim") + " is " + std::to_string(config->head_dim) +
                           " (expected: an even number from 2 to " + std::to_string(kMax.head_dim) + ")");
  }
  return Status::Ok();
}

Status ParseSizes(const JsonFields& fields, const Architecture& row, ModelConfig* config) {
  constexpr ConfigLimits kMax = kConfigLimits;
  PREFIXD_ASSIGN_OR_RETURN(config->hidden, fields.Integer("hidden_size", 1, kMax.hidden).Required());
  PREFIXD_ASSIGN_OR_RETURN(config->layers, fields.Integer("num_hidden_layers", 1, kMax.layers).Required());
  PREFIXD_RETURN_IF_ERROR(ParseHeads(fields, row, config));
  PREFIXD_ASSIGN_OR_RETURN(config->intermediate,
                           fields.Integer("intermediate_size", 1, kMax.intermediate).Required());
  PREFIXD_ASSIGN_OR_RETURN(config->vocab, fields.Integer("vocab_size", 1, kMax.vocab).Required());
  PREFIXD_ASSIGN_OR_RETURN(
      const int positions,
      fields.Integer("max_position_embeddings", 2, kMax.max_positions).Or(row.max_positions));
  PREFIXD_ASSIGN_OR_RETURN(const ParsedRope parsed, ParseRopeConfig(fields, positions));
  config->rope = parsed.rope;
  config->max_positions = parsed.context;
  config->max_positions_reason = parsed.context_reason;
  return Status::Ok();
}

// Where a family has fixed biases, the key may repeat the fixed value but must not contradict it.
Result<bool> HasBias(const JsonFields& fields, std::string_view key, Bias bias, std::string_view model_type) {
  PREFIXD_ASSIGN_OR_RETURN(const bool has_bias, fields.Bool(key).Or(bias == Bias::kAlways));
  if (bias == Bias::kFromKey || has_bias == (bias == Bias::kAlways)) return has_bias;
  return fields.Unsupported(key, std::string(bias == Bias::kAlways ? "true" : "false") +
                                     " in a model of type " + std::string(model_type));
}

Status ParseBiases(const JsonFields& fields, const Architecture& row, ModelConfig* config) {
  PREFIXD_ASSIGN_OR_RETURN(config->qkv_bias, HasBias(fields, "attention_bias", row.qkv_bias, row.model_type));
  config->output_bias = row.output_bias == Bias::kFromKey && config->qkv_bias;
  PREFIXD_ASSIGN_OR_RETURN(config->mlp_bias, HasBias(fields, "mlp_bias", row.mlp_bias, row.model_type));
  return Status::Ok();
}

Result<Activation> ParseActivation(const JsonFields& fields) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string name, fields.String("hidden_act").Or("silu"));
  std::string names;
  for (const ActivationRow& row : kActivations) {
    if (row.name == name) return row.activation;
    names += (names.empty() ? "" : ", ") + std::string(row.name);
  }
  return fields.Unsupported("hidden_act", names);
}

// Returns sliding_window if the model uses it, otherwise 0.
Result<int> ParseWindow(const JsonFields& fields, const Architecture& row, int max_positions) {
  const bool some = row.window == WindowRule::kSomeLayers;
  PREFIXD_ASSIGN_OR_RETURN(const bool used, fields.Bool("use_sliding_window").Or(!some));
  if (row.window == WindowRule::kAllLayers && !used && !fields.IsNull("sliding_window")) {
    return fields.Unsupported(
        "use_sliding_window",
        "true, or sliding_window null, which is what switches it off in " + std::string(row.model_type));
  }
  const int absent = row.window == WindowRule::kNone || fields.IsNull("sliding_window") ? 0 : kDefaultWindow;
  if (!used || (fields.Find("sliding_window") == nullptr && absent == 0)) return 0;
  const Field<int64_t> field = fields.Integer("sliding_window", 1, kConfigLimits.max_positions);
  if (!field.ok() && !field.missing())
    return fields.Wrong("sliding_window", "an integer of at least 1, or null for no window");
  const int window = field.ok() ? static_cast<int>(field.value()) : absent;
  if (row.window == WindowRule::kNone && window < max_positions) {
    return fields.Unsupported("sliding_window", "null, or use_sliding_window false");
  }
  return window;
}

// Returns for each layer whether layer_types gives it a sliding window; nothing without that key.
Result<std::optional<std::vector<bool>>> ParseLayerTypes(const JsonFields& fields, int layers) {
  const bj::value* value = fields.Find("layer_types");
  if (value == nullptr) return std::optional<std::vector<bool>>();
  if (!value->is_array() || value->get_array().size() != static_cast<size_t>(layers)) {
    return fields.Wrong("layer_types",
                        "an array with one name for each of " + std::to_string(layers) + " layers");
  }
  std::vector<bool> slides;
  for (const bj::value& layer : value->get_array()) {
    const bool full = layer.is_string() && layer.get_string() == "full_attention";
    const bool sliding = layer.is_string() && layer.get_string() == "sliding_attention";
    if (!full && !sliding) {
      return Status(
          Code::kUnsupported,
          fields.WrongElement("layer_types", slides.size(), "full_attention or sliding_attention").message());
    }
    slides.push_back(sliding);
  }
  return std::optional(slides);
}

Status ParseWindows(const JsonFields& fields, const Architecture& row, ModelConfig* config) {
  PREFIXD_ASSIGN_OR_RETURN(const int window, ParseWindow(fields, row, config->max_positions));
  PREFIXD_ASSIGN_OR_RETURN(
      const int full_layers,
      fields.Integer("max_window_layers", 0, kConfigLimits.layers).Or(kDefaultFullLayers));
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<std::vector<bool>> types,
                           ParseLayerTypes(fields, config->layers));
  const bool some = row.window == WindowRule::kSomeLayers;
  if (types.has_value() && some && window == 0 && std::ranges::count(*types, true) > 0) {
    return fields.Wrong("layer_types", "full_attention only, because no sliding_window is in use");
  }
  for (int l = 0; l < config->layers; ++l) {
    bool slides = window != 0 && (!some || l >= full_layers) && row.window != WindowRule::kNone;
    if (types.has_value() && some) slides = (*types)[l];
    if (types.has_value() && (*types)[l] != slides) {
      return fields.Unsupported(
          "layer_types",
          slides ? "sliding_attention in every layer, as sliding_window says" : "full_attention");
    }
    config->windows.push_back(slides && window < config->max_positions ? window : 0);
  }
  return Status::Ok();
}

// "0*1,7*2": each window and the number of consecutive layers that have it.
std::string CanonicalWindows(const std::vector<int>& windows) {
  std::string text;
  for (size_t l = 0, first = 0; l < windows.size(); ++l) {
    if (l + 1 < windows.size() && windows[l + 1] == windows[l]) continue;
    text += (text.empty() ? "" : ",") + Shortest(windows[l]) + "*" + Shortest(l + 1 - first);
    first = l + 1;
  }
  return text;
}

bool HasWindow(const ModelConfig& config) {
  return std::any_of(config.windows.begin(), config.windows.end(), [](int window) { return window != 0; });
}

std::string_view ActivationName(Activation activation) {
  return std::find_if(std::begin(kActivations), std::end(kActivations),
                      [&](const ActivationRow& row) { return row.activation == activation; })
      ->name;
}

std::string DescribeBiases(const ModelConfig& config) {
  std::string text;
  const auto add = [&text](bool has, std::string_view part) {
    if (has) text += (text.empty() ? "" : ", ") + std::string(part);
  };
  add(config.qkv_bias, "q, k, v");
  add(config.output_bias, "o");
  add(config.mlp_bias, "gate, up, down");
  return text.empty() ? "none" : text;
}

std::string DescribeWindows(const ModelConfig& config) {
  if (!HasWindow(config)) return "every layer sees all positions";
  const auto full = std::count(config.windows.begin(), config.windows.end(), 0);
  const int window = *std::max_element(config.windows.begin(), config.windows.end());
  const std::string last = " the last " + std::to_string(window) + " positions";
  if (full == 0) return "every layer sees" + last;
  return std::to_string(config.layers - full) + " of " + std::to_string(config.layers) + " layers see" +
         last + ", the others all";
}

}  // namespace

std::string SupportedArchitectures() {
  std::string names;
  for (const Architecture& row : kArchitectures)
    names += (names.empty() ? "" : ", ") + std::string(row.class_name);
  return names;
}

std::string_view ClassNameOf(std::string_view model_type) {
  const auto* row = std::ranges::find(kArchitectures, model_type, &Architecture::model_type);
  PREFIXD_CHECK(row != std::end(kArchitectures)) << model_type;
  return row->class_name;
}

Result<std::vector<TokenId>> ParseTokenIds(const JsonFields& fields, std::string_view key, int vocab,
                                           std::vector<IgnoredId>* ignored) {
  const bj::value* value = fields.Find(key);
  std::vector<int64_t> ids;
  if (value != nullptr && value->is_int64()) {
    ids.push_back(value->get_int64());
  } else if (value != nullptr && !value->is_array()) {
    return fields.Wrong(key, "an integer, or a list of integers");
  } else {
    PREFIXD_ASSIGN_OR_RETURN(ids, fields.Integers(key, INT64_MIN, INT64_MAX, SIZE_MAX).Or({}));
  }
  std::vector<TokenId> found;
  for (const int64_t id : ids) {
    if (id >= 0 && id < vocab) {
      found.push_back(static_cast<TokenId>(id));
    } else if (ignored != nullptr) {
      ignored->push_back({fields.PathOf(key), id});
    }
  }
  return found;
}

Result<ModelConfig> ParseModelConfig(std::string_view config_json, std::vector<IgnoredId>* ignored) {
  PREFIXD_ASSIGN_OR_RETURN(const bj::object object, ParseJsonObject("config.json: ", config_json));
  const JsonFields fields(object, "config.json: ");
  ModelConfig config;
  PREFIXD_ASSIGN_OR_RETURN(const Architecture* row, FindArchitecture(fields));
  config.model_type = row->model_type;
  config.qk_norm = row->qk_norm;
  PREFIXD_RETURN_IF_ERROR(RefuseUnsupported(fields));
  PREFIXD_RETURN_IF_ERROR(ParseSizes(fields, *row, &config));
  PREFIXD_RETURN_IF_ERROR(ParseBiases(fields, *row, &config));
  PREFIXD_RETURN_IF_ERROR(ParseWindows(fields, *row, &config));
  PREFIXD_ASSIGN_OR_RETURN(config.activation, ParseActivation(fields));
  PREFIXD_ASSIGN_OR_RETURN(const double eps, fields.Number("rms_norm_eps", 1e-30, 1).Or(1e-6));
  config.rms_eps = static_cast<float>(eps);
  PREFIXD_ASSIGN_OR_RETURN(config.tied_embeddings, fields.Bool("tie_word_embeddings").Or(false));
  PREFIXD_ASSIGN_OR_RETURN(config.dtype, ParseDType(fields));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<TokenId> bos,
                           ParseTokenIds(fields, "bos_token_id", config.vocab, ignored));
  if (!bos.empty()) config.bos = bos.front();
  PREFIXD_ASSIGN_OR_RETURN(config.eos, ParseTokenIds(fields, "eos_token_id", config.vocab, ignored));
  return config;
}

std::string CanonicalArchitecture(const ModelConfig& c) {
  std::string text = c.model_type + " hidden=" + Shortest(c.hidden) + " layers=" + Shortest(c.layers) +
                     " heads=" + Shortest(c.heads) + " kv_heads=" + Shortest(c.kv_heads) +
                     " head_dim=" + Shortest(c.head_dim) + " intermediate=" + Shortest(c.intermediate) +
                     " vocab=" + Shortest(c.vocab) + " eps=" + Shortest(c.rms_eps) +
                     " tied=" + (c.tied_embeddings ? "yes" : "no") + " rope=" + CanonicalRope(c.rope);
  // Features that a plain Llama does not have are in the line only where they are used, so the fingerprint of
  // KV on disk does not change.
  if (c.activation != Activation::kSilu) text += " activation=" + std::string(ActivationName(c.activation));
  if (c.qkv_bias) text += " qkv_bias=yes";
  if (c.output_bias) text += " output_bias=yes";
  if (c.mlp_bias) text += " mlp_bias=yes";
  if (c.qk_norm) text += " qk_norm=yes";
  if (HasWindow(c)) text += " windows=" + CanonicalWindows(c.windows);
  return text;
}

std::vector<std::pair<std::string, std::string>> DescribeConfig(const ModelConfig& config) {
  RopeConfig rope = config.rope;
  rope.divisors.clear();  // too many to read
  return {
      {"rope",
       CanonicalRope(rope) + (config.rope.divisors.empty() ? "" : ", each pair divided by its number")},
      {"attention", DescribeWindows(config)},
      {"biases", DescribeBiases(config)},
      {"q and k norms", config.qk_norm ? "per head" : "none"},
      {"activation", std::string(ActivationName(config.activation))},
      {"embeddings", config.tied_embeddings ? "tied" : "not tied"},
      {"longest context", std::to_string(config.max_positions) + " (" + config.max_positions_reason + ")"}};
}

size_t KvBytesPerToken(const ModelConfig& config, KvType type) {
  return static_cast<size_t>(config.layers) * 2 * static_cast<size_t>(config.kv_heads) *
         type.HeadBytes(config.head_dim);
}

}  // namespace prefixd
