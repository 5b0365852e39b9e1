// Whole steps of a model with random weights: every device has the bits of the emulation. Without a module
// (cuda_fixture.h) the other device is an emulated one that takes its work in another order.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "bench/presets.h"
#include "kernels/cuda/cuda_backend.h"
#include "tests/kernels/cuda/cuda_fixture.h"

namespace prefixd {
namespace {

constexpr int kBlockTokens = 16;

// A piece of a sequence: its rows in one step.
struct Piece {
  int sequence, position, rows;
};

// A model on a device, with the KV of two sequences.
class World {
 public:
  World(std::unique_ptr<cuda::CudaRuntime> device, DType dtype)
      : backend_(cuda::CreateCudaBackend(std::move(device))) {
    const bench::Preset& preset = *bench::FindPreset("tiny");
    Result<ModelPlan> plan = bench::RandomPlan(preset, dtype, 64, *backend_);
    PREFIXD_CHECK(plan.ok()) << plan.status().ToString();
    auto runner = backend_->CreateRunner(std::move(*plan), {64, 32, 4});
    PREFIXD_CHECK(runner.ok()) << runner.status().ToString();
    runner_ = std::move(*runner);
    auto pool = backend_->AllocateKv(runner_->shape().Kv(kBlockTokens, dtype), 8);
    PREFIXD_CHECK(pool.ok()) << pool.status().ToString();
    pool_ = std::move(*pool);
  }

  // Returns the logits of the last row of each piece, and the tokens that were drawn from them.
  std::vector<float> Run(const std::vector<Piece>& pieces, std::vector<TokenId>* drawn) {
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
    std::vector<float> logits(rows.size() * static_cast<size_t>(runner_->shape().vocab));
    runner_->Launch({{tokens, spans}, rows, pool_.get(), logits.data()}, {});
    const Status status = runner_->Collect();
    EXPECT_TRUE(status.ok()) << status.ToString();
    for (const LogitRow& row : rows) drawn->push_back(row.result.token);
    return logits;
  }

 private:
  const std::vector<BlockId> tables_[2] = {{6, 1, 4}, {3, 0, 5}};
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<ModelRunner> runner_;
  std::unique_ptr<KvPool> pool_;
};

class CudaStep : public testing::TestWithParam<DType> {};

TEST_P(CudaStep, HasTheBitsOfTheEmulation) {
  World emulated(std::make_unique<cuda_emulation::EmulatedRuntime>(cuda_emulation::EmulatedOptions{}),
                 GetParam());
  World other(cuda_test::NewDevice({.seed = 5, .late_copies = true}), GetParam());
  // Prompts in chunks over the borders of blocks, then both sequences together, then one alone.
  const std::vector<std::vector<Piece>> steps = {{{0, 0, 13}},
                                                 {{0, 13, 9}, {1, 0, 4}},
                                                 {{0, 22, 1}, {1, 4, 17}},
                                                 {{0, 23, 1}, {1, 21, 1}},
                                                 {{1, 22, 1}}};
  for (size_t step = 0; step < steps.size(); ++step) {
    std::vector<TokenId> drawn_emulated, drawn_other;
    const std::vector<float> expected = emulated.Run(steps[step], &drawn_emulated);
    const std::vector<float> got = other.Run(steps[step], &drawn_other);
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(expected[i]))
          << "step " << step << ", logit " << i << ": " << got[i] << ", not " << expected[i];
    }
    ASSERT_NE(expected.front(), expected[1]);  // they are no constants
    EXPECT_EQ(drawn_other, drawn_emulated) << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CudaStep, testing::Values(DType::kBF16, DType::kF16, DType::kF32),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

}  // namespace
}  // namespace prefixd
