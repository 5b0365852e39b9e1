// The engine on an emulated device that has two steps in flight, with the tokens of the first in its own
// memory. The tokens are those of an engine that waits for each step.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "tests/engine/cuda_machine.h"
#include "tests/engine/engine_tiers.h"
#include "tests/engine/random_request.h"
#include "tests/kernels/forwarding_backend.h"
#include "tests/support/rounds.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace prefixd {
namespace {

using cuda::Stream;
using testing_support::CudaMachine;
using testing_support::EngineTiers;
using testing_support::Recorder;
using testing_support::Submit;

constexpr int kContext = 64, kBlockTokens = 4;

// Counts the steps in flight.
class CountingRunner final : public kernel_testing::ForwardingRunner {
 public:
  explicit CountingRunner(ModelRunner& to) : ForwardingRunner(to) {}
  void Launch(const StepInput& input, std::function<void()> on_done) override {
    ++launches;
    if (in_flight > 0) ++launches_ahead;
    ++in_flight;
    for (const TokenId token : input.batch.tokens) tokens_of_the_device += token < 0 ? 1 : 0;
    ForwardingRunner::Launch(input, std::move(on_done));
  }
  Status Collect() override {
    --in_flight;
    return ForwardingRunner::Collect();
  }
  int launches = 0, launches_ahead = 0, in_flight = 0, tokens_of_the_device = 0;
};

class CudaStepsAhead : public testing::Test {
 protected:
  CudaStepsAhead() {
    testing_support::WriteTinyModel(
        folder_.path(), 1, {.hidden = 16, .heads = 2, .kv_heads = 1, .head_dim = 8, .intermediate = 16});
  }
  std::unique_ptr<CudaMachine> Machine(uint64_t seed) const {
    return std::make_unique<CudaMachine>(
        folder_.path(),
        cuda_emulation::EmulatedOptions{
            .seed = seed + 1, .exact_products = false, .late_copies = seed % 2 == 0},
        testing_support::DriverLimits{kContext, 32, 4, 1});
  }
  static EngineOptions Options() {
    EngineOptions options;
    options.context = kContext;
    options.max_sequences = 4;
    options.step_tokens = 32;
    options.prompt_logit_rows = 1;
    options.max_queue = 100;
    options.block_tokens = kBlockTokens;
    options.blocks = 200;
    options.eos = {7, 21};
    return options;
  }
  // Until no request runs and no block is leased.
  static void RunToEnd(Engine& engine, bool ahead) {
    const auto rests = [&engine] {
      const EngineStats stats = engine.Stats();
      return engine.idle() && stats.blocks[0].leased + stats.blocks[1].leased == 0;
    };
    for (int turns = 0; !rests(); ++turns) {
      PREFIXD_CHECK(turns < 20000) << "a request does not end";
      if (!(ahead ? engine.Advance() : engine.Step())) engine.WaitForWork(std::chrono::milliseconds(10));
      engine.CheckInvariants();
    }
  }
  static std::vector<TokenId> Prompt(int length, uint64_t seed) {
    std::vector<TokenId> prompt(static_cast<size_t>(length));
    Prng prng(seed);
    for (TokenId& token : prompt) token = static_cast<TokenId>(prng.Below(64));
    return prompt;
  }

