#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/model/config_text.h"
#include "tests/support/shared_data.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using testing_support::Changes;
using testing_support::ConfigText;
using testing_support::Family;

Result<ModelConfig> Parse(const Changes& changes) { return ParseModelConfig(ConfigText(changes)); }

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

TEST(ModelConfig, TokenIdsBeyondTheVocabularyAreLeftOut) {
  for (const char* ids : {"[646, 641, -1]", "[641, 9223372036854775807]", "641"}) {
    const ModelConfig config = *Parse({{"bos_token_id", "646"}, {"eos_token_id", ids}});
    EXPECT_THAT(config.eos, ElementsAre(641)) << ids;
    EXPECT_EQ(config.bos, std::nullopt);
  }
}

TEST(ModelConfig, DefaultsOfKeysThatAreNotSet) {
  const ModelConfig config = *Parse(
      {{"num_key_value_heads", ""}, {"rms_norm_eps", ""}, {"rope_theta", "null"}, {"bos_token_id", "null"}});
  EXPECT_EQ(config.kv_heads, 8);
  EXPECT_EQ(config.rms_eps, 1e-6f);
  EXPECT_EQ(config.rope, RopeConfig());
  EXPECT_FALSE(config.tied_embeddings);
  EXPECT_FALSE(config.qkv_bias || config.output_bias || config.mlp_bias || config.qk_norm);
  EXPECT_EQ(config.activation, Activation::kSilu);
  EXPECT_THAT(config.windows, ElementsAre(0, 0, 0, 0));
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
  const std::string llama3 = R"("factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, )"
                             R"("original_max_position_embeddings": 64)";
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

TEST(ModelConfig, TwoRopeObjectsMayAgree) {
  const std::string linear4 = R"({"rope_type": "linear", "factor": 4})";
  EXPECT_TRUE(Parse({{"rope_parameters", linear4}, {"rope_scaling", linear4}}).ok());
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
      {{"attention_bias", "true"}},
      {{"mlp_bias", "true"}},
      {{"hidden_act", "\"gelu_new\""}},
      {{"hidden_act", "\"relu\""}},
      {{"rope_theta", "500001"}},
      {{"rope_scaling", R"({"type": "linear", "factor": 2})"}},
      Family("mistral"),
      Family("mistral", {{"sliding_window", "8"}}),
      Family("mistral", {{"sliding_window", "9"}}),
      Family("qwen2", {{"num_key_value_heads", "2"}}),
      Family("qwen2", {{"use_sliding_window", "true"}, {"sliding_window", "8"}, {"max_window_layers", "1"}}),
      Family("qwen2", {{"use_sliding_window", "true"}, {"sliding_window", "8"}, {"max_window_layers", "2"}}),
      Family("qwen3"),
  };
  std::set<std::string> seen = {base};
  for (const Changes& change : others) {
    const Result<ModelConfig> config = Parse(change);
    ASSERT_TRUE(config.ok()) << config.status().message();
    EXPECT_TRUE(seen.insert(CanonicalArchitecture(*config)).second) << CanonicalArchitecture(*config);
  }
  EXPECT_EQ(CanonicalArchitecture(*Parse({{"max_position_embeddings", "1024"}, {"eos_token_id", "3"}})),
            base);
}

TEST(ModelConfig, TheCanonicalTextOfEveryColumn) {
  EXPECT_EQ(
      CanonicalArchitecture(
          *Parse({{"attention_bias", "true"}, {"mlp_bias", "true"}, {"hidden_act", "\"gelu_fast\""}})),
      "llama hidden=128 layers=4 heads=8 kv_heads=2 head_dim=16 intermediate=352 vocab=646 eps=1e-05 tied=no "
      "rope=default theta=5e+05 activation=gelu_pytorch_tanh qkv_bias=yes output_bias=yes mlp_bias=yes");
  EXPECT_EQ(
      CanonicalArchitecture(*Parse(Family(
          "qwen3", {{"use_sliding_window", "true"}, {"sliding_window", "32"}, {"max_window_layers", "3"}}))),
      "qwen3 hidden=128 layers=4 heads=8 kv_heads=2 head_dim=128 intermediate=352 vocab=646 eps=1e-05 "
      "tied=no "
      "rope=default theta=5e+05 qk_norm=yes windows=0*3,32*1");
}

