#include "model/model_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/registry.h"
#include "tests/kernels/forwarding_backend.h"
#include "tests/support/shared_data.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;
using testing_support::ReadFileOrDie;
using testing_support::TempDir;
using testing_support::WriteTinyModel;

class ModelLoaderTest : public ::testing::Test {
 protected:
  void SetUp() override { WriteTinyModel(dir_.path(), 1); }

  Result<LoadedPlan> Load(int context, const LoadProgress& progress = {}) {
    PREFIXD_ASSIGN_OR_RETURN(const ModelConfig config,
                             ParseModelConfig(ReadFileOrDie(dir_.path() / "config.json")));
    PREFIXD_ASSIGN_OR_RETURN(const WeightFiles files, WeightFiles::Open(dir_.path()));
    return LoadPlan(config, files, *backend_, context, progress);
  }

  // The logits after five tokens.
  std::vector<float> LogitsOf(ModelPlan plan) {
    const auto model = *backend_->CreateRunner(std::move(plan), {64, 8, 8});
    const auto pool = *backend_->AllocateKv(model->shape().Kv(4, DType::kF32), 2);
    const std::vector<TokenId> tokens = {1, 2, 3, 4, 5};
    const std::vector<BlockId> blocks = {1, 0};
    const std::vector<SequenceSpan> spans = {{0, 5, 0, blocks}};
    std::vector<LogitRow> rows(1);
    rows[0].row = 4;
    std::vector<float> logits(64);
    model->Launch({{tokens, spans}, rows, pool.get(), logits.data()}, {});
    const Status status = model->Collect();
    PREFIXD_CHECK(status.ok()) << status.ToString();
    return logits;
  }

  // Replaces every `from` in a file by a `to` of the same length.
  void Patch(const std::string& file, const std::string& from, const std::string& to) {
    ASSERT_EQ(from.size(), to.size());
    std::string bytes = ReadFileOrDie(dir_.path() / file);
    size_t at = bytes.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    for (; at != std::string::npos; at = bytes.find(from, at + 1)) bytes.replace(at, to.size(), to);
    std::ofstream(dir_.path() / file, std::ios::binary) << bytes;
  }

  void ExpectRefused(Code code, const std::string& part) {
    const auto model = Load(64);
    ASSERT_FALSE(model.ok()) << part;
    EXPECT_EQ(model.status().code(), code) << model.status().message();
    EXPECT_THAT(model.status().message(), HasSubstr(part));
  }

  TempDir dir_;
  std::unique_ptr<Backend> backend_ = *CreateBackend("ref", 1);
};

TEST_F(ModelLoaderTest, TheContextIsChecked) {
  EXPECT_EQ(Load(0).status().code(), Code::kInvalidArgument);
  const Status too_long = Load(4097).status();
  EXPECT_EQ(too_long.code(), Code::kInvalidArgument);
  EXPECT_THAT(too_long.message(), HasSubstr("4097"));
  EXPECT_THAT(too_long.message(), HasSubstr("4096"));
}

TEST_F(ModelLoaderTest, ProgressGrowsToAll) {
  std::vector<double> seen;
  ASSERT_TRUE(Load(64, [&](double share) { seen.push_back(share); }).ok());
  ASSERT_GT(seen.size(), 2u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_GT(seen[seen.size() - 2], 0.99);
  EXPECT_EQ(seen.back(), 1.0);
}

// Several tensors at a time, and several pieces of one: those of gate and up take 3 MiB each.
TEST_F(ModelLoaderTest, AnyNumberOfThreadsLoadsTheSame) {
  class Threaded final : public kernel_testing::ForwardingBackend {
   public:
    Threaded(Backend& to, int threads) : ForwardingBackend(to), threads_(threads) {}
    int upload_threads() const override { return threads_; }

   private:
    const int threads_;
  };
  for (const bool bf16 : {false, true}) {
    WriteTinyModel(dir_.path(), 1,
                   {.hidden = 512,
                    .layers = 1,
                    .intermediate = 1536,
                    .bf16 = bf16,
                    .more = R"(,"attention_bias":true)"});
    const ModelConfig config = *ParseModelConfig(ReadFileOrDie(dir_.path() / "config.json"));
    const WeightFiles files = *WeightFiles::Open(dir_.path());
    std::vector<std::vector<float>> logits;
    std::vector<BlockKey> hashes;
    for (const int threads : {1, 2, 5}) {
      Threaded backend(*backend_, threads);
      LoadedPlan loaded = *LoadPlan(config, files, backend, 64, {});
      hashes.push_back(loaded.weights_hash);
      logits.push_back(LogitsOf(std::move(loaded.plan)));
    }
    EXPECT_EQ(logits[1], logits[0]);
    EXPECT_EQ(logits[2], logits[0]);
    EXPECT_EQ(std::set<float>(logits[0].begin(), logits[0].end()).size(), 64u);
    EXPECT_EQ(hashes, std::vector<BlockKey>(3, hashes[0]));
  }
}

// Matrices of different types keep them where they are stacked. The numbers are those of the f32 model, but
// for their rounding.
TEST_F(ModelLoaderTest, TypesMayDifferWithinALayer) {
  const std::vector<float> want = LogitsOf(std::move(Load(64)->plan));
  WriteTinyModel(dir_.path(), 1, {.mixed = true});
  LoadedPlan loaded = *Load(64);
  const LayerWeights& layer = loaded.plan.weights.layers[0];
  EXPECT_EQ(layer.qkv->parts().size(), 3u);
  EXPECT_EQ(layer.gate_up->parts().size(), 2u);
  EXPECT_TRUE(layer.out->parts().empty());
  const std::vector<float> got = LogitsOf(std::move(loaded.plan));
  const auto size = [](float a, float b) { return std::abs(a) < std::abs(b); };
  const float largest = std::abs(*std::max_element(want.begin(), want.end(), size));
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 0.05 * largest) << i;
  EXPECT_NE(got, want);
}

