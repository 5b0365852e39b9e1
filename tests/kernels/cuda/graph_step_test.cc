// Steps that decode as graphs: they have the bits of launches one by one, and change no more memory, in
// batches that grow and shrink.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "bench/presets.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/numerics.h"
#include "tests/kernels/cuda/cuda_fixture.h"
#include "tests/support/cuda_emulation/kernel_products.h"

namespace prefixd {
namespace {

using cuda_emulation::EmulatedRuntime;

constexpr int kSequences = 7, kBlockTokens = 8;

// What a step gives: the logits and the tokens.
struct Results {
  std::vector<float> logits;
  std::vector<TokenId> tokens;
  friend bool operator==(const Results&, const Results&) = default;
};

struct MachineOptions {
  bool graphs = true;
  DType type = DType::kBF16;
  int window = 0;
  cuda_emulation::KernelProducts* library = nullptr;
  int context = 48;
  int shared_blocks = 0;  // of all sequences, from their beginning on
};

// A model with some sequences, on a device that records steps or refuses to.
class Machine {
 public:
  explicit Machine(const MachineOptions& options)
      : runtime_({.seed = options.graphs ? 3u : 1u,
                  .exact_products = false,
                  .late_copies = options.graphs,
                  .refuses_capture = [graphs = options.graphs] { return !graphs; },
                  .products = options.library}),
        last_(kSequences, 3),
        length_(kSequences, 0) {
    if (options.library != nullptr) options.library->set_runtime(&runtime_);
    const int blocks = options.context / kBlockTokens;
    backend_ = cuda::CreateCudaBackend(&runtime_);
    bench::Preset preset = *bench::FindPreset("tiny");
    preset.window = options.window;
    auto plan = bench::RandomPlan(preset, options.type, options.context, *backend_);
    PREFIXD_CHECK(plan.ok()) << plan.status().ToString();
    const KvLayout layout = plan->shape.Kv(kBlockTokens, options.type);
    vocab_ = plan->shape.vocab;
    auto runner = backend_->CreateRunner(std::move(*plan), {options.context, 32, kSequences - 1});
    PREFIXD_CHECK(runner.ok()) << runner.status().ToString();
    runner_ = std::move(*runner);
    pool_ = *backend_->AllocateKv(layout, static_cast<uint32_t>(kSequences * blocks));
    for (int s = 0; s < kSequences; ++s) {
      auto& table = tables_.emplace_back();
      for (int b = 0; b < blocks; ++b) {
        const int of = b < options.shared_blocks ? 0 : s;
        table.push_back(static_cast<BlockId>((b * kSequences + of * 3) % (kSequences * blocks)));
      }
    }
  }

  EmulatedRuntime& runtime() { return runtime_; }
  AttentionReads reads() const { return runner_->attention_reads(); }
  // The blocks of a sequence have so many tokens already.
  void Have(int sequence, int tokens) { length_[static_cast<size_t>(sequence)] = tokens; }

  // Computes `rows` tokens of each sequence.
  Results Step(const std::vector<int>& sequences, int rows = 1) {
    Results results;
    results.tokens.resize(sequences.size());
    Launch(sequences, rows, &results);
    Collect();
    return results;
  }
  // Two steps of one row each, of which the second takes the tokens of the first on the device.
  std::pair<Results, Results> TwoInFlight(const std::vector<int>& sequences) {
    std::pair<Results, Results> results;
    Launch(sequences, 1, &results.first);
    for (size_t i = 0; i < sequences.size(); ++i)
      last_[static_cast<size_t>(sequences[i])] = TokenDrawnBy(static_cast<int>(sequences.size() - 1 - i));
    Launch(sequences, 1, &results.second);
    Collect();
    Collect();
    return results;
  }
  // All bytes of the blocks.
  std::vector<std::byte> Blocks() {
    std::vector<std::byte> all;
    const auto copier = *backend_->CreateKvCopier(pool_->layout());
    for (BlockId b = 0; b < pool_->blocks(); ++b) {
      const auto staged = copier->Stage();
      const std::span<std::byte> block(staged.get(), pool_->layout().BlockBytes());
      PREFIXD_CHECK(copier->Read(*pool_, b, block).ok());
      all.insert(all.end(), block.begin(), block.end());
    }
    return all;
  }