// Defaults of absent keys, as in the configuration classes of transformers.
TEST(ModelConfig, DefaultsOfTheFamilies) {
  const Changes none = {{"num_key_value_heads", ""},     {"rms_norm_eps", ""}, {"rope_theta", ""},
                        {"max_position_embeddings", ""}, {"hidden_act", ""},   {"num_attention_heads", "32"}};
  const ModelConfig llama = *Parse(none);
  EXPECT_EQ(llama.kv_heads, 32);
  EXPECT_EQ(llama.head_dim, 4);
  EXPECT_EQ(llama.max_positions, 2048);
  const ModelConfig mistral = *Parse(Family("mistral", none));
  EXPECT_EQ(mistral.kv_heads, 8);
  EXPECT_EQ(mistral.head_dim, 4);
  EXPECT_EQ(mistral.max_positions, 131072);
  EXPECT_THAT(mistral.windows, ElementsAre(4096, 4096, 4096, 4096));
  const ModelConfig qwen2 = *Parse(Family("qwen2", none));
  EXPECT_EQ(qwen2.kv_heads, 32);
  EXPECT_EQ(qwen2.head_dim, 4);
  EXPECT_TRUE(qwen2.qkv_bias && !qwen2.output_bias && !qwen2.mlp_bias && !qwen2.qk_norm);
  EXPECT_EQ(qwen2.max_positions, 32768);
  EXPECT_THAT(qwen2.windows, ElementsAre(0, 0, 0, 0));
  const ModelConfig qwen3 = *Parse(Family("qwen3", none));
  EXPECT_EQ(qwen3.kv_heads, 32);
  EXPECT_EQ(qwen3.head_dim, 128);
  EXPECT_TRUE(!qwen3.qkv_bias && !qwen3.output_bias && qwen3.qk_norm);
  for (const ModelConfig* config : {&mistral, &qwen2, &qwen3}) {
    EXPECT_EQ(config->rms_eps, 1e-6f) << config->model_type;
    EXPECT_EQ(config->rope, RopeConfig()) << config->model_type;
    EXPECT_FALSE(config->tied_embeddings) << config->model_type;
  }
  Changes null_heads = none;
  null_heads["num_key_value_heads"] = "null";
  EXPECT_EQ(Parse(Family("mistral", null_heads))->kv_heads, 32);
}

TEST(ModelConfig, Biases) {
  const ModelConfig llama = *Parse({{"attention_bias", "true"}, {"mlp_bias", "true"}});
  EXPECT_TRUE(llama.qkv_bias && llama.output_bias && llama.mlp_bias);
  const ModelConfig qwen3 = *Parse(Family("qwen3", {{"attention_bias", "true"}}));
  EXPECT_TRUE(qwen3.qkv_bias && qwen3.output_bias && !qwen3.mlp_bias);
  EXPECT_TRUE(Parse(Family("qwen2", {{"attention_bias", "true"}}))->qkv_bias);
}

