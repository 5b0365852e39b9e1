// A config.json with features that prefixd does not compute, or with wrong values, is refused by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "model/config.h"
#include "tests/model/config_text.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;
using testing_support::Changes;
using testing_support::ConfigText;
using testing_support::Family;

Result<ModelConfig> Parse(const Changes& changes) { return ParseModelConfig(ConfigText(changes)); }

void ExpectRefused(const Changes& changes, Code code, const std::string& part) {
  const Result<ModelConfig> config = Parse(changes);
  ASSERT_FALSE(config.ok()) << part;
  EXPECT_EQ(config.status().code(), code) << config.status().message();
  EXPECT_THAT(config.status().message(), HasSubstr("config.json: "));
  EXPECT_THAT(config.status().message(), HasSubstr(part));
}

TEST(ModelConfigRefusals, RefusesUnsupportedFeaturesByName) {
  const std::string four_sliding =
      R"(["sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention"])";
  const std::pair<Changes, std::string> cases[] = {
      {{{"hidden_act", "\"gelu\""}},
       "hidden_act is \"gelu\", which is not supported (supported: silu, swish, gelu_pytorch_tanh, gelu_new, "
       "gelu_fast, relu)"},
      {{{"hidden_act", "\"quick_gelu\""}}, "hidden_act is \"quick_gelu\""},
      {{{"is_causal", "false"}}, "is_causal is false, which is not supported (supported: true)"},
      {{{"is_causal", "null"}}, "is_causal is null"},
      {{{"partial_rotary_factor", "0.5"}}, "partial_rotary_factor"},
      {{{"quantization_config", R"({"quant_method": "fp8"})"}}, "quantization_config"},
      {{{"per_layer_config", R"({"1": {"rms_norm_eps": 0.5}})"}}, "per_layer_config"},
      {{{"sliding_window", "40"}}, "sliding_window is 40"},
      {{{"layer_types", R"(["full_attention", "full_attention", "sliding_attention", "full_attention"])"}},
       "layer_types"},
      {{{"layer_types", R"(["full_attention", "full_attention", "chunked_attention", "full_attention"])"}},
       "layer_types"},
      {Family("mistral", {{"attention_bias", "true"}}),
       "attention_bias is true, which is not supported (supported: false in a model of type mistral)"},
      {Family("mistral", {{"mlp_bias", "true"}}), "mlp_bias is true"},
      {Family("mistral", {{"sliding_window", "7"}, {"use_sliding_window", "false"}}), "use_sliding_window"},
      {Family("mistral", {{"sliding_window", "null"}, {"layer_types", four_sliding}}), "layer_types"},
      {Family("mistral", {{"sliding_window", "7"},
                          {"layer_types", R"(["full_attention", "full_attention", "full_attention",
                                              "full_attention"])"}}),
       "layer_types"},
      {Family("qwen2", {{"attention_bias", "false"}}),
       "attention_bias is false, which is not supported (supported: true in a model of type qwen2)"},
      {Family("qwen2", {{"mlp_bias", "true"}}), "mlp_bias is true"},
      {Family("qwen3", {{"mlp_bias", "true"}}), "mlp_bias is true"},
      {{{"rope_scaling", R"({"rope_type": "longrope", "short_factor": [1]})"}},
       "rope_scaling.rope_type is \"longrope\""},
      {{{"rope_scaling", R"({"rope_type": "proportional"})"}}, "rope_type is \"proportional\""},
      {{{"rope_scaling", R"({"type": "su"})"}},
       "type is \"su\", which is not supported (supported: default, linear, dynamic, llama3, yarn)"},
      {{{"rope_scaling", R"({"type": "mrope", "mrope_section": [16, 24, 24]})"}}, "type is \"mrope\""},
      {{{"rope_parameters", R"({"rope_type": "default", "partial_rotary_factor": 0.25})"}},
       "partial_rotary_factor"},
      {{{"rope_parameters", R"({"full_attention": {"rope_type": "default"}})"}}, "full_attention"},
      {{{"torch_dtype", "\"float8_e4m3fn\""}}, "torch_dtype is \"float8_e4m3fn\""},
      {{{"architectures", R"(["Qwen3MoeForCausalLM"])"}, {"model_type", "\"qwen3_moe\""}},
       "Qwen3MoeForCausalLM"},
      {{{"model_type", "\"mixtral\""}},
       "model_type is \"mixtral\", which is not supported (supported: llama, mistral, qwen2, qwen3)"},
      {{{"model_type", "\"Llama\""}}, "model_type is \"Llama\""},
      {{{"model_type", "\"deepseek_v3\""}, {"architectures", ""}}, "model_type is \"deepseek_v3\""},
      {{{"architectures", R"(["LlamaForSequenceClassification"])"}},
       "(supported: LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)"},
      {{{"architectures", ""}, {"model_type", "\"gpt2\""}}, "model_type is \"gpt2\""},
  };
  for (const auto& [changes, part] : cases) ExpectRefused(changes, Code::kUnsupported, part);
}

TEST(ModelConfigRefusals, RefusesValuesThatMakeNoSense) {
  const std::pair<Changes, std::string> cases[] = {
      {{{"hidden_size", "0"}}, "hidden_size is 0"},
      {{{"hidden_size", ""}}, "hidden_size is missing"},
      {{{"hidden_size", "\"128\""}}, "hidden_size is \"128\""},
      {{{"hidden_size", "128.5"}},
       "config.json: hidden_size is 128.5 (expected: an integer from 1 to 65536)"},
      {{{"num_hidden_layers", "-1"}}, "num_hidden_layers"},
      {{{"max_position_embeddings", "1"}}, "max_position_embeddings is 1 (expected: an integer from 2 to"},
      {{{"vocab_size", "9223372036854775808"}}, "vocab_size"},
      {{{"vocab_size", "99999999999999999999999"}}, "vocab_size"},
      {{{"num_attention_heads", "1000000"}}, "num_attention_heads"},
      {{{"num_key_value_heads", "3"}}, "num_key_value_heads is 3"},
      {{{"num_key_value_heads", "16"}}, "num_key_value_heads"},
      {{{"num_attention_heads", "6"}, {"num_key_value_heads", "6"}}, "head_dim"},
      {{{"head_dim", "15"}}, "head_dim is 15"},
      {{{"rms_norm_eps", "0"}}, "rms_norm_eps"},
      {{{"rope_theta", "-1"}}, "rope_theta"},
      {{{"rope_scaling", R"({"type": "linear"})"}}, "factor is missing"},
      {{{"rope_scaling", R"({"type": "linear", "factor": 0})"}}, "factor"},
      {{{"rope_scaling", R"([1])"}}, "rope_scaling"},
      {{{"rope_scaling", R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4,
                             "original_max_position_embeddings": 64})"}},
       "high_freq_factor"},
      {{{"rope_scaling", R"({"type": "yarn"})"}}, "factor is missing"},
      {{{"rope_scaling", R"({"type": "yarn", "factor": 0.5})"}}, "rope_scaling.factor is 0.5"},
      {{{"rope_scaling", R"({"type": "yarn", "factor": 4, "attention_factor": 0})"}},
       "attention_factor is 0"},
      {{{"rope_scaling", R"({"type": "yarn", "factor": 4, "attention_factor": -1.0})"}}, "attention_factor"},
      {{{"rope_scaling", R"({"type": "yarn", "factor": 4, "beta_fast": 1e-300})"}}, "beta_fast"},
      {{{"rope_scaling", R"({"type": "yarn", "factor": 4, "rope_theta": 1})"}}, "rope_theta is 1"},
      {{{"rope_scaling", R"({"type": "yarn", "factor": 4, "truncate": "no"})"}}, "truncate"},
      {{{"rope_scaling", R"({"type": "yarn", "factor": 4, "original_max_position_embeddings": 0})"}},
       "original_max_position_embeddings is 0"},
      {{{"original_max_position_embeddings", "64"},
        {"rope_scaling", R"({"type": "yarn", "factor": 4, "original_max_position_embeddings": 32})"}},
       "original_max_position_embeddings is 64"},
      {{{"rope_scaling", R"({"type": "dynamic"})"}}, "factor is missing"},
      {{{"rope_scaling", R"({"type": "dynamic", "factor": 4, "original_max_position_embeddings": 1})"}},
       "original_max_position_embeddings is 1"},
      {{{"rope_scaling", R"({"rope_type": "default", "partial_rotary_factor": "x"})"}},
       "partial_rotary_factor"},
      {{{"layer_types", R"(["full_attention"])"}}, "layer_types"},
      {{{"layer_types", "4"}}, "layer_types is 4"},
      {{{"attention_bias", "1"}}, "attention_bias is 1"},
      {{{"hidden_act", "{}"}}, "hidden_act"},
      {Family("mistral", {{"sliding_window", "0"}}), "sliding_window is 0"},
      {Family("mistral", {{"sliding_window", "\"7\""}}), "sliding_window is \"7\""},
      {Family("mistral", {{"num_key_value_heads", ""}, {"num_attention_heads", "4"}}), "num_key_value_heads"},
      {Family("qwen2", {{"max_window_layers", "-1"}}), "max_window_layers is -1"},
      {Family("qwen2", {{"num_key_value_heads", ""}}), "num_key_value_heads"},
      {Family("qwen2", {{"layer_types", R"(["full_attention", "sliding_attention", "full_attention",
                                           "full_attention"])"}}),
       "layer_types"},
      {Family("qwen3", {{"head_dim", "null"}}),
       "head_dim is null (expected: a number; delete the key to get 128, the default of qwen3)"},
      {{{"architectures", R"(["MistralForCausalLM"])"}},
       "model_type is \"llama\" (expected: the family of architectures MistralForCausalLM)"},
      {{{"rope_scaling", R"({"type": "linear", "factor": [512.0, {"a": 0.25}]})"}},
       R"(rope_scaling.factor is [512.0,{"a":0.25}] (expected:)"},
      {{{"tie_word_embeddings", "1"}}, "tie_word_embeddings"},
      {{{"eos_token_id", "[1, 2.5]"}}, "eos_token_id[1] is 2.5 (expected: an integer)"},
      {{{"eos_token_id", "\"</s>\""}},
       "eos_token_id is \"</s>\" (expected: an integer, or a list of integers)"},
      {{{"architectures", "[]"}}, "architectures"},
  };
  for (const auto& [changes, part] : cases) ExpectRefused(changes, Code::kInvalidArgument, part);
}

TEST(ModelConfigRefusals, RefusesWhatIsNotAConfig) {
  for (const std::string text :
       {"", "[]", "{", "{} {}", "{\"hidden_size\": NaN}", "\xff\xfe", "{\"a\": \"\xc3\"}"}) {
    EXPECT_EQ(ParseModelConfig(text).status().code(), Code::kCorrupt) << text;
  }
  std::string deep = "{\"x\": ";
  for (int i = 0; i < 100000; ++i) deep += '[';
  EXPECT_EQ(ParseModelConfig(deep).status().code(), Code::kCorrupt);
  EXPECT_THAT(ParseModelConfig("{\n  \"hidden_size\": 64,\n}").status().message(),
              HasSubstr("config.json is not valid JSON at line 3, column 1, before '}'"));
}

TEST(ModelConfigRefusals, TwoRopeObjectsThatDisagree) {
  const std::string linear4 = R"({"rope_type": "linear", "factor": 4})";
  ExpectRefused({{"rope_parameters", linear4}, {"rope_scaling", R"({"type": "linear", "factor": 2})"}},
                Code::kInvalidArgument,
                R"((expected: the same as rope_parameters, {"rope_type":"linear","factor":4}, or null))");
}

TEST(ModelConfigRefusals, SayWhatKindOfModelItIs) {
  const auto family = [](const std::string& type, const std::string& name) {
    return Changes{{"model_type", "\"" + type + "\""}, {"architectures", "[\"" + name + "\"]"}};
  };
  const auto with = [](Changes changes, const char* key, const char* value) {
    changes[key] = value;
    return changes;
  };
  const Changes none = {{"model_type", ""}, {"architectures", ""}};
  const std::pair<Changes, std::string> cases[] = {
      {with(family("llava", "LlavaForConditionalGeneration"), "vision_config", "{}"),
       "it is multimodal, and prefixd serves text-only models; choose"},
      {with(family("qwen2_audio", "Qwen2AudioForConditionalGeneration"), "audio_config", "{}"), "multimodal"},
      {with(family("gemma3", "Gemma3ForConditionalGeneration"), "text_config", "{}"), "multimodal"},
      {with(family("bart", "BartForConditionalGeneration"), "is_encoder_decoder", "true"),
       "it is an encoder-decoder, and prefixd serves decoder-only models; choose"},
      {family("qwen3", "Qwen3ForSequenceClassification"), "does not generate text; choose"},
      {family("roberta", "RobertaForQuestionAnswering"), "does not generate text; choose"},
      {family("mistral", "MistralModel"), "has no head to generate text with; choose"},
      {family("gpt_oss", "GptOssForCausalLM"), "its model_type is \"gpt_oss\"; choose a model"},
      {family("gemma2", "Qwen2ForCausalLM"), "architectures names another family, Qwen2ForCausalLM; correct"},
      {family("phi3", "MistralForCausalLM"), "architectures names another family, MistralForCausalLM"},
      {with(none, "model_type", "\"gpt2\""), "(supported: llama, mistral, qwen2, qwen3); choose"},
  };
  for (const auto& [changes, part] : cases) ExpectRefused(changes, Code::kUnsupported, part);
  ExpectRefused(none, Code::kInvalidArgument,
                "architectures and model_type are missing (expected: one of Llama");
}

}  // namespace
}  // namespace prefixd
