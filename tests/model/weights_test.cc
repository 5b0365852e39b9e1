#include "model/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>

#include "base/bytes.h"
#include "base/prng.h"
#include "kernels/numerics.h"
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

TEST(Weights, VectorsMayHaveAnotherDtypeThanMatrices) {
  ModelConfig config = SmallConfig(false);
  config.qkv_bias = true;
  const std::string q_bias = LayerBias(0, "self_attn.q_proj"), q = LayerWeight(0, "self_attn.q_proj");
  EXPECT_EQ(Check(config, RequiredWeights(config), {{q_bias, "F16"}, {std::string(kFinalNormWeight), "BF16"}})
                .ToString(),
            "ok");
  const Status mixed = Check(config, RequiredWeights(config), {{q, "F16"}});
  EXPECT_EQ(mixed.code(), Code::kUnsupported);
  EXPECT_THAT(mixed.message(), HasSubstr("have different dtypes"));
  EXPECT_THAT(Check(config, RequiredWeights(config), {{q_bias, "I16"}}).message(),
              HasSubstr("has dtype I16"));
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

// For every length up to a few blocks of 64 bytes and a remainder: one element that is not finite, at every
// index.
TEST(Weights, AllFiniteFindsEveryElement) {
  const float kBad[] = {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                        std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()};
  Prng prng(1);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const auto put = [&](std::string* out, float value) {
      if (dtype == DType::kF32) PutLittle<float>(out, value);
      if (dtype == DType::kF16) PutLittle<uint16_t>(out, numerics::F32ToF16(value));
      if (dtype == DType::kBF16) PutLittle<uint16_t>(out, numerics::F32ToBF16(value));
    };
    // The largest finite value, small ones and both zeros.
    const float largest = dtype == DType::kF16 ? 65504.0f : 3.3895e38f;
    const float kGood[] = {0.0f, -0.0f, 1e-7f, largest, -largest, 1.0f};
    for (int length = 1; length <= 75; ++length) {
      for (int bad = -1; bad < length; ++bad) {
        std::string bytes = "x";  // unaligned elements
        for (int i = 0; i < length; ++i) put(&bytes, i == bad ? kBad[prng.Below(4)] : kGood[prng.Below(6)]);
        EXPECT_EQ(AllFinite(std::as_bytes(std::span(bytes)).subspan(1), dtype), bad < 0)
            << DTypeName(dtype) << " " << length << " " << bad;
      }
    }
  }
  EXPECT_TRUE(AllFinite({}, DType::kF32));
}

}  // namespace
}  // namespace prefixd
