// Steps of a model with random weights, for tests that compare devices. One thread.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/presets.h"
#include "kernels/cuda/cuda_backend.h"
#include "tests/kernels/cuda/cuda_fixture.h"

namespace prefixd::cuda_test {

// A piece of a sequence: its rows in one step.
struct Piece {
  int sequence, position, rows;
};

// What a step gives: the logits of the last row of each piece, and the tokens that were drawn from them.
struct StepResult {
  std::vector<float> logits;
  std::vector<TokenId> drawn;
};

// A model on a device, with the KV of two sequences.
class World {
 public:
  World(std::unique_ptr<CudaRuntime> device, DType dtype, bool deterministic = false)
      : backend_(cuda::CreateCudaBackend(std::move(device), deterministic)) {
    const bench::Preset& preset = *bench::FindPreset("tiny");
    Result<ModelPlan> plan = bench::RandomPlan(preset, dtype, 64, *backend_);
    PREFIXD_CHECK(plan.ok()) << plan.status().ToString();
    auto runner = backend_->CreateRunner(std::move(*plan), {64, 32, 4});
    PREFIXD_CHECK(runner.ok()) << runner.status().ToString();
    runner_ = std::move(*runner);
    auto pool = backend_->AllocateKv(runner_->shape().Kv(16, dtype), 8);
    PREFIXD_CHECK(pool.ok()) << pool.status().ToString();
    pool_ = std::move(*pool);
  }

  const Backend& backend() const { return *backend_; }
  const ModelRunner& runner() const { return *runner_; }

  Status Run(const std::vector<Piece>& pieces, StepResult* result) {
    std::vector<SequenceSpan> spans;
    std::vector<LogitRow> rows;
    std::vector<TokenId> tokens;
    for (const Piece& piece : pieces) {
      const int first = static_cast<int>(tokens.size());
      spans.push_back({first, piece.rows, piece.position, tables_[piece.sequence]});
      for (int i = 0; i < piece.rows; ++i)
        tokens.push_back((piece.sequence * 311 + (piece.position + i) * 97) % runner_->shape().vocab);
      LogitRow& row = rows.emplace_back();
      row.row = first + piece.rows - 1;
      row.draw.params.seed = 7;
      row.draw.params.temperature = 0.9f;
      row.draw.params.top_k = 50;
    }
    result->logits.resize(rows.size() * static_cast<size_t>(runner_->shape().vocab));
    result->drawn.clear();
    runner_->Launch({{tokens, spans}, rows, pool_.get(), result->logits.data()}, {});
    PREFIXD_RETURN_IF_ERROR(runner_->Collect());
    for (const LogitRow& row : rows) result->drawn.push_back(row.result.token);
    return Status::Ok();
  }

 private:
  const std::vector<BlockId> tables_[2] = {{6, 1, 4}, {3, 0, 5}};
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<ModelRunner> runner_;
  std::unique_ptr<KvPool> pool_;
};

// Prompts in chunks over the borders of blocks, then both sequences together, then one alone.
inline std::vector<std::vector<Piece>> Steps() {
  return {{{0, 0, 13}},
          {{0, 13, 9}, {1, 0, 4}},
          {{0, 22, 1}, {1, 4, 17}},
          {{0, 23, 1}, {1, 21, 1}},
          {{1, 22, 1}}};
}

// Compares every bit.
inline void ExpectSame(const StepResult& expected, const StepResult& result) {
  ASSERT_EQ(result.logits.size(), expected.logits.size());
  for (size_t i = 0; i < result.logits.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(result.logits[i]), std::bit_cast<uint32_t>(expected.logits[i]))
        << "logit " << i << ": " << result.logits[i] << ", not " << expected.logits[i];
  }
  ASSERT_NE(expected.logits[0], expected.logits[1]);  // they are no constants
  EXPECT_EQ(result.drawn, expected.drawn);
}

// Runs a step in both.
inline void ExpectSameStep(World& expected, World& other, const std::vector<Piece>& step) {
  StepResult of_expected, of_other;
  Status status = expected.Run(step, &of_expected);
  ASSERT_TRUE(status.ok()) << status.ToString();
  status = other.Run(step, &of_other);
  ASSERT_TRUE(status.ok()) << status.ToString();
  ExpectSame(of_expected, of_other);
}

}  // namespace prefixd::cuda_test
