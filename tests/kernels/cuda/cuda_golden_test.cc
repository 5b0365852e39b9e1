// The CUDA backend on the emulated device: whole models against the logits of another implementation, and the
// law that a row depends on nothing but its own sequence.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/cuda_backend.h"
#include "model/model_loader.h"
#include "model/safetensors.h"
#include "tests/golden/golden_case.h"
#include "tests/support/cuda_emulation/emulated_runtime.h"
#include "tests/support/sequence_runner.h"
#include "tests/support/shared_data.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;
using namespace testing_support;  // NOLINT

constexpr int kContext = 400;
constexpr int kRows = 512;  // of a step: all prompts of a folder
constexpr int kBlockTokens = 16;
constexpr int kPoolBlocks = 64;

struct Loaded {
  explicit Loaded(const GoldenCase& golden, const cuda_emulation::EmulatedOptions& options = {})
      : runtime(options), backend(cuda::CreateCudaBackend(&runtime)) {
    const WeightFiles files = *WeightFiles::Open(golden.folder);
    const ModelConfig config = *ParseModelConfig(ReadFileOrDie(golden.folder / "config.json"));
    const int context = std::min(kContext, config.max_positions);
    dtype = config.dtype.value_or(DType::kF32);
    family = config.model_type;
    LoadedPlan loaded = *LoadPlan(config, files, *backend, context, {});
    model = *backend->CreateRunner(std::move(loaded.plan), {context, kRows, kRows});
  }
  SequenceRunner Runner(DType kv) { return {*model, *backend, kv, kBlockTokens, kPoolBlocks}; }

  cuda_emulation::EmulatedRuntime runtime;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<ModelRunner> model;
  DType dtype = DType::kF32;
  std::string family;
};

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// 16-bit weights multiply activations that are rounded to 8 or 11 bits, and so does KV of 16 bits.
float Allowed(DType type) { return type == DType::kF32 ? 1e-4f : type == DType::kF16 ? 4e-3f : 3e-2f; }

// What a run differs by, in parts of the largest logit.
struct Difference {
  float logits = 0;  // the largest difference from an expected logit
  float tokens = 0;  // by how much the logit of an expected token is below that of the token drawn
  int drawn = 0, equal = 0;
};

// Runs the first prompts of a folder, all of them in each step, and draws tokens on the device. Each step
// continues with the tokens of the reference.
class GoldenRun {
 public:
  GoldenRun(const GoldenCase& golden, Loaded& loaded, DType kv, size_t prompts)
      : golden_(golden), loaded_(loaded), prompts_(std::span(golden.prompts).first(prompts)) {
    const auto blocks = static_cast<uint32_t>(prompts * (kContext / kBlockTokens));
    pool_ = *loaded.backend->AllocateKv(loaded.model->shape().Kv(kBlockTokens, kv), blocks);
    tables_.resize(prompts);
    for (BlockId block = 0; block < blocks; ++block) tables_[block % prompts].push_back(block);
  }

  Difference Run(size_t tokens) {
    RunPrompts();
    for (size_t step = 1; step < tokens; ++step) {
      std::vector<std::span<const TokenId>> more;
      std::set<int> rows;
      for (const GoldenPrompt& prompt : prompts_) {
        rows.insert(static_cast<int>(more.size()));
        more.push_back(std::span(prompt.greedy).subspan(step - 1, 1));
      }
      const std::map<int, Row> results = RunStep(more, rows);
      for (const auto& [p, row] : results) CompareToken(row, prompts_[static_cast<size_t>(p)].greedy[step]);
    }
    return difference_;
  }

 private:
  struct Row {
    TokenId drawn;
    std::vector<float> logits;
  };

