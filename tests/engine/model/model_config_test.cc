#include "engine/model/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/support/shared_data.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Changes = std::map<std::string, std::string>;  // key -> JSON text; empty: without the key

// A small Llama config with some keys changed.
std::string ConfigText(const Changes& changes = {}) {
  Changes keys = {{"architectures", R"(["LlamaForCausalLM"])"},
                  {"model_type", R"("llama")"},
                  {"hidden_act", R"("silu")"},
                  {"hidden_size", "128"},
                  {"intermediate_size", "352"},
                  {"max_position_embeddings", "512"},
                  {"num_attention_heads", "8"},
                  {"num_hidden_layers", "4"},
                  {"num_key_value_heads", "2"},
                  {"rms_norm_eps", "1e-05"},
                  {"rope_theta", "500000.0"},
                  {"vocab_size", "646"}};
  for (const auto& [key, value] : changes) keys[key] = value;
  std::string text;
  for (const auto& [key, value] : keys) {
    if (!value.empty()) text += (text.empty() ? "{\"" : ", \"") + key + "\": " + value;
  }
  return text + "}";
}

Result<ModelConfig> Parse(const Changes& changes) { return ParseModelConfig(ConfigText(changes)); }

void ExpectRefused(const Changes& changes, Code code, const std::string& part) {
  const Result<ModelConfig> config = Parse(changes);
  ASSERT_FALSE(config.ok()) << part;
  EXPECT_EQ(config.status().code(), code) << config.status().message();
  EXPECT_THAT(config.status().message(), HasSubstr("config.json: "));
  EXPECT_THAT(config.status().message(), HasSubstr(part));
}

TEST(ModelConfig, ReadsALlama) {
  const ModelConfig config =
      *Parse({{"bos_token_id", "640"}, {"eos_token_id", "[641, 644]"}, {"torch_dtype", "\"bfloat16\""}});
  EXPECT_EQ(
      CanonicalArchitecture(config),
      "llama hidden=128 layers=4 heads=8 kv_heads=2 head_dim=16 intermediate=352 vocab=646 eps=1e-05 tied=no "
      "rope=default theta=5e+05");
  EXPECT_EQ(config.max_positions, 512);
  EXPECT_EQ(config.dtype, DType::kBF16);
  EXPECT_EQ(config.bos, 640);
  EXPECT_THAT(config.eos, ElementsAre(641, 644));
  EXPECT_EQ(KvBytesPerToken(config, DType::kF16), 4u * 2 * 2 * 16 * 2);
}

TEST(ModelConfig, DefaultsOfKeysThatAreNotSet) {
  const ModelConfig config = *Parse(
      {{"num_key_value_heads", ""}, {"rms_norm_eps", ""}, {"rope_theta", "null"}, {"bos_token_id", "null"}});
  EXPECT_EQ(config.kv_heads, 8);
  EXPECT_EQ(config.rms_eps, 1e-6f);
  EXPECT_EQ(config.rope, RopeConfig());
  EXPECT_FALSE(config.tied_embeddings);
  EXPECT_FALSE(config.dtype.has_value());
  EXPECT_FALSE(config.bos.has_value());
  EXPECT_THAT(config.eos, IsEmpty());
}

TEST(ModelConfig, HeadDimNeedNotBeHiddenOverHeads) {
  const ModelConfig config =
      *Parse({{"head_dim", "48"}, {"num_attention_heads", "4"}, {"num_key_value_heads", "1"}});
  EXPECT_EQ(config.QueryWidth(), 192);
  EXPECT_EQ(config.KvWidth(), 48);
  EXPECT_EQ(Parse({{"head_dim", "null"}})->head_dim, 16);
}

TEST(ModelConfig, BothSpellingsOfRopeAreTheSameModel) {
  const std::string llama3 =
      R"("factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64)";
  struct Case {
    Changes classic, renamed;
    std::string canonical;
  };
  const Case cases[] = {
      {{{"rope_scaling", "null"}},
       {{"rope_parameters", R"({"rope_theta": 500000, "rope_type": "default"})"}},
       "rope=default theta=5e+05"},
      {{{"rope_scaling", R"({"type": "linear", "factor": 4})"}},
       {{"rope_parameters", R"({"rope_theta": 5e5, "rope_type": "linear", "factor": 4.0})"}},
       "rope=linear theta=5e+05 factor=4"},
      {{{"rope_scaling", R"({"rope_type": "llama3", )" + llama3 + "}"}},
       {{"rope_parameters", R"({"rope_theta": 500000.0, "rope_type": "llama3", )" + llama3 + "}"}},
       "rope=llama3 theta=5e+05 factor=8 low=1 high=4 original=64"},
  };
  for (Case c : cases) {
    c.renamed["rope_theta"] = "";
    const Result<ModelConfig> classic = Parse(c.classic);
    const Result<ModelConfig> renamed = Parse(c.renamed);
    ASSERT_TRUE(classic.ok()) << classic.status().message();
    ASSERT_TRUE(renamed.ok()) << renamed.status().message();
    EXPECT_EQ(CanonicalArchitecture(*classic), CanonicalArchitecture(*renamed));
    EXPECT_THAT(CanonicalArchitecture(*classic), ::testing::EndsWith(c.canonical));
  }
}