TEST_F(ModelLoaderTest, TheHashNamesTheWeights) {
  const BlockKey hash = Load(64)->weights_hash;
  EXPECT_EQ(Load(32)->weights_hash, hash) << "the context is no part of the model";
  std::string bytes = ReadFileOrDie(dir_.path() / "model.safetensors");
  bytes.back() ^= 1;
  std::ofstream(dir_.path() / "model.safetensors", std::ios::binary) << bytes;
  EXPECT_NE(Load(64)->weights_hash, hash);
}

TEST_F(ModelLoaderTest, MissingTensorsAreNamed) {
  Patch("model.safetensors", "layers.1.mlp.up_proj", "layers.1.mlp.xx_proj");
  ExpectRefused(Code::kCorrupt, "'model.layers.1.mlp.up_proj.weight' [48, 32] is missing");
}

TEST_F(ModelLoaderTest, UntiedModelsNeedAHead) {
  Patch("config.json", "\"tie_word_embeddings\":true", "\"tie_word_embeddings\":null");
  ExpectRefused(Code::kCorrupt, "'lm_head.weight' [64, 32] is missing");
}

TEST_F(ModelLoaderTest, ShapesAreThoseOfTheConfig) {
  Patch("config.json", "\"vocab_size\":64", "\"vocab_size\":65");
  ExpectRefused(
      Code::kCorrupt,
      "'model.embed_tokens.weight' has shape [64, 32], but config.json asks for [65, 32] (vocab_size)");
}

TEST_F(ModelLoaderTest, DtypesAreThoseThatKernelsRead) {
  Patch("model.safetensors", "\"dtype\":\"F32\"", "\"dtype\":\"I32\"");
  ExpectRefused(Code::kUnsupported, "has dtype I32 (supported: F32, F16, BF16)");
}

TEST_F(ModelLoaderTest, WeightsAreNumbers) {
  for (const char* last : {"\x7f\x80", "\xff\x80", "\x7f\xc0"}) {  // infinities and NaN, highest bytes first
    WriteTinyModel(dir_.path(), 1);
    std::string bytes = ReadFileOrDie(dir_.path() / "model.safetensors");
    bytes.back() = last[0];
    bytes[bytes.size() - 2] = last[1];
    std::ofstream(dir_.path() / "model.safetensors", std::ios::binary) << bytes;
    ExpectRefused(Code::kCorrupt, "'model.layers.1.mlp.down_proj.weight' holds NaN or infinite values");
  }
}

TEST_F(ModelLoaderTest, AContextBeyondDynamicRopeIsRefusedWithTheReason) {
  WriteTinyModel(dir_.path(), 1, {.more = R"(,"rope_scaling":{"type":"dynamic","factor":2.0})"});
  EXPECT_TRUE(Load(4096).ok());
  EXPECT_THAT(Load(4097).status().message(), HasSubstr("rope type dynamic changes the keys of earlier"));
}

TEST_F(ModelLoaderTest, TensorsOfEveryColumnAreAskedFor) {
  const std::tuple<std::string, std::string, std::string> cases[] = {
      {"llama", R"(,"attention_bias":true)", "self_attn.o_proj.bias"},
      {"llama", R"(,"mlp_bias":true)", "mlp.down_proj.bias"},
      {"qwen2", "", "self_attn.k_proj.bias"},
      {"qwen3", "", "self_attn.q_norm.weight"},
  };
  for (const auto& [model_type, more, tensor] : cases) {
    WriteTinyModel(dir_.path(), 1, {.model_type = model_type, .more = more});
    EXPECT_EQ(Load(64).status().ToString(), "ok");
    Patch("model.safetensors", tensor, std::string(tensor.size(), 'x'));
    ExpectRefused(Code::kCorrupt, "'model.layers.0." + tensor + "' [");
  }
}

