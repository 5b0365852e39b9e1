#include "model/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "base/bytes.h"
#include "base/log.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;
using testing_support::TempDir;

size_t Product(const std::vector<int64_t>& shape) {
  size_t elements = 1;
  for (const int64_t size : shape) elements *= static_cast<size_t>(size);
  return elements;
}

// Writes a file of zeros with the tensors of a config. Dtypes are by name, F32 by default.
void WriteZeros(const std::filesystem::path& folder, const std::vector<WeightSpec>& specs,
                const std::map<std::string, std::string>& dtypes, char fill_head = 0) {
  std::string header = "{", data;
  for (const WeightSpec& spec : specs) {
    const auto at = dtypes.find(spec.name);
    const std::string dtype = at == dtypes.end() ? "F32" : at->second;
    const size_t begin = data.size();
    data.append(Product(spec.shape) * (dtype == "F32" ? 4 : 2), spec.name == kHeadWeight ? fill_head : 0);
    header += (header.size() > 1 ? ",\"" : "\"") + spec.name + R"(":{"dtype":")" + dtype + R"(","shape":[)" +
              std::to_string(spec.shape[0]) +
              (spec.shape.size() > 1 ? "," + std::to_string(spec.shape[1]) : "") + R"(],"data_offsets":[)" +
              std::to_string(begin) + "," + std::to_string(data.size()) + "]}";
  }
  header += "}";
  std::string file;
  PutLittle<uint64_t>(&file, header.size());
  std::ofstream(folder / "model.safetensors", std::ios::binary) << file << header << data;
}

ModelConfig SmallConfig(bool tied) {
  ModelConfig config;
  config.hidden = 4;
  config.layers = 1;
  config.heads = config.kv_heads = 1;
  config.head_dim = 4;
  config.intermediate = 3;
  config.vocab = 5;
  config.tied_embeddings = tied;
  config.windows = {0};
  return config;
}

Status Check(const ModelConfig& config, const std::vector<WeightSpec>& specs,
             const std::map<std::string, std::string>& dtypes, char fill_head = 0) {
  const TempDir folder;
  WriteZeros(folder.path(), specs, dtypes, fill_head);
  const Result<WeightFiles> files = WeightFiles::Open(folder.path());
  return files.ok() ? CheckWeights(config, *files) : files.status();
}

TEST(Weights, NamesOfEveryColumn) {
  ModelConfig config = SmallConfig(true);
  const size_t plain = RequiredWeights(config).size();
  EXPECT_EQ(plain, 2u + 9);
  config.qkv_bias = true;
  EXPECT_EQ(RequiredWeights(config).size(), plain + 3);
  config.output_bias = true;
  EXPECT_EQ(RequiredWeights(config).size(), plain + 4);
  config.mlp_bias = true;
  EXPECT_EQ(RequiredWeights(config).size(), plain + 7);
  config.qk_norm = true;
  EXPECT_EQ(RequiredWeights(config).size(), plain + 9);
  EXPECT_EQ(ParameterCount(config), 5 * 4 + 4 + 2 * 4 + 4 * 16 + 3 * 12 + 4 * 4 + 2 * 3 + 4 + 2 * 4);
}

TEST(Weights, EveryTensorMayHaveItsOwnDtype) {
  ModelConfig config = SmallConfig(false);
  config.qkv_bias = true;
  const std::string q_bias = LayerBias(0, "self_attn.q_proj"), q = LayerWeight(0, "self_attn.q_proj");
  EXPECT_EQ(Check(config, RequiredWeights(config), {{q_bias, "F16"}, {std::string(kFinalNormWeight), "BF16"}})
                .ToString(),
            "ok");
  EXPECT_EQ(Check(config, RequiredWeights(config), {{q, "F16"}}).ToString(), "ok");
  EXPECT_THAT(Check(config, RequiredWeights(config), {{q_bias, "I16"}}).message(),
              HasSubstr("model.safetensors: tensor '" + q_bias + "' has dtype I16"));
}

TEST(Weights, AnotherShapeNamesTheKey) {
  ModelConfig config = SmallConfig(false);
  config.qkv_bias = config.output_bias = config.mlp_bias = config.qk_norm = true;
  const std::string heads = "num_attention_heads times head_dim",
                    kv_heads = "num_key_value_heads times head_dim";
  const std::map<std::string, std::vector<std::string>> keys = {
      {"embed_tokens.weight", {"vocab_size", "hidden_size"}},
      {"lm_head.weight", {"vocab_size", "hidden_size"}},
      {"model.norm.weight", {"hidden_size"}},
      {"layernorm.weight", {"hidden_size"}},
      {"q_proj.weight", {heads, "hidden_size"}},
      {"k_proj.weight", {kv_heads, "hidden_size"}},
      {"v_proj.weight", {kv_heads, "hidden_size"}},
      {"o_proj.weight", {"hidden_size", heads}},
      {"q_norm.weight", {"head_dim"}},
      {"k_norm.weight", {"head_dim"}},
      {"gate_proj.weight", {"intermediate_size", "hidden_size"}},
      {"up_proj.weight", {"intermediate_size", "hidden_size"}},
      {"down_proj.weight", {"hidden_size", "intermediate_size"}},
      {"q_proj.bias", {heads}},
      {"k_proj.bias", {kv_heads}},
      {"v_proj.bias", {kv_heads}},
      {"o_proj.bias", {"hidden_size"}},
      {"gate_proj.bias", {"intermediate_size"}},
      {"up_proj.bias", {"intermediate_size"}},
      {"down_proj.bias", {"hidden_size"}},
  };
  std::vector<WeightSpec> specs = RequiredWeights(config);
  for (WeightSpec& spec : specs) {
    const auto row =
        std::ranges::find_if(keys, [&](const auto& one) { return spec.name.ends_with(one.first); });
    ASSERT_NE(row, keys.end()) << spec.name;
    ASSERT_EQ(row->second.size(), spec.shape.size()) << spec.name;
    for (size_t i = 0; i < spec.shape.size(); ++i) {
      ++spec.shape[i];
      EXPECT_THAT(Check(config, specs, {}).message(), HasSubstr("'" + spec.name + "' has shape")) << i;
      EXPECT_THAT(Check(config, specs, {}).message(), HasSubstr("] (" + row->second[i] + ");")) << spec.name;
      --spec.shape[i];
    }
  }
  specs[0].shape.pop_back();
  EXPECT_THAT(Check(config, specs, {}).message(),
              HasSubstr("has shape [5], but config.json asks for [5, 4];"));
}

TEST(Weights, AMissingTensorSaysWhatIsThereInstead) {
  const ModelConfig config = SmallConfig(false);
  const auto renamed = [&](const std::string& part, const std::string& other) {
    std::vector<WeightSpec> specs = RequiredWeights(config);
    for (WeightSpec& spec : specs) {
      if (const size_t at = spec.name.find(part); at != spec.name.npos)
        spec.name.replace(at, part.size(), other);
    }
    return Check(config, specs, {}).message();
  };
  for (const char* other : {"qkv_proj", "query_key_value", "W_pack", "c_attn"}) {
    EXPECT_THAT(renamed("q_proj", other),
                HasSubstr(std::string(other) + ".weight' is there: it has q, k and v in one"));
  }
  EXPECT_THAT(renamed("gate_proj", "gate_up_proj"), HasSubstr("it has gate and up in one tensor"));
  EXPECT_THAT(renamed("o_proj", "qkv_proj"), HasSubstr("the files have other names"));
  EXPECT_THAT(renamed("down_proj", "w2"),
              HasSubstr("the files have other names, such as 'model.layers.0.mlp.w2.weight'"));
  EXPECT_THAT(renamed("model.layers.0", "model.layers.x"), HasSubstr("the files have other names"));
  EXPECT_THAT(renamed("q_proj.weight", "q_proj.qweight"), HasSubstr("use the model before it was quantised"));
  ModelConfig deeper = config;
  deeper.layers = 3;
  deeper.windows = {0, 0, 0};
  EXPECT_THAT(Check(deeper, RequiredWeights(config), {}).message(),
              HasSubstr("num_hidden_layers in config.json is 3, but the weights have 1 layer; correct it"));
}

TEST(Weights, MoreTensorsThanTheModelHasAreAWarning) {
  std::vector<std::string> warnings;
  SetLogSink([&](LogLevel, std::string_view message, std::initializer_list<LogField>) {
    warnings.emplace_back(message);
  });
  const ModelConfig config = SmallConfig(true);
  const auto with = [&](const std::string& name) {
    warnings.clear();
    std::vector<WeightSpec> specs = RequiredWeights(config);
    specs.push_back({name, {4}});
    EXPECT_TRUE(Check(config, specs, {}).ok()) << name;
    return warnings.empty() ? "" : warnings.front();
  };
  EXPECT_EQ(with("model.layers.1.self_attn.rotary_emb.inv_freq"), "");
  EXPECT_EQ(with("model.layers.0.self_attn.rotary_emb.inv_freq"), "");
  EXPECT_THAT(with("model.layers.1.x.weight"), HasSubstr("more layers than num_hidden_layers"));
  EXPECT_THAT(with("model.layers.2147483647.x"), HasSubstr("more layers than num_hidden_layers"));
  for (const char* name : {"model.layers.0.x", "model.layers.99999999999.x", "model.layers.",
                           "model.layers.-7.x", "x.layers.1.weight"})
    EXPECT_THAT(with(name), HasSubstr("that this architecture does not read")) << name;
  SetLogSink([](LogLevel, std::string_view, std::initializer_list<LogField>) {});
}

TEST(Weights, ATiedHeadIsACopyOrRefused) {
  const ModelConfig tied = SmallConfig(true);
  const std::vector<WeightSpec> both = RequiredWeights(SmallConfig(false));
  EXPECT_EQ(Check(tied, RequiredWeights(tied), {}).ToString(), "ok");
  EXPECT_EQ(Check(tied, both, {}).ToString(), "ok");
  const Status differs = Check(tied, both, {}, 1);
  EXPECT_EQ(differs.code(), Code::kUnsupported);
  EXPECT_THAT(differs.message(), HasSubstr("'lm_head.weight' differs from 'model.embed_tokens.weight'"));
  EXPECT_EQ(Check(SmallConfig(false), both, {}, 1).ToString(), "ok");
}

}  // namespace
}  // namespace prefixd