TEST(ModelConfig, TwoRopeObjectsMustAgree) {
  const std::string linear4 = R"({"rope_type": "linear", "factor": 4})";
  EXPECT_TRUE(Parse({{"rope_parameters", linear4}, {"rope_scaling", linear4}}).ok());
  ExpectRefused({{"rope_parameters", linear4}, {"rope_scaling", R"({"type": "linear", "factor": 2})"}},
                Code::kInvalidArgument, "rope_scaling");
}

TEST(ModelConfig, EverythingThatEntersTheForwardPassEntersTheCanonicalText) {
  const std::string base = CanonicalArchitecture(*Parse({}));
  const Changes others[] = {
      {{"hidden_size", "256"}},
      {{"num_hidden_layers", "5"}},
      {{"num_attention_heads", "4"}},
      {{"num_key_value_heads", "4"}},
      {{"head_dim", "18"}},
      {{"intermediate_size", "353"}},
      {{"vocab_size", "647"}},
      {{"rms_norm_eps", "1.1e-5"}},
      {{"tie_word_embeddings", "true"}},
      {{"rope_theta", "500001"}},
      {{"rope_scaling", R"({"type": "linear", "factor": 2})"}},
  };
  for (const Changes& change : others)
    EXPECT_NE(CanonicalArchitecture(*Parse(change)), base) << change.begin()->first;
  EXPECT_EQ(CanonicalArchitecture(*Parse({{"max_position_embeddings", "1024"}, {"eos_token_id", "3"}})),
            base);
}

TEST(ModelConfig, RefusesByNameWhatItLacks) {
  const std::pair<Changes, std::string> cases[] = {
      {{{"hidden_act", "\"gelu\""}}, "hidden_act 'gelu' is not supported (supported: silu)"},
      {{{"attention_bias", "true"}}, "attention_bias true"},
      {{{"mlp_bias", "true"}}, "mlp_bias true"},
      {{{"pretraining_tp", "2"}}, "pretraining_tp 2"},
      {{{"partial_rotary_factor", "0.5"}}, "partial_rotary_factor"},
      {{{"quantization_config", R"({"quant_method": "fp8"})"}}, "quantization_config"},
      {{{"sliding_window", "4096"}}, "sliding_window 4096"},
      {{{"layer_types", R"(["full_attention", "sliding_attention"])"}}, "layer_types"},
      {{{"rope_scaling", R"({"type": "yarn", "factor": 4})"}}, "rope_scaling: type 'yarn'"},
      {{{"rope_scaling", R"({"rope_type": "dynamic", "factor": 4})"}}, "'dynamic'"},
      {{{"rope_scaling", R"({"rope_type": "longrope", "short_factor": [1]})"}}, "'longrope'"},
      {{{"rope_scaling", R"({"rope_type": "linear", "factor": 4, "beta_fast": 32})"}}, "beta_fast"},
      {{{"rope_parameters", R"({"rope_type": "default", "partial_rotary_factor": 0.25})"}},
       "partial_rotary_factor"},
      {{{"torch_dtype", "\"float8_e4m3fn\""}}, "torch_dtype 'float8_e4m3fn'"},
      {{{"architectures", R"(["Qwen3ForCausalLM"])"}, {"model_type", "\"qwen3\""}}, "Qwen3ForCausalLM"},
      {{{"architectures", R"(["LlamaForSequenceClassification"])"}}, "(supported: LlamaForCausalLM)"},
      {{{"architectures", ""}, {"model_type", "\"gpt2\""}}, "model_type 'gpt2'"},
  };
  for (const auto& [changes, part] : cases) ExpectRefused(changes, Code::kUnsupported, part);
}