  void RunPrompts() {
    std::vector<std::span<const TokenId>> more;
    std::vector<int> last;  // row of each prompt
    std::set<int> rows;
    for (const GoldenPrompt& prompt : prompts_) {
      more.push_back(prompt.ids);
      last.push_back((last.empty() ? -1 : last.back()) + static_cast<int>(prompt.ids.size()));
      rows.insert(last.back());
    }
    const auto row_of = [&](const GoldenLogits& expected) {
      const auto p = static_cast<size_t>(expected.prompt);
      return last[p] - static_cast<int>(prompts_[p].ids.size()) + 1 + expected.position;
    };
    for (const GoldenLogits& expected : golden_.logits) rows.insert(row_of(expected));
    const std::map<int, Row> results = RunStep(more, rows);
    for (const GoldenLogits& expected : golden_.logits) {
      const std::vector<float>& got = results.at(row_of(expected)).logits;
      for (size_t i = 0; i < got.size(); ++i) {
        const float distance = std::abs(got[i] - expected.row[i]) / golden_.max_abs;
        difference_.logits = std::max(difference_.logits, std::isnan(distance) ? HUGE_VALF : distance);
      }
    }
    for (size_t p = 0; p < last.size(); ++p) CompareToken(results.at(last[p]), prompts_[p].greedy[0]);
  }

  // A step with the next tokens of each prompt. Returns these of its rows.
  std::map<int, Row> RunStep(const std::vector<std::span<const TokenId>>& more, const std::set<int>& wanted) {
    std::vector<TokenId> tokens;
    std::vector<SequenceSpan> spans;
    lengths_.resize(more.size());
    for (size_t p = 0; p < more.size(); ++p) {
      const int rows = static_cast<int>(more[p].size());
      spans.push_back({static_cast<int>(tokens.size()), rows, lengths_[p], tables_[p]});
      tokens.insert(tokens.end(), more[p].begin(), more[p].end());
      lengths_[p] += rows;
    }
    std::vector<LogitRow> rows;
    for (const int row : wanted) {
      rows.emplace_back().row = row;
      rows.back().draw.params.temperature = 0;
    }
    const auto vocab = static_cast<size_t>(loaded_.model->shape().vocab);
    std::vector<float> logits(rows.size() * vocab);
    loaded_.model->Launch({{tokens, spans}, rows, pool_.get(), logits.data()}, {});
    const Status status = loaded_.model->Collect();
    PREFIXD_CHECK(status.ok()) << status.ToString();
    std::map<int, Row> results;
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto from = logits.begin() + static_cast<std::ptrdiff_t>(i * vocab);
      results[rows[i].row] = {rows[i].result.token, {from, from + static_cast<std::ptrdiff_t>(vocab)}};
    }
    return results;
  }

  void CompareToken(const Row& row, TokenId expected) {
    const std::vector<float>& logits = row.logits;
    EXPECT_EQ(row.drawn, std::ranges::max_element(logits) - logits.begin());
    const float below = logits[static_cast<size_t>(row.drawn)] - logits[static_cast<size_t>(expected)];
    difference_.tokens = std::max(difference_.tokens, below / golden_.max_abs);
    difference_.equal += row.drawn == expected;
    ++difference_.drawn;
  }

  const GoldenCase& golden_;
  Loaded& loaded_;
  const std::span<const GoldenPrompt> prompts_;
  std::unique_ptr<KvPool> pool_;
  std::vector<std::vector<BlockId>> tables_;  // by prompt
  std::vector<int> lengths_;                  // by prompt
  Difference difference_;
};

// How many tokens are drawn after each prompt, which takes most of the time: a few, or as many as
// PREFIXD_GOLDEN_TOKENS says; 48 are all that the folders have.
size_t TokensToDraw() {
  const char* const asked = std::getenv("PREFIXD_GOLDEN_TOKENS");
  return asked == nullptr ? 3 : static_cast<size_t>(std::max(1, std::atoi(asked)));
}

// With KV in f32 all tokens and prompts; with KV in 16 bits, that of the weights, those that have logits.
class CudaGoldenFolders : public testing::TestWithParam<bool> {};