 private:
  struct InFlight {
    std::vector<int> sequences;
    std::vector<LogitRow> rows;
    Results* results;
  };

  void Launch(const std::vector<int>& sequences, int rows, Results* results) {
    InFlight& step = in_flight_.emplace_back();
    step.sequences = sequences;
    step.results = results;
    std::vector<TokenId> tokens;
    std::vector<SequenceSpan> spans;
    for (const int s : sequences) {
      const auto at = static_cast<size_t>(s);
      spans.push_back({static_cast<int>(tokens.size()), rows, length_[at], tables_[at]});
      tokens.push_back(last_[at]);
      for (int i = 1; i < rows; ++i) tokens.push_back((s * 311 + (length_[at] + i) * 97) % vocab_);
      LogitRow& row = step.rows.emplace_back();
      row.row = static_cast<int>(tokens.size()) - 1;
      row.draw.params = {.temperature = 0.9f, .top_k = 50, .seed = 7};
      if (s % 3 == 1) row.draw.changes = {.repetition_penalty = 1.5f, .counts = counts_};
      if (s % 3 == 2) row.logprobs = 2;
      length_[at] += rows;
    }
    std::ranges::reverse(step.rows);  // in any order
    results->logits.resize(step.rows.size() * static_cast<size_t>(vocab_));
    runner_->Launch({{tokens, spans}, step.rows, pool_.get(), results->logits.data()}, {});
  }
  void Collect() {
    const Status status = runner_->Collect();
    PREFIXD_CHECK(status.ok()) << status.ToString();
    InFlight& step = in_flight_.front();
    step.results->tokens.clear();
    for (const LogitRow& row : step.rows) step.results->tokens.push_back(row.result.token);
    for (size_t i = 0; i < step.sequences.size(); ++i)
      last_[static_cast<size_t>(step.sequences[i])] = step.rows[step.rows.size() - 1 - i].result.token;
    in_flight_.pop_front();
  }