TEST(ModelConfig, AcceptsFeaturesThatAreSwitchedOff) {
  const Changes cases[] = {
      {{"sliding_window", "32"}, {"use_sliding_window", "false"}},
      {{"layer_types", R"(["full_attention", "full_attention"])"},
       {"attention_bias", "false"},
       {"pretraining_tp", "1"}},
      {{"hidden_act", "\"swish\""}, {"partial_rotary_factor", "1.0"}, {"quantization_config", "null"}},
      {{"architectures", ""}},
      {{"model_type", ""}},
  };
  for (const Changes& changes : cases) EXPECT_EQ(Parse(changes).status().ToString(), "ok");
}

TEST(ModelConfig, RefusesValuesThatMakeNoSense) {
  const std::pair<Changes, std::string> cases[] = {
      {{{"hidden_size", "0"}}, "hidden_size is 0"},
      {{{"hidden_size", ""}}, "hidden_size is missing"},
      {{{"hidden_size", "\"128\""}}, "hidden_size is '128'"},
      {{{"hidden_size", "128.5"}}, "hidden_size"},
      {{{"num_hidden_layers", "-1"}}, "num_hidden_layers"},
      {{{"vocab_size", "9223372036854775808"}}, "vocab_size"},
      {{{"vocab_size", "99999999999999999999999"}}, "vocab_size"},
      {{{"num_attention_heads", "1000000"}}, "num_attention_heads"},
      {{{"num_key_value_heads", "3"}}, "num_key_value_heads is 3"},
      {{{"num_key_value_heads", "16"}}, "num_key_value_heads"},
      {{{"num_attention_heads", "6"}, {"num_key_value_heads", "6"}}, "head_dim"},
      {{{"head_dim", "15"}}, "head_dim 15"},
      {{{"rms_norm_eps", "0"}}, "rms_norm_eps"},
      {{{"rope_theta", "-1"}}, "rope_theta"},
      {{{"rope_scaling", R"({"type": "linear"})"}}, "factor is missing"},
      {{{"rope_scaling", R"({"type": "linear", "factor": 0})"}}, "factor"},
      {{{"rope_scaling", R"([1])"}}, "rope_scaling"},
      {{{"rope_scaling", R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4,
                             "original_max_position_embeddings": 64})"}},
       "high_freq_factor"},
      {{{"tie_word_embeddings", "1"}}, "tie_word_embeddings"},
      {{{"eos_token_id", "646"}}, "eos_token_id"},
      {{{"eos_token_id", "[1, -1]"}}, "eos_token_id"},
      {{{"eos_token_id", "\"</s>\""}}, "eos_token_id"},
      {{{"architectures", "[]"}}, "architectures"},
  };
  for (const auto& [changes, part] : cases) ExpectRefused(changes, Code::kInvalidArgument, part);
}

TEST(ModelConfig, RefusesWhatIsNotAConfig) {
  for (const std::string text :
       {"", "[]", "{", "{} {}", "{\"hidden_size\": NaN}", "\xff\xfe", "{\"a\": \"\xc3\"}"}) {
    EXPECT_EQ(ParseModelConfig(text).status().code(), Code::kCorrupt) << text;
  }
  std::string deep = "{\"x\": ";
  for (int i = 0; i < 100000; ++i) deep += '[';
  EXPECT_EQ(ParseModelConfig(deep).status().code(), Code::kCorrupt);
  std::string twice = ConfigText();
  twice.back() = ',';
  EXPECT_THAT(ParseModelConfig(twice + "\"hidden_size\": 64}").status().message(),
              HasSubstr("'hidden_size' is given twice"));
}

TEST(ModelConfig, GoldenFoldersAreReadOrRefusedByName) {
  PREFIXD_NEED_SHARED("golden/llama-gqa/config.json");
  const std::pair<std::string, std::string> refused[] = {{"mistral", "MistralForCausalLM"},
                                                         {"qwen2", "Qwen2ForCausalLM"},
                                                         {"qwen2-yarn", "Qwen2ForCausalLM"},
                                                         {"qwen3", "Qwen3ForCausalLM"}};
  const auto read = [](const std::string& folder) {
    return ParseModelConfig(
        testing_support::ReadFileOrDie(testing_support::SharedDir() / "golden" / folder / "config.json"));
  };
  for (const std::string folder : {"llama-gqa", "llama3-rope", "llama-mqa-linear"}) {
    EXPECT_EQ(read(folder).status().ToString(), "ok") << folder;
  }
  for (const auto& [folder, name] : refused) {
    EXPECT_EQ(read(folder).status().code(), Code::kUnsupported) << folder;
    EXPECT_THAT(read(folder).status().message(), HasSubstr(name));
  }
}

}  // namespace
}  // namespace prefixd