// The configurations of TensorsOfEveryColumnAreAskedFor and more, so that no tensor is left out.
TEST_F(ModelLoaderTest, DummyWeightsComeFromTheConfigurationAlone) {
  for (const testing_support::TinyModelShape& shape : {testing_support::TinyModelShape{},
                                                       {.bf16 = true},
                                                       {.more = R"(,"attention_bias":true,"mlp_bias":true)"},
                                                       {.model_type = "qwen3"}}) {
    WriteTinyModel(dir_.path(), 1, shape);
    const LoadedPlan real = *Load(64);
    const ModelConfig config = *ParseModelConfig(ReadFileOrDie(dir_.path() / "config.json"));
    std::vector<double> seen;
    LoadedPlan dummy = *LoadDummyPlan(config, *backend_, 64, [&](double share) { seen.push_back(share); });
    EXPECT_EQ(dummy.plan.weights.bytes, real.plan.weights.bytes);
    EXPECT_EQ(dummy.plan.weights.bytes, PlannedDummyBytes(config, *backend_, 64));
    EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
    EXPECT_EQ(seen.back(), 1.0);
    EXPECT_EQ(dummy.weights_hash, LoadDummyPlan(config, *backend_, 32, {})->weights_hash);
    EXPECT_NE(dummy.weights_hash, real.weights_hash);

    const std::vector<float> logits = LogitsOf(std::move(dummy.plan));
    // Of about the size of a normed row, and no two tokens alike.
    double squares = 0;
    for (const float logit : logits) squares += logit * logit;
    EXPECT_GT(squares / 64, 0.25);
    EXPECT_LT(squares / 64, 4);
    EXPECT_EQ(std::set<float>(logits.begin(), logits.end()).size(), 64u);
  }
  EXPECT_EQ(LoadDummyPlan(*ParseModelConfig(ReadFileOrDie(dir_.path() / "config.json")), *backend_, 4097, {})
                .status()
                .code(),
            Code::kInvalidArgument);
}

TEST_F(ModelLoaderTest, TheHashOfDummyWeightsNamesShapesAndType) {
  const auto hash = [this](const testing_support::TinyModelShape& shape) {
    WriteTinyModel(dir_.path(), 1, shape);
    return ToHex(DummyHash(*ParseModelConfig(ReadFileOrDie(dir_.path() / "config.json"))));
  };
  // Records on disk rely on it. A script computed this one from docs/FORMAT.md.
  EXPECT_EQ(hash({}), "cef3fe8e1e10d308ba8adb0cdae4477c");
  EXPECT_NE(hash({.bf16 = true}), hash({}));
  EXPECT_NE(hash({.intermediate = 64}), hash({}));
  EXPECT_NE(hash({.layers = 3}), hash({}));
}

TEST_F(ModelLoaderTest, AStepWithoutLogitsStoresTheSameKv) {
  LoadedPlan loaded = *Load(64);
  const auto model = *backend_->CreateRunner(std::move(loaded.plan), {64, 8, 8});
  const KvLayout layout = model->shape().Kv(4, DType::kF32);
  EXPECT_EQ(layout.TokenBytes(),
            KvBytesPerToken(*ParseModelConfig(ReadFileOrDie(dir_.path() / "config.json")), DType::kF32));
  const auto with = *backend_->AllocateKv(layout, 2), without = *backend_->AllocateKv(layout, 2);
  const std::vector<TokenId> tokens = {1, 2, 3, 4, 5};
  const std::vector<BlockId> blocks = {1, 0};
  const std::vector<SequenceSpan> spans = {{0, 5, 0, blocks}};
  const auto logits_of = [&](std::vector<int> wanted, KvPool& pool) {
    std::vector<LogitRow> rows(wanted.size());
    for (size_t i = 0; i < rows.size(); ++i) rows[i].row = wanted[i];
    std::vector<float> logits(rows.size() * 64);
    model->Launch({{tokens, spans}, rows, &pool, logits.data()}, {});
    EXPECT_TRUE(model->Collect().ok());
    return logits;
  };
  const std::vector<float> both = logits_of({4, 0}, *with);
  logits_of({}, *without);
  for (BlockId id : blocks) {
    for (int layer = 0; layer < layout.layers; ++layer)
      EXPECT_EQ(std::memcmp(with->layer(id, layer), without->layer(id, layer), layout.LayerBytes()), 0) << id;
  }
  EXPECT_EQ(logits_of({4}, *without), std::vector<float>(both.begin(), both.begin() + 64));
}

}  // namespace
}  // namespace prefixd
