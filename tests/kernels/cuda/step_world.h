// Steps of a model with random weights, for tests that compare devices. One thread.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/presets.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/weight_format.h"
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
  // The type of the KV is that of the weights, or bf16 where they are quantised.
  World(std::unique_ptr<CudaRuntime> device, WeightFormat format, bool deterministic = false)
      : World(cuda::CreateCudaBackend(std::move(device), deterministic), format,
              format.quantized() ? DType::kBF16 : format.dtype()) {}
  // `change` may replace matrices of the plan.
  World(std::unique_ptr<Backend> backend, WeightFormat format, KvType kv,
        const std::function<void(Backend&, ModelPlan*)>& change = {})
      : backend_(std::move(backend)) {
    const bench::Preset& preset = *bench::FindPreset("tiny");
    Result<ModelPlan> plan = bench::RandomPlan(preset, format, 64, *backend_);
    PREFIXD_CHECK(plan.ok()) << plan.status().ToString();
    if (change) change(*backend_, &*plan);
    auto runner = backend_->CreateRunner(std::move(*plan), {64, 32, 4});
    PREFIXD_CHECK(runner.ok()) << runner.status().ToString();
    runner_ = std::move(*runner);
    auto pool = backend_->AllocateKv(runner_->shape().Kv(16, kv), 8);
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
      row.draw.params = kDraw;
    }
    result->logits.resize(rows.size() * static_cast<size_t>(runner_->shape().vocab));
    result->drawn.clear();
    runner_->Launch({{tokens, spans}, rows, pool_.get(), result->logits.data()}, {});
    PREFIXD_RETURN_IF_ERROR(runner_->Collect());
    for (const LogitRow& row : rows) result->drawn.push_back(row.result.token);
    return Status::Ok();
  }

  // Two steps that generate a token of each sequence, from `position` of the first sequence and 4 before that
  // of the second on; both in flight at once, or one after the other. The second sequence has penalties.
  Status Generate(int position, bool at_once, StepResult (&results)[2]) {
    struct Step {
      std::vector<TokenId> tokens;
      std::vector<SequenceSpan> spans;
      std::vector<LogitRow> rows;
    } steps[2];
    std::vector<TokenCount> counts = {{5, 1}, {position, 2}};
    for (int s = 0; s < 2; ++s) {
      Step& step = steps[s];
      step.spans = {{0, 1, position + s, tables_[0]}, {1, 1, position + s - 4, tables_[1]}};
      step.rows.resize(2);
      for (int i = 0; i < 2; ++i) {
        step.rows[static_cast<size_t>(i)].row = i;
        step.rows[static_cast<size_t>(i)].draw.params = kDraw;
      }
      LogitRow& second = step.rows[1];
      second.draw.changes = {.repetition_penalty = 3.0f, .frequency_penalty = 2.0f, .counts = counts};
      if (s == 0) {
        step.tokens = {position * 31 % runner_->shape().vocab, 2};
      } else if (at_once) {
        step.tokens = {TokenDrawnBy(0), TokenDrawnBy(1)};
        second.uncounted = 1;
      } else {
        step.tokens = {steps[0].rows[0].result.token, steps[0].rows[1].result.token};
        const auto at = std::ranges::find(counts, step.tokens[1], &TokenCount::token);
        if (at == counts.end()) {
          counts.push_back({step.tokens[1], 1});
        } else {
          ++at->generated;
        }
        second.draw.changes.counts = counts;
      }
      results[s].logits.resize(step.rows.size() * static_cast<size_t>(runner_->shape().vocab));
      runner_->Launch({{step.tokens, step.spans}, step.rows, pool_.get(), results[s].logits.data()}, {});
      if (!at_once) PREFIXD_RETURN_IF_ERROR(runner_->Collect());
    }
    for (int s = 0; s < 2 && at_once; ++s) PREFIXD_RETURN_IF_ERROR(runner_->Collect());
    for (int s = 0; s < 2; ++s) {
      results[s].drawn.clear();
      for (const LogitRow& row : steps[s].rows) results[s].drawn.push_back(row.result.token);
    }
    return Status::Ok();
  }

 private:
  static constexpr DrawParams kDraw{.temperature = 0.9f, .top_k = 50, .seed = 7};
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