TEST_P(CudaGoldenFolders, HaveTheLogitsAndTokensOfTheReference) {
  std::set<std::string> families;
  size_t longest = 0;
  int drawn = 0, equal = 0;
  for (const GoldenCase& golden : AllGoldenCases()) {
    Loaded loaded(golden, {.exact_products = false});
    const DType weights = loaded.dtype;
    const DType kv = GetParam() ? DType::kF32 : weights == DType::kF32 ? DType::kF16 : weights;
    const size_t tokens = GetParam() ? std::min(TokensToDraw(), golden.prompts[0].greedy.size()) : 1;
    const Difference difference =
        GoldenRun(golden, loaded, kv, GetParam() ? golden.prompts.size() : 3).Run(tokens);
    const std::string name =
        golden.name + ", weights " + std::string(DTypeName(weights)) + ", KV " + std::string(DTypeName(kv));
    const float allowed = std::max(Allowed(weights), Allowed(kv));
    EXPECT_LE(difference.logits, allowed) << name;
    // Two logits may each be off that far.
    EXPECT_LE(difference.tokens, 2 * allowed) << name;
    if (weights == DType::kF32 && kv == DType::kF32) {
      EXPECT_EQ(difference.equal, difference.drawn) << name;
    }
    RecordProperty(name, std::to_string(difference.logits) + ", " + std::to_string(difference.equal) +
                             " of " + std::to_string(difference.drawn) + " tokens");
    families.insert(loaded.family);
    for (const GoldenPrompt& prompt : golden.prompts) longest = std::max(longest, prompt.ids.size());
    drawn += difference.drawn;
    equal += difference.equal;
  }
  EXPECT_EQ(families, (std::set<std::string>{"llama", "mistral", "qwen2", "qwen3"}));
  const bool has_shared = !SharedDir().empty() && fs::exists(SharedDir() / "golden");
  EXPECT_GE(longest, has_shared ? 300u : 100u);
  EXPECT_GE(drawn, 16 * 3);
  EXPECT_GE(equal * 100, drawn * 95) << "what is rounded seldom changes the likeliest token";
}

INSTANTIATE_TEST_SUITE_P(Kv, CudaGoldenFolders, testing::Bool(),
                         [](const auto& info) { return info.param ? "f32" : "of_weights"; });

// One case for each type of weights.
std::vector<GoldenCase> FewCases() {
  std::vector<GoldenCase> few;
  std::vector<DType> seen;
  for (GoldenCase& golden : AllGoldenCases()) {
    const ModelConfig config = *ParseModelConfig(ReadFileOrDie(golden.folder / "config.json"));
    const DType dtype = config.dtype.value_or(DType::kF32);
    if (std::ranges::count(seen, dtype) > 0) continue;
    seen.push_back(dtype);
    few.push_back(std::move(golden));
  }
  return few;
}

TEST(CudaGolden, ChunksAndNeighboursDoNotChangeBits) {
  for (const GoldenCase& golden : FewCases()) {
    Loaded loaded(golden, {.late_copies = true});
    const std::span<const TokenId> ids = std::span(golden.prompts[2].ids).first(40);
    const std::span<const TokenId> other = std::span(golden.prompts[2].ids).subspan(1, 20);
    for (const DType kv : {DType::kF32, DType::kF16, DType::kBF16}) {
      SequenceRunner runner = loaded.Runner(kv);
      RunningSequence whole;
      const std::vector<float> expected = runner.Append(whole, ids, kContext);
      for (const int chunk : {7, 16}) {
        RunningSequence sequence, beside;
        std::vector<float> got;
        for (size_t at = 0; at < ids.size(); at += static_cast<size_t>(chunk)) {
          const auto part = ids.subspan(at, std::min(static_cast<size_t>(chunk), ids.size() - at));
          const SequenceRunner::Piece pieces[] = {
              {&beside, other.subspan(at / static_cast<size_t>(chunk), 1)}, {&sequence, part}};
          const std::vector<float> logits = runner.Step(pieces);
          got.insert(got.end(), logits.begin() + runner.vocab(), logits.end());
        }
        EXPECT_TRUE(SameBits(got, expected)) << golden.name << ", KV " << DTypeName(kv) << ", " << chunk;
        runner.Free(sequence);
        runner.Free(beside);
      }
    }
  }
}

}  // namespace
}  // namespace prefixd
