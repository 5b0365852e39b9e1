// Compares the forward pass with checkpoints that hold the logits and greedy tokens of another
// implementation, on every backend that runs here, with KV in f32 and activations in f32. Also tests that
// chunking, batching and the choice of the backend do not change a bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/registry.h"
#include "model/model_loader.h"
#include "model/safetensors.h"
#include "tests/golden/golden_case.h"
#include "tests/support/sequence_runner.h"
#include "tests/support/shared_data.h"

namespace prefixd {
namespace {

using namespace testing_support;  // NOLINT

constexpr int kBlockTokens = 16;
constexpr int kContext = 400;
constexpr int kPoolBlocks = 64;

// Returns the part of prompts[2] that crosses block and attention-tile borders and is short enough for the
// slow reference backend.
std::span<const TokenId> PartOfLongPrompt(const GoldenCase& golden) {
  return std::span(golden.prompts[2].ids).first(100);
}

// A backend with one golden model on it.
struct Loaded {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<ModelRunner> model;
  BlockKey weights_hash;

  Loaded(const GoldenCase& golden, const std::string& backend_name, int threads = 2,
         numerics::Version version = numerics::Version::kCpu1) {
    backend = *CreateBackend(backend_name, threads, {}, version);
    const WeightFiles files = *WeightFiles::Open(golden.folder);
    const ModelConfig config = *ParseModelConfig(ReadFileOrDie(golden.folder / "config.json"));
    const int context = std::min(kContext, config.max_positions);
    LoadedPlan loaded = *LoadPlan(config, files, *backend, context, {});
    weights_hash = loaded.weights_hash;
    model = *backend->CreateRunner(std::move(loaded.plan), {context, context, context});
  }
  SequenceRunner Runner(DType dtype) {
    return SequenceRunner(*model, *backend, dtype, kBlockTokens, kPoolBlocks);
  }
};

class Golden : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    for (const BackendInfo& info : ListBackends()) {
      if (info.name != GetParam()) continue;
      if (!info.runs_here) GTEST_SKIP() << "backend " << info.name << " does not run here: " << info.reason;
      return;
    }
    GTEST_SKIP() << "backend " << GetParam() << " is not compiled in";
  }
};

TEST_P(Golden, LogitsEqualTheReference) {
  for (const GoldenCase& golden : AllGoldenCases()) {
    Loaded loaded(golden, GetParam());
    SequenceRunner runner = loaded.Runner(DType::kF32);
    std::map<int, std::vector<float>> computed;  // prompt -> logits of all its positions
    float worst = 0;
    for (const GoldenLogits& expected : golden.logits) {
      std::vector<float>& logits = computed[expected.prompt];
      RunningSequence sequence;
      if (logits.empty()) logits = runner.Append(sequence, golden.prompts[expected.prompt].ids, kContext);
      runner.Free(sequence);
      const float* row = logits.data() + static_cast<size_t>(expected.position) * runner.vocab();
      ASSERT_EQ(expected.row.size(), static_cast<size_t>(runner.vocab()));
      for (size_t i = 0; i < expected.row.size(); ++i) {
        ASSERT_TRUE(std::isfinite(row[i])) << golden.name;
        worst = std::max(worst, std::abs(row[i] - expected.row[i]));
      }
    }
    EXPECT_LE(worst, 1e-4f * golden.max_abs) << golden.name;
    RecordProperty(golden.name + " largest difference / max_abs", std::to_string(worst / golden.max_abs));
  }
}

