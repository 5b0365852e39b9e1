#include "model/written_config.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <cmath>
#include <optional>

#include "kernels/portable_math.h"
#include "model/canonical.h"
#include "model/rope.h"

namespace prefixd {
namespace {

namespace bj = boost::json;

// The scaling of llama3 whose divisors a GGUF file has. All published models have these two factors.
constexpr double kLowFrequency = 1, kHighFrequency = 4;
constexpr double kSameDivisor = 1e-5;

// The double whose shortest text is that of the float: 1e-05 for 1e-05f.
double Decimal(float number) {
  const std::string text = Shortest(number);
  double decimal = 0;
  std::from_chars(text.data(), text.data() + text.size(), decimal);
  return decimal;
}

std::vector<double> Divisors(const RopeConfig& rope, int head_dim) {
  RopeConfig plain;
  plain.theta = rope.theta;
  std::vector<double> divisors = RopeFrequencies(plain, head_dim);
  const std::vector<double> scaled = RopeFrequencies(rope, head_dim);
  for (size_t i = 0; i < divisors.size(); ++i) divisors[i] /= scaled[i];
  return divisors;
}

// The llama3 rope whose frequencies are those of `rope` with its divisors; nothing where there is none.
std::optional<RopeConfig> Llama3Of(const RopeConfig& rope, int head_dim, int max_positions) {
  RopeConfig found;
  found.type = RopeType::kLlama3;
  found.theta = rope.theta;
  found.factor = Decimal(*std::ranges::max_element(rope.divisors));
  found.low_freq_factor = kLowFrequency;
  found.high_freq_factor = kHighFrequency;
  for (found.original_context = 1; found.original_context <= max_positions; found.original_context *= 2) {
    const std::vector<double> divisors = Divisors(found, head_dim);
    const bool same = std::ranges::equal(divisors, rope.divisors, [](double a, float b) {
      return std::abs(a - static_cast<double>(b)) <= kSameDivisor * a;
    });
    if (same) return found;
  }
  return std::nullopt;
}

double YarnFactor(const RopeConfig& rope) { return 1 + 0.1 * portable::Log(rope.factor); }

// rope_scaling, or null.
Result<bj::value> RopeScaling(const ModelConfig& config) {
  RopeConfig rope = config.rope;
  if (!rope.divisors.empty()) {
    const auto found = rope.type == RopeType::kDefault ? Llama3Of(rope, config.head_dim, config.max_positions)
                                                       : std::nullopt;
    if (!found)
      return Unsupported(
          "tensor 'rope_freqs.weight' divides the frequencies of the rope by numbers that no rope_scaling of "
          "transformers gives (supported: those of llama3); use the original Hugging Face folder of this "
          "model");
    rope = *found;
  }
  if (rope.type == RopeType::kDefault) return bj::value();
  bj::object scaling{{"rope_type", RopeTypeName(rope.type)}, {"factor", rope.factor}};
  if (rope.type == RopeType::kLlama3 || rope.type == RopeType::kYarn)
    scaling["original_max_position_embeddings"] = rope.original_context;
  if (rope.type == RopeType::kLlama3) {
    scaling["low_freq_factor"] = rope.low_freq_factor;
    scaling["high_freq_factor"] = rope.high_freq_factor;
  }
  if (rope.type == RopeType::kYarn) {
    scaling["beta_fast"] = rope.beta_fast;
    scaling["beta_slow"] = rope.beta_slow;
    scaling["attention_factor"] = rope.attention_factor;
  }
  return bj::value(std::move(scaling));
}

// The files of transformers say which projections have biases by one or two keys.
Status CheckBiases(const ModelConfig& config) {
  const bool llama = config.model_type == "llama";
  const bool one_key = llama || config.model_type == "qwen3";
  if (config.output_bias != (one_key && config.qkv_bias) || (config.mlp_bias && !llama))
    return Unsupported("the file has " + std::string(config.qkv_bias ? "" : "no ") +
                       "biases of q, k and v, and " + (config.output_bias ? "some" : "none") + " of o" +
                       (config.mlp_bias ? ", and of the mlp" : "") + ", which config.json of the type " +
                       config.model_type +
                       " cannot say; use the original Hugging Face "
                       "folder of this model");
  return Status::Ok();
}

// What GGUF has no value for, or none that other programs read.
Status RefuseForGguf(const ModelConfig& config) {
  const auto refuse = [](const std::string& what) {
    return Unsupported("config.json: " + what +
                       ", which a GGUF file of this family cannot say; serve the "
                       "folder itself");
  };
  if (config.activation != Activation::kSilu) return refuse("hidden_act is not silu");
  if (std::ranges::any_of(config.windows, [](int window) { return window != 0; }))
    return refuse("sliding_window is " + std::to_string(std::ranges::max(config.windows)));
  if (config.rope.type != RopeType::kYarn) return Status::Ok();
  if (!config.rope.truncate) return refuse("rope_scaling.truncate is false");
  if (std::abs(config.rope.attention_factor - YarnFactor(config.rope)) > 1e-6)
    return refuse("rope_scaling.attention_factor is " + Shortest(config.rope.attention_factor));
  return Status::Ok();
}

}  // namespace

Result<std::string> WriteConfigJson(const ModelConfig& config, DType dtype, std::optional<TokenId> bos,
                                    const std::vector<TokenId>& ends) {
  PREFIXD_RETURN_IF_ERROR(CheckBiases(config));
  PREFIXD_ASSIGN_OR_RETURN(bj::value scaling, RopeScaling(config));
  bj::object json{{"architectures", bj::array{ClassNameOf(config.model_type)}},
                  {"model_type", config.model_type},
                  {"torch_dtype", dtype == DType::kF32   ? "float32"
                                  : dtype == DType::kF16 ? "float16"
                                                         : "bfloat16"},
                  {"hidden_act", "silu"},
                  {"vocab_size", config.vocab},
                  {"hidden_size", config.hidden},
                  {"intermediate_size", config.intermediate},
                  {"num_hidden_layers", config.layers},
                  {"num_attention_heads", config.heads},
                  {"num_key_value_heads", config.kv_heads},
                  {"head_dim", config.head_dim},
                  {"max_position_embeddings", config.max_positions},
                  {"rope_theta", config.rope.theta},
                  {"rope_scaling", std::move(scaling)},
                  {"rms_norm_eps", Decimal(config.rms_eps)},
                  {"tie_word_embeddings", config.tied_embeddings}};
  if (config.model_type == "llama") json["mlp_bias"] = config.mlp_bias;
  if (config.model_type == "llama" || config.model_type == "qwen3") json["attention_bias"] = config.qkv_bias;
  if (config.model_type != "llama") json["sliding_window"] = nullptr;
  if (config.model_type.starts_with("qwen")) json["use_sliding_window"] = false;
  json["bos_token_id"] = bos ? bj::value(*bos) : bj::value();
  json["eos_token_id"] =
      ends.size() == 1 ? bj::value(ends.front()) : bj::value(bj::array(ends.begin(), ends.end()));
  return bj::serialize(json) + "\n";
}

Result<GgufFamily> GgufFamilyOf(const ModelConfig& config) {
  const std::string wanted = config.model_type == "mistral" ? "llama" : config.model_type;
  for (const GgufFamily& family : GgufFamilies()) {
    if (family.model_type == wanted) return family;
  }
  return Unsupported("config.json: model_type is \"" + config.model_type +
                     "\", which has no family of GGUF here; serve the folder itself");
}

Status AddGgufConfig(const ModelConfig& config, GgufHeader* header) {
  PREFIXD_RETURN_IF_ERROR(RefuseForGguf(config));
  PREFIXD_ASSIGN_OR_RETURN(const GgufFamily family, GgufFamilyOf(config));
  const std::string prefix = std::string(family.name) + ".";
  const auto add = [&](std::string_view key, auto value) { header->Add(prefix + std::string(key), value); };
  add("vocab_size", config.vocab);
  add("context_length", config.max_positions);
  add("embedding_length", config.hidden);
  add("block_count", config.layers);
  add("feed_forward_length", config.intermediate);
  add("attention.head_count", config.heads);
  add("attention.head_count_kv", config.kv_heads);
  add("attention.key_length", config.head_dim);
  add("attention.value_length", config.head_dim);
  add("attention.layer_norm_rms_epsilon", config.rms_eps);
  add("rope.dimension_count", config.head_dim);
  const RopeConfig& rope = config.rope;
  add("rope.freq_base", static_cast<float>(rope.theta));
  if (rope.type != RopeType::kLinear && rope.type != RopeType::kYarn) return Status::Ok();
  add("rope.scaling.type", rope.type == RopeType::kLinear ? "linear" : "yarn");
  add("rope.scaling.factor", static_cast<float>(rope.factor));
  if (rope.type == RopeType::kLinear) return Status::Ok();
  add("rope.scaling.original_context_length", rope.original_context);
  add("rope.scaling.yarn_beta_fast", static_cast<float>(rope.beta_fast));
  add("rope.scaling.yarn_beta_slow", static_cast<float>(rope.beta_slow));
  return Status::Ok();
}

std::vector<float> GgufRopeDivisors(const ModelConfig& config) {
  if (config.rope.type != RopeType::kLlama3) return {};
  const std::vector<double> divisors = Divisors(config.rope, config.head_dim);
  return {divisors.begin(), divisors.end()};
}

}  // namespace prefixd