  const testing_support::TempDir folder_;
  const SystemClock clock_;
};

TEST_F(CudaStepsAhead, OneSequenceHasTwoStepsOnTheDevice) {
  constexpr int kTokens = 20;
  Request request;
  request.prompt = Prompt(9, 1);
  request.sampling.temperature = 0;
  request.sampling.max_tokens = kTokens;
  request.sampling.ignore_eos = true;
  request.sampling.logprobs = 3;
  std::vector<GeneratedToken> tokens[2];
  for (const bool ahead : {false, true}) {
    const auto machine = Machine(1);
    CountingRunner runner(*machine->loaded.model);
    const auto engine = *Engine::Create(Options(), &runner, machine->loaded.backend.get(), &clock_);
    const auto recorder = Submit(*engine, request);
    RunToEnd(*engine, ahead);
    EXPECT_EQ(recorder->finish, FinishReason::kLength);
    tokens[ahead] = recorder->tokens;
    EXPECT_EQ(runner.launches, kTokens);
    EXPECT_EQ(runner.launches_ahead, ahead ? kTokens - 1 : 0) << "before the step before was collected";
    EXPECT_EQ(runner.tokens_of_the_device, ahead ? kTokens - 1 : 0);
    EXPECT_EQ(engine->Stats().steps_ahead, static_cast<uint64_t>(runner.launches_ahead));
  }
  EXPECT_TRUE(testing_support::SameTokens(tokens[0], tokens[1]));
}

// The results of each step grow while the step before still reads those of the one before it.
TEST_F(CudaStepsAhead, ResultsGrowWhileAStepTakesTokensFromThem) {
  std::vector<std::vector<GeneratedToken>> tokens[2];
  for (const bool ahead : {false, true}) {
    const auto machine = Machine(2);
    const auto engine =
        *Engine::Create(Options(), machine->loaded.model.get(), machine->loaded.backend.get(), &clock_);
    std::vector<std::shared_ptr<Recorder>> recorders;
    for (int i = 0; i < 4; ++i) {
      Request request;
      request.prompt = Prompt(5, static_cast<uint64_t>(i));
      request.sampling.temperature = 0.7f;
      request.sampling.max_tokens = 6 + i;
      request.sampling.logprobs = 16 * i;
      recorders.push_back(Submit(*engine, request));
      for (int turns = 0; turns < 4; ++turns) ahead ? engine->Advance() : engine->Step();
    }
    RunToEnd(*engine, ahead);
    for (const auto& recorder : recorders) tokens[ahead].push_back(recorder->tokens);
    EXPECT_EQ(engine->Stats().steps_ahead > 0, ahead);
  }
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(testing_support::SameTokens(tokens[0][i], tokens[1][i])) << i;
}

// Random requests with draws, penalties, end tokens, cancels, a pool that is too small, and tiers whose
// copies are held back now and then.
class RandomCudaSteps : public CudaStepsAhead {
 protected:
  RandomCudaSteps() {
    Prng prng(5);
    const auto machine = Machine(0);
    EngineOptions options = Options();
    options.prefix_cache = false;
    const auto engine =
        *Engine::Create(options, machine->loaded.model.get(), machine->loaded.backend.get(), &clock_);
    for (uint64_t i = 0; i < 24; ++i) {
      const int length = static_cast<int>(prng.Between(1, 20));
      const Request request = RandomRequest(prng, Prompt(length, prng.Below(3)));
      const auto recorder = Submit(*engine, request);
      RunToEnd(*engine, false);
      kinds_.emplace_back(request, recorder->tokens);
    }
  }
  struct Sent {
    RequestId id;
    size_t kind;
    std::shared_ptr<Recorder> recorder;
  };
  void Turn(Prng& prng, CudaMachine& machine, Engine& engine, std::vector<Sent>* sent) {
    if (prng.Chance(0.15)) {
      Sent one{0, prng.Below(kinds_.size()), nullptr};
      one.recorder = Submit(engine, kinds_[one.kind].first, &one.id);
      sent->push_back(one);
    }
    if (prng.Chance(0.02) && !sent->empty()) engine.Cancel((*sent)[prng.Below(sent->size())].id);
    if (prng.Chance(0.1))
      machine.runtime.Hold(prng.Chance(0.5) ? Stream::kLoad : Stream::kSpill, prng.Chance(0.6));
    if (!(ahead_ ? engine.Advance() : engine.Step())) engine.WaitForWork(std::chrono::milliseconds(1));
    engine.CheckInvariants();
  }
  void Run(uint64_t seed) {
    Prng prng(seed);
    ahead_ = seed % 4 != 3;
    const auto machine = Machine(seed);
    EngineOptions options = Options();
    options.blocks = static_cast<uint32_t>(prng.Between(17, 40));
    options.step_tokens = static_cast<int>(prng.Between(8, 32));
    options.host_blocks = seed % 2 == 0 ? static_cast<uint32_t>(prng.Between(4, 30)) : 0;
    options.disk = seed % 2 == 0;
    options.write_through = true;
    options.load_policy = LoadPolicy::kLoad;
    const auto tiers =
        *EngineTiers::Create({.layout = machine->loaded.model->shape().Kv(kBlockTokens, options.kv_dtype),
                              .host_blocks = options.host_blocks},
                             machine->loaded.backend.get());
    const auto engine = *Engine::Create(options, machine->loaded.model.get(), machine->loaded.backend.get(),
                                        &clock_, options.disk ? tiers->lower_tiers() : LowerTiers());
    std::vector<Sent> sent;
    while (sent.size() < 16) Turn(prng, *machine, *engine, &sent);
    for (const Stream stream : {Stream::kLoad, Stream::kSpill}) machine->runtime.Hold(stream, false);
    RunToEnd(*engine, ahead_);
    EXPECT_EQ(machine->runtime.conflicts(), 0u);
    Check(engine->Stats(), sent);
  }
  void Check(const EngineStats& stats, const std::vector<Sent>& sent) {
    EXPECT_TRUE(ahead_ || stats.steps_ahead == 0);
    steps_ahead_ += stats.steps_ahead;
    dropped_ += stats.dropped_tokens;
    preemptions_ += stats.preemptions;
    replaced_ += stats.cache.deduplicated_blocks;
    loads_ += stats.cache.loads[static_cast<size_t>(TransferResult::kOk)];
    stopped_ += stats.finished[static_cast<size_t>(FinishReason::kStop)];
    cancelled_ += stats.finished[static_cast<size_t>(FinishReason::kCancelled)];
    for (const Sent& one : sent) {
      std::vector<GeneratedToken> expected = kinds_[one.kind].second;
      if (one.recorder->finish == FinishReason::kCancelled)
        expected.resize(std::min(expected.size(), one.recorder->tokens.size()));
      EXPECT_TRUE(testing_support::SameTokens(one.recorder->tokens, expected)) << "kind " << one.kind;
    }
  }

  std::vector<std::pair<Request, std::vector<GeneratedToken>>> kinds_;  // what is asked, what it gets alone
  bool ahead_ = false;
  uint64_t steps_ahead_ = 0, dropped_ = 0, preemptions_ = 0, replaced_ = 0, loads_ = 0, cancelled_ = 0,
           stopped_ = 0;
};

// Engines that launch ahead and engines that wait give the tokens of each request alone.
TEST_F(RandomCudaSteps, TheTokensAreThoseOfAnEngineThatWaits) {
  for (uint64_t seed = 0; seed < static_cast<uint64_t>(testing_support::Rounds(12)); ++seed) {
    SCOPED_TRACE(seed);
    Run(seed);
    if (HasFailure()) return;
  }
  EXPECT_GT(steps_ahead_, 10u);
  EXPECT_GT(stopped_, 0u);
  if (testing_support::kSanitized) return;  // too few rounds for the rest
  EXPECT_GT(dropped_, 0u);
  EXPECT_GT(preemptions_, 0u);
  EXPECT_GT(replaced_, 0u);
  EXPECT_GT(loads_, 0u);
  EXPECT_GT(cancelled_, 0u);
}

}  // namespace
}  // namespace prefixd