  const std::vector<TokenCount> counts_ = {{5, 1}, {9, 2}};
  EmulatedRuntime runtime_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<ModelRunner> runner_;
  std::unique_ptr<KvPool> pool_;
  int vocab_ = 0;
  std::vector<TokenId> last_;
  std::vector<int> length_;
  std::vector<std::vector<BlockId>> tables_;
  std::deque<InFlight> in_flight_;
};

// Prompts, then batches of sequences that decode.
const std::vector<std::vector<int>>& Batches() {
  static const std::vector<std::vector<int>> batches = {
      {0}, {3, 1}, {5}, {0, 1, 2}, {4, 2, 6, 0, 1}, {2}, {6, 5, 4, 3, 2, 1}, {1, 0}, {0, 2, 5}};
  return batches;
}

class CudaGraphStep : public testing::TestWithParam<std::pair<DType, int>> {};

TEST_P(CudaGraphStep, HasTheBitsOfLaunchesOneByOne) {
  SetLogLevel(LogLevel::kError);
  const auto [type, window] = GetParam();
  Machine graphs({.type = type, .window = window}), alone({.graphs = false, .type = type, .window = window});
  for (Machine* machine : {&graphs, &alone}) {
    for (int s = 0; s < kSequences; ++s) machine->Step({s}, 2 + s);
  }
  EXPECT_EQ(graphs.runtime().graph_launches(), 0u) << "prompts have no graph";
  for (const std::vector<int>& batch : Batches()) {
    const Results expected = alone.Step(batch), got = graphs.Step(batch);
    ASSERT_EQ(got, expected);
    ASSERT_NE(expected.logits[0], expected.logits[1]);
  }
  EXPECT_EQ(graphs.runtime().graph_launches(), Batches().size());
  EXPECT_EQ(graphs.runtime().graphs(), 4u) << "for 1, 2, 4 and 6 rows, which is the most";
  EXPECT_EQ(alone.runtime().graph_launches(), 0u);
  for (const std::vector<int>& batch : {std::vector{0}, {1, 2, 3}, {4, 5}}) {
    const auto expected = alone.TwoInFlight(batch), got = graphs.TwoInFlight(batch);
    ASSERT_EQ(got.first, expected.first);
    ASSERT_EQ(got.second, expected.second);
  }
  EXPECT_EQ(graphs.runtime().graphs(), 4u + 3) << "two steps in flight have graphs of their own";
  EXPECT_EQ(graphs.Blocks(), alone.Blocks()) << "rows that are not there store no KV";
}

INSTANTIATE_TEST_SUITE_P(Types, CudaGraphStep,
                         testing::Values(std::pair{DType::kBF16, 0}, std::pair{DType::kF16, 5},
                                         std::pair{DType::kF32, 0}),
                         [](const auto& info) { return std::string(DTypeName(info.param.first)); });

TEST(CudaGraphSteps, OnlyStepsInWhichEveryRowDecodesAreGraphs) {
  Machine machine({});
  machine.Step({0}, 3);
  machine.Step({1, 2}, 2);
  EXPECT_EQ(machine.runtime().graph_launches(), 0u);
  machine.Step({0});
  EXPECT_EQ(machine.runtime().graph_launches(), 1u);
}

TEST(CudaGraphSteps, ProductsOfALibraryArePartOfAGraph) {
  SetLogLevel(LogLevel::kError);
  cuda_emulation::KernelProducts library;
  Machine graphs({.library = &library}), alone({.graphs = false});
  const std::vector<int> batch = {4, 2, 6, 0, 1};
  for (Machine* machine : {&graphs, &alone}) machine->Step(batch, 3);
  library.given[0].clear();
  for (int step = 0; step < 3; ++step) {
    EXPECT_EQ(graphs.Step(batch), alone.Step(batch));
    EXPECT_EQ(library.given[0].size(), 9u) << "when the graph was recorded";
  }
}

// A prefix of one span: its blocks are read once, and no bit depends on it.
TEST(CudaSharedBlocks, AreReadOnceInABatchWithTheBitsOfSequencesAlone) {
  SetLogLevel(LogLevel::kError);
  constexpr int kPrefix = cuda::kSpanTokens, kBlocks = kPrefix / kBlockTokens;
  const std::vector<int> batch = {0, 1, 2, 4, 5};  // 2 heads for a KV head: 8 rows are a unit
  Machine together({.graphs = true, .context = kPrefix + 16, .shared_blocks = kBlocks});
  Machine alone({.graphs = false, .context = kPrefix + 16, .shared_blocks = kBlocks});
  for (Machine* machine : {&together, &alone}) {
    for (int chunk = 0; chunk < kPrefix / 32; ++chunk) machine->Step({0}, 32);
    for (const int s : batch) {
      machine->Have(s, kPrefix);
      machine->Step({s}, 1 + s);
    }
  }
  for (int step = 0; step < 2; ++step) {
    const Results got = together.Step(batch);
    const AttentionReads reads = together.reads();
    Results expected;
    AttentionReads of_alone;
    for (const int s : batch) {
      const Results one = alone.Step({s});
      expected.logits.insert(expected.logits.begin(), one.logits.begin(), one.logits.end());
      expected.tokens.insert(expected.tokens.begin(), one.tokens.begin(), one.tokens.end());
      EXPECT_EQ(alone.reads().saved_bytes, 0u);
      of_alone += alone.reads();
    }
    ASSERT_EQ(got, expected);
    const uint64_t block = 2 * 2 * 2 * 32 * kBlockTokens * 2;  // layers, K and V, KV heads, dims, bytes
    EXPECT_EQ(reads.saved_bytes, 4 * kBlocks * block);
    EXPECT_EQ(reads.read_bytes + reads.saved_bytes, of_alone.read_bytes);
  }
}

}  // namespace
}  // namespace prefixd
