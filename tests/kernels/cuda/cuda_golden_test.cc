// The CUDA backend on the emulated device: whole models against the logits of another implementation, and the
// law that a row depends on nothing but its own sequence.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "model/model_loader.h"
#include "model/safetensors.h"
#include "tests/golden/golden_case.h"
#include "tests/support/cuda_emulation/emulated_runtime.h"
#include "tests/support/sequence_runner.h"
#include "tests/support/shared_data.h"

namespace prefixd {
namespace {

using namespace testing_support;  // NOLINT

constexpr int kContext = 100;
constexpr int kBlockTokens = 16;
constexpr int kPoolBlocks = 24;

struct Loaded {
  explicit Loaded(const GoldenCase& golden, const cuda_emulation::EmulatedOptions& options = {})
      : runtime(options), backend(cuda::CreateCudaBackend(&runtime)) {
    const WeightFiles files = *WeightFiles::Open(golden.folder);
    const ModelConfig config = *ParseModelConfig(ReadFileOrDie(golden.folder / "config.json"));
    dtype = config.dtype.value_or(DType::kF32);
    family = config.model_type;
    LoadedPlan loaded = *LoadPlan(config, files, *backend, kContext, {});
    model = *backend->CreateRunner(std::move(loaded.plan), {kContext, kContext, kContext});
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

// Prompts that are short enough for the emulation.
bool IsShort(const GoldenPrompt& prompt) { return prompt.ids.size() <= kContext; }

// The largest difference from the expected logits, relative to the largest one.
struct Difference {
  float worst = 0;
  int compared = 0;
};
Difference LargestDifference(const GoldenCase& golden, SequenceRunner runner) {
  Difference difference;
  for (size_t p = 0; p < golden.prompts.size(); ++p) {
    if (!IsShort(golden.prompts[p])) continue;
    RunningSequence sequence;
    const std::vector<float> logits = runner.Append(sequence, golden.prompts[p].ids, kContext);
    runner.Free(sequence);
    for (const GoldenLogits& expected : golden.logits) {
      if (static_cast<size_t>(expected.prompt) != p) continue;
      const float* const row = logits.data() + static_cast<size_t>(expected.position) * expected.row.size();
      for (size_t i = 0; i < expected.row.size(); ++i) {
        const float distance = std::abs(row[i] - expected.row[i]) / golden.max_abs;
        difference.worst = std::max(difference.worst, std::isnan(distance) ? HUGE_VALF : distance);
      }
      ++difference.compared;
    }
  }
  return difference;
}

// 16-bit weights multiply activations that are rounded to 8 or 11 bits, and so does KV of 16 bits.
float Allowed(DType type) { return type == DType::kF32 ? 1e-4f : type == DType::kF16 ? 4e-3f : 3e-2f; }

TEST(CudaGolden, LogitsEqualTheReference) {
  int compared = 0;
  std::set<std::string> families;
  for (const GoldenCase& golden : AllGoldenCases()) {
    Loaded loaded(golden, {.exact_products = false});
    families.insert(loaded.family);
    std::set<DType> kv_types = {DType::kF32, loaded.dtype};
    if (loaded.dtype == DType::kF32) kv_types.insert(DType::kF16);
    for (const DType kv : kv_types) {
      const Difference difference = LargestDifference(golden, loaded.Runner(kv));
      const std::string name = golden.name + ", weights " + std::string(DTypeName(loaded.dtype)) + ", KV " +
                               std::string(DTypeName(kv));
      EXPECT_LE(difference.worst, std::max(Allowed(loaded.dtype), Allowed(kv))) << name;
      RecordProperty(name, std::to_string(difference.worst));
      compared += difference.compared;
    }
  }
  EXPECT_EQ(families, (std::set<std::string>{"llama", "mistral", "qwen2", "qwen3"}));
  EXPECT_GT(compared, 100);
}

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