TEST_P(Golden, GreedyTokensEqualTheReference) {
  for (const GoldenCase& golden : AllGoldenCases()) {
    Loaded loaded(golden, GetParam());
    SequenceRunner runner = loaded.Runner(DType::kF32);
    for (const GoldenPrompt& prompt : golden.prompts) {
      ASSERT_GE(prompt.greedy.size(), 24u);
      EXPECT_EQ(runner.Greedy(prompt.ids, static_cast<int>(prompt.greedy.size())), prompt.greedy)
          << golden.name << " " << prompt.name;
    }
  }
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_P(Golden, ChunkingDoesNotChangeBits) {
  for (const GoldenCase& golden : AllGoldenCases()) {
    Loaded loaded(golden, GetParam());
    const std::span<const TokenId> ids = PartOfLongPrompt(golden);
    for (const DType dtype : {DType::kF32, DType::kF16}) {
      SequenceRunner runner = loaded.Runner(dtype);
      RunningSequence whole;
      const std::vector<float> expected = runner.Append(whole, ids, kContext);
      for (const int chunk : {1, 7, 16, 33}) {
        RunningSequence sequence;
        EXPECT_TRUE(SameBits(runner.Append(sequence, ids, chunk), expected))
            << golden.name << ", KV " << DTypeName(dtype) << ", chunks of " << chunk;
        runner.Free(sequence);
      }
    }
  }
}

TEST_P(Golden, OtherSequencesInTheBatchDoNotChangeBits) {
  for (const GoldenCase& golden : AllGoldenCases()) {
    Loaded loaded(golden, GetParam());
    SequenceRunner runner = loaded.Runner(DType::kF16);
    const std::span<const TokenId> a = PartOfLongPrompt(golden);
    const std::span<const TokenId> b = golden.prompts[1].ids;
    RunningSequence alone_a, alone_b;
    const std::vector<float> logits_a = runner.Append(alone_a, a, kContext);
    const std::vector<float> logits_b = runner.Append(alone_b, b, kContext);
    // b runs one token per step beside chunks of a.
    RunningSequence mixed_a, mixed_b;
    std::vector<float> got_a, got_b;
    for (size_t i = 0; i < b.size(); ++i) {
      const size_t from = i * a.size() / b.size(), to = (i + 1) * a.size() / b.size();
      const SequenceRunner::Piece pieces[] = {{&mixed_b, b.subspan(i, 1)},
                                              {&mixed_a, a.subspan(from, to - from)}};
      const std::vector<float> logits = runner.Step(pieces);
      got_b.insert(got_b.end(), logits.begin(), logits.begin() + runner.vocab());
      got_a.insert(got_a.end(), logits.begin() + runner.vocab(), logits.end());
    }
    EXPECT_TRUE(SameBits(got_a, logits_a)) << golden.name;
    EXPECT_TRUE(SameBits(got_b, logits_b)) << golden.name;
  }
}

// All fast backends in one test: the reference takes nearly all of the time. Those that do not run here are
// named by Backends/Golden.
TEST(FastBackends, EqualTheReferenceBackendBitForBit) {
  std::vector<std::string> names;
  for (const BackendInfo& info : ListBackends())
    if (info.runs_here && info.name.starts_with("avx")) names.emplace_back(info.name);
  if (names.empty()) GTEST_SKIP() << "no fast backend runs here";
  for (const GoldenCase& golden : AllGoldenCases()) {
    for (const numerics::Version version : {numerics::Version::kCpu1, numerics::Version::kCpu4}) {
      Loaded reference(golden, "ref", 1, version);
      const std::span<const TokenId> ids = PartOfLongPrompt(golden);
      for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        RunningSequence expected;
        const std::vector<float> logits = reference.Runner(dtype).Append(expected, ids, kContext);
        for (const std::string& name : names) {
          Loaded fast(golden, name, 1, version);
          EXPECT_EQ(fast.weights_hash, reference.weights_hash) << name;
          RunningSequence got;
          EXPECT_TRUE(SameBits(fast.Runner(dtype).Append(got, ids, kContext), logits))
              << name << ", " << golden.name << ", KV " << DTypeName(dtype) << ", "
              << numerics::VersionName(version);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, Golden, ::testing::Values("ref", "avx2", "avx512"),
                         [](const auto& info) { return std::string(info.param); });

TEST(GoldenFolders, AreComplete) {
  EXPECT_EQ(GoldenFolders(SourceDir() / "tests/golden/variants").size(), 16u);
  PREFIXD_NEED_SHARED("golden/llama-gqa");
  EXPECT_EQ(GoldenFolders(SharedDir() / "golden").size(), 7u);
}

}  // namespace
}  // namespace prefixd