TEST(ModelConfig, Windows) {
  const std::pair<Changes, std::vector<int>> cases[] = {
      {Family("mistral", {{"sliding_window", "null"}}), {0, 0, 0, 0}},
      {Family("mistral", {{"sliding_window", "7"}}), {7, 7, 7, 7}},
      {Family("mistral", {{"sliding_window", "511"}}), {511, 511, 511, 511}},
      {Family("mistral", {{"sliding_window", "512"}}), {0, 0, 0, 0}},  // the whole context
      {Family("mistral", {{"sliding_window", "7"},
                          {"layer_types", R"(["sliding_attention", "sliding_attention", "sliding_attention",
                                              "sliding_attention"])"}}),
       {7, 7, 7, 7}},
      {Family("qwen2", {{"sliding_window", "7"}, {"max_window_layers", "0"}}), {0, 0, 0, 0}},
      {Family("qwen2", {{"sliding_window", "7"}, {"use_sliding_window", "true"}}), {0, 0, 0, 0}},
      {Family("qwen2", {{"sliding_window", "7"}, {"use_sliding_window", "true"}, {"max_window_layers", "1"}}),
       {0, 7, 7, 7}},
      {Family("qwen2",
              {{"sliding_window", "null"}, {"use_sliding_window", "true"}, {"max_window_layers", "1"}}),
       {0, 0, 0, 0}},
      {Family("qwen3", {{"sliding_window", "7"},
                        {"use_sliding_window", "true"},
                        {"max_window_layers", "1"},
                        {"layer_types", R"(["sliding_attention", "full_attention", "sliding_attention",
                                            "full_attention"])"}}),
       {7, 0, 7, 0}},
      {{{"sliding_window", "512"}}, {0, 0, 0, 0}},
  };
  for (const auto& [changes, windows] : cases) {
    const Result<ModelConfig> config = Parse(changes);
    ASSERT_TRUE(config.ok()) << config.status().message();
    EXPECT_EQ(config->windows, windows);
  }
}

TEST(ModelConfig, Activations) {
  const std::pair<std::string, Activation> cases[] = {
      {"silu", Activation::kSilu},         {"swish", Activation::kSilu},
      {"gelu_new", Activation::kGeluTanh}, {"gelu_pytorch_tanh", Activation::kGeluTanh},
      {"relu", Activation::kRelu},         {"gelu_fast", Activation::kGeluTanh}};
  for (const auto& [name, activation] : cases)
    EXPECT_EQ(Parse({{"hidden_act", '"' + name + '"'}})->activation, activation) << name;
}

TEST(ModelConfig, Yarn) {
  const ModelConfig plain =
      *Parse({{"rope_scaling", R"({"type": "yarn", "factor": 4, "original_max_position_embeddings": 512})"}});
  EXPECT_THAT(
      CanonicalArchitecture(plain),
      HasSubstr("rope=yarn theta=5e+05 factor=4 original=512 fast=32 slow=1 truncate=yes attention=1.13862"));
  EXPECT_EQ(plain.max_positions, 2048) << "factor times the original context";
  const ModelConfig inferred = *Parse({{"rope_scaling", R"({"rope_type": "yarn", "factor": 4})"}});
  EXPECT_EQ(inferred.rope, plain.rope) << "max_position_embeddings stands in for the original context";
  EXPECT_EQ(inferred.max_positions, 512);
  EXPECT_EQ(Parse({{"original_max_position_embeddings", "128"},
                   {"rope_scaling", R"({"rope_type": "yarn", "factor": 4})"}})
                ->rope.original_context,
            128);
  const ModelConfig all = *Parse({{"rope_parameters", R"({"rope_type": "yarn", "factor": 8, "beta_fast": 16,
      "beta_slow": 0, "truncate": false, "mscale": 1.0, "mscale_all_dim": 0.5, "rope_theta": 1000,
      "original_max_position_embeddings": 64})"}});
  EXPECT_EQ(all.rope.beta_fast, 16);
  EXPECT_EQ(all.rope.beta_slow, 1) << "0 counts as not set";
  EXPECT_FALSE(all.rope.truncate);
  EXPECT_NEAR(all.rope.attention_factor, (1 + 0.1 * std::log(8)) / (1 + 0.05 * std::log(8)), 1e-15);
  EXPECT_EQ(all.max_positions, 512);
  const ModelConfig told = *Parse({{"rope_parameters", R"({"rope_type": "yarn", "factor": 8, "mscale": 1.0,
      "attention_factor": 1.5, "original_max_position_embeddings": 64, "truncate": null})"}});
  EXPECT_EQ(told.rope.attention_factor, 1.5);
  EXPECT_FALSE(told.rope.truncate) << "null is false to the reference";
}

TEST(ModelConfig, DynamicRopeIsServedAsFarAsItIsTheDefault) {
  const ModelConfig config = *Parse({{"rope_scaling", R"({"type": "dynamic", "factor": 4})"}});
  EXPECT_EQ(config.max_positions, 512);
  EXPECT_THAT(config.max_positions_reason, HasSubstr("dynamic"));
  EXPECT_EQ(Parse({{"rope_scaling",
                    R"({"type": "dynamic", "factor": 4, "original_max_position_embeddings": 256})"}})
                ->max_positions,
            256);
}

TEST(ModelConfig, DescriptionsNameWhatSetsAModelApart) {
  const auto lines = DescribeConfig(*Parse(Family(
      "qwen2", {{"use_sliding_window", "true"}, {"sliding_window", "7"}, {"max_window_layers", "1"}})));
  EXPECT_THAT(lines,
              ElementsAre(std::pair("rope", "default theta=5e+05"),
                          std::pair("attention", "3 of 4 layers see the last 7 positions, the others all"),
                          std::pair("biases", "q, k, v"), std::pair("q and k norms", "none"),
                          std::pair("activation", "silu"), std::pair("embeddings", "not tied"),
                          std::pair("longest context", "512 (max_position_embeddings)")));
  EXPECT_THAT(DescribeConfig(*Parse(Family("mistral", {{"sliding_window", "7"}}))),
              ::testing::Contains(std::pair("attention", "every layer sees the last 7 positions")));
  EXPECT_THAT(DescribeConfig(*Parse({})),
              ::testing::Contains(std::pair("attention", "every layer sees all positions")));
}

TEST(ModelConfig, AcceptsFeaturesThatAreSwitchedOff) {
  const Changes cases[] = {
      {{"sliding_window", "32"}, {"use_sliding_window", "false"}},
      {{"layer_types", R"(["full_attention", "full_attention", "full_attention", "full_attention"])"},
       {"attention_bias", "false"},
       {"pretraining_tp", "2"}},  // the reference does not read it
      Family("mistral", {{"sliding_window", "null"}, {"use_sliding_window", "false"}}),
      {{"hidden_act", "\"swish\""}, {"partial_rotary_factor", "1.0"}, {"quantization_config", "null"}},
      {{"architectures", ""}},
      {{"model_type", ""}},
  };
  for (const Changes& changes : cases) EXPECT_EQ(Parse(changes).status().ToString(), "ok");
}

TEST(ModelConfig, KeysThatARopeTypeDoesNotReadAreIgnored) {
  const std::string yarn = R"("type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64)";
  const ModelConfig plain = *Parse({{"rope_scaling", "{" + yarn + "}"}});
  for (const std::string key :
       {R"("attn_factor": 0.878)", R"("finetuned": true)", R"("mrope_section": [16, 24])",
        R"("low_freq_factor": 1.0)", R"("note": "x")"}) {
    const auto config = Parse({{"rope_scaling", "{" + yarn + ", " + key + "}"}});
    ASSERT_TRUE(config.ok()) << key << ": " << config.status().message();
    EXPECT_EQ(config->rope, plain.rope) << key;
  }
}

TEST(ModelConfig, AKeyGivenTwiceTakesTheLast) {
  std::string twice = ConfigText();
  twice.back() = ',';
  const auto config = ParseModelConfig(twice + "\"vocab_size\": 700}");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->vocab, 700);
}

TEST(ModelConfig, GoldenFoldersAreRead) {
  PREFIXD_NEED_SHARED("golden/llama-gqa/config.json");
  const auto read = [](const std::string& folder) {
    return ParseModelConfig(
        testing_support::ReadFileOrDie(testing_support::SharedDir() / "golden" / folder / "config.json"));
  };
  for (const std::string folder :
       {"llama-gqa", "llama3-rope", "llama-mqa-linear", "mistral", "qwen2", "qwen2-yarn", "qwen3"}) {
    const Result<ModelConfig> config = read(folder);
    ASSERT_TRUE(config.ok()) << folder << ": " << config.status().message();
    EXPECT_EQ(config->max_positions, 512) << folder;
    EXPECT_EQ(config->windows, std::vector<int>(config->layers, 0)) << folder;
  }
}

}  // namespace
}  // namespace prefixd
