// Copies between an emulated device and the tiers below it, held back as by a slow bus: steps do not wait for
// them, and no step touches a block that one of them writes, or writes one that it reads. And what is left of
// the tiers when the device is lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/engine/cuda_machine.h"
#include "tests/engine/engine_tiers.h"
#include "tests/engine/exactness_law.h"
#include "tests/support/rounds.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace prefixd {
namespace {

using cuda::Stream;
using testing_support::CudaMachine;
using testing_support::EngineTiers;
using testing_support::Recorder;

constexpr int kContext = 64, kBlockTokens = 4;
constexpr auto kTick = std::chrono::milliseconds(1);

class CudaCopies : public testing::Test {
 protected:
  CudaCopies() {
    testing_support::WriteTinyModel(folder_.path(), 1);
    MakeMachine();
  }

  void MakeMachine() {
    machine_ = std::make_unique<CudaMachine>(
        folder_.path(), cuda_emulation::EmulatedOptions{.exact_products = false, .late_copies = true},
        testing_support::DriverLimits{kContext, 64, 4, 1});
  }
  // `store`: as EngineTiers::Options.
  void MakeEngine(uint32_t blocks, uint32_t host_blocks, bool write_through = true,
                  const std::shared_ptr<BlockStore>& store = nullptr) {
    EngineOptions options;
    options.context = kContext;
    options.max_sequences = 4;
    options.step_tokens = 64;
    options.prompt_logit_rows = 1;
    options.max_queue = 100;
    options.block_tokens = kBlockTokens;
    options.blocks = blocks;
    options.host_blocks = host_blocks;
    options.disk = true;
    options.write_through = write_through;
    options.load_policy = LoadPolicy::kLoad;
    tiers_ =
        *EngineTiers::Create({.layout = machine_->loaded.model->shape().Kv(kBlockTokens, options.kv_dtype),
                              .host_blocks = host_blocks,
                              .store = store},
                             machine_->loaded.backend.get());
    engine_ = *Engine::Create(options, machine_->loaded.model.get(), machine_->loaded.backend.get(), &clock_,
                              tiers_->lower_tiers());
  }

  static std::vector<TokenId> Prompt(int length, uint64_t seed) {
    std::vector<TokenId> prompt(static_cast<size_t>(length));
    Prng prng(seed);
    for (TokenId& token : prompt) token = static_cast<TokenId>(prng.Below(64));
    return prompt;
  }
  std::shared_ptr<Recorder> Submit(std::vector<TokenId> prompt, int max_tokens = 4) {
    Request request;
    request.prompt = std::move(prompt);
    request.sampling.max_tokens = max_tokens;
    request.sampling.temperature = 0;
    request.sampling.ignore_eos = true;
    request.sampling.logprobs = 2;
    return testing_support::Submit(*engine_, std::move(request));
  }
  // Turns the engine until `done`. Returns whether that came within the turns, each at most a tick long.
  template <typename Done>
  bool TurnUntil(const Done& done, int turns = 10000) {
    for (; turns > 0 && !done(); --turns) {
      if (!engine_->Advance()) engine_->WaitForWork(kTick);
      engine_->CheckInvariants();
    }
    return done();
  }
  bool Settle() {
    return TurnUntil([&] {
      const EngineStats stats = engine_->Stats();
      return engine_->idle() && stats.blocks[0].leased + stats.blocks[1].leased == 0;
    });
  }
  // Waits, without a turn of the engine, for what the device does.
  template <typename Done>
  bool Comes(const Done& done) {
    for (int waits = 0; waits < 10000 && !done(); ++waits) std::this_thread::sleep_for(kTick);
    return done();
  }
  void Hold(bool held) {
    for (const Stream stream : {Stream::kLoad, Stream::kSpill}) machine_->runtime.Hold(stream, held);
  }
  uint64_t Steps() const {
    const auto& counts = engine_->Stats().step_time.counts;
    return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
  }
  size_t Waiting(Stream stream) const { return machine_->runtime.waiting_copies(stream); }
  // What is wrong with the reports of four tokens, of which each comes while the step after it is held on the
  // device; empty: nothing.
  std::string ReportsTokensEarly() {
    constexpr size_t kTokens = 4;
    const auto recorder = Submit(Prompt(9, 1), kTokens);
    if (!engine_->Advance()) return "the first step is not launched";
    for (size_t tokens = 1; tokens <= kTokens; ++tokens) {
      const std::string at = " at token " + std::to_string(tokens);
      if (!Comes([&] { return machine_->loaded.model->Done(); })) return "no step ends" + at;
      machine_->runtime.Hold(Stream::kCompute, true);
      const uint64_t launches = machine_->runtime.launches();
      if (!engine_->Advance()) return "a step that ended is not collected" + at;
      if (recorder->tokens.size() != tokens) return "other tokens are reported" + at;
      if (recorder->finished() != (tokens == kTokens)) return "another end" + at;
      if (tokens < kTokens) {
        if (machine_->loaded.model->Done()) return "the next step has ended, too" + at;
        if (!Comes([&] { return Waiting(Stream::kCompute) > 0; })) return "no next step waits" + at;
        if (engine_->Advance()) return "there is something else to do" + at;
      }
      if (machine_->runtime.launches() != launches) return "a held step runs" + at;
      machine_->runtime.Hold(Stream::kCompute, false);
    }
    return "";
  }
  static int FromBelow(const Recorder& recorder) {
    return recorder.usage.tokens[static_cast<size_t>(TokenSource::kHost)] +
           recorder.usage.tokens[static_cast<size_t>(TokenSource::kDisk)];
  }

  const testing_support::TempDir folder_;
  const SystemClock clock_;
  std::unique_ptr<CudaMachine> machine_;
  std::unique_ptr<EngineTiers> tiers_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(CudaCopies, StepsGoOnWhileTheyAreHeldBack) {
  MakeEngine(60, 20);
  const std::vector<TokenId> prompt = Prompt(41, 1);
  const auto cold = Submit(prompt);
  ASSERT_TRUE(Settle());
  for (uint64_t other = 2; other < 10; ++other) {  // these evict it
    Submit(Prompt(45, other));
    ASSERT_TRUE(Settle());
  }
  Hold(true);
  const auto loads = Submit(prompt);
  const bool waits = TurnUntil([&] { return Waiting(Stream::kLoad) > 0; });
  const size_t held_loads = Waiting(Stream::kLoad);
  const uint64_t steps = Steps(), launches = machine_->runtime.launches(),
                 beside = machine_->runtime.beside_copies();
  // Some compute what is new, one shares the first blocks of the prompt that loads.
  std::vector<std::shared_ptr<Recorder>> computes;
  for (uint64_t other = 20; other < 23; ++other) computes.push_back(Submit(Prompt(9, other), 8));
  const auto shares = Submit({prompt.begin(), prompt.begin() + 14});
  const auto all_end = [&] {
    return std::ranges::all_of(computes, [](const auto& recorder) { return recorder->finished(); });
  };
  const bool computed = TurnUntil(all_end);
  const bool spills_wait = TurnUntil([&] { return Waiting(Stream::kSpill) > 0; }, 1000);
  const uint64_t more_steps = Steps() - steps, more_launches = machine_->runtime.launches() - launches,
                 more_beside = machine_->runtime.beside_copies() - beside;
  const bool loaded_early = loads->finished();
  const size_t still_held = Waiting(Stream::kLoad);
  Hold(false);  // before any check can end the test
  ASSERT_TRUE(Settle());

  EXPECT_TRUE(waits) << "nothing came back from below";
  EXPECT_TRUE(computed) << "steps waited for a copy";
  EXPECT_TRUE(spills_wait);
  EXPECT_FALSE(loaded_early) << "its KV had not come yet";
  EXPECT_GE(still_held, held_loads) << "a held copy has run";
  EXPECT_GE(more_steps, 8u);
  EXPECT_GT(more_launches, more_steps);
  EXPECT_GE(more_beside, more_launches) << "all of them ran beside held copies";
  EXPECT_EQ(machine_->runtime.conflicts(), 0u);
  EXPECT_GT(FromBelow(*loads), 0);
  EXPECT_TRUE(testing_support::SameTokens(loads->tokens, cold->tokens));
  EXPECT_EQ(shares->finish, FinishReason::kLength);
}

// The engine gives a step to the device before it reports the one before, and does not wait for it.
TEST_F(CudaCopies, TokensAreReportedWhileTheNextStepIsOnTheDevice) {
  // A device that ends a step more before it is held shows nothing: then the attempt is repeated.
  std::string fault = "no attempt";
  for (int attempt = 0; attempt < 20 && !fault.empty(); ++attempt) {
    MakeEngine(60, 20);
    fault = ReportsTokensEarly();
    machine_->runtime.Hold(Stream::kCompute, false);
    EXPECT_TRUE(Settle());
  }
  EXPECT_EQ(fault, "");
}

// The blocks of the host tier go to the disk, and no others take their place there. Another device finds
// them.
TEST_F(CudaCopies, WhatTheHostHasReachesTheDiskWhenTheDeviceIsLost) {
  constexpr uint32_t kHostBlocks = 12;
  MakeEngine(20, kHostBlocks, /*write_through=*/false);
  for (uint64_t other = 2; other < 6; ++other) {  // more than both tiers have room for
    Submit(Prompt(29, other));
    ASSERT_TRUE(Settle());
  }
  const std::vector<TokenId> prompt = Prompt(29, 1);
  const auto cold = Submit(prompt);
  ASSERT_TRUE(Settle());
  const EngineStats before = engine_->Stats();
  ASSERT_EQ(before.blocks[1].cached, kHostBlocks);
  ASSERT_EQ(tiers_->store()->bytes(), 0u);

  machine_->runtime.FailFrom(machine_->runtime.calls(), Code::kUnavailable);
  const auto fails = Submit(Prompt(9, 7));
  EXPECT_TRUE(TurnUntil([&] { return fails->finished(); }));
  EXPECT_EQ(fails->error.code(), Code::kUnavailable);
  engine_->SpillAll(1000);
  EXPECT_TRUE(TurnUntil([&] {
    const EngineStats stats = engine_->Stats();
    return stats.spills_all && stats.pending_disk_blocks == 0;
  }));
  const EngineStats after = engine_->Stats();
  const auto spills = [&](TransferResult result) {
    return after.cache.spills[static_cast<size_t>(result)] - before.cache.spills[static_cast<size_t>(result)];
  };
  EXPECT_EQ(spills(TransferResult::kOk), kHostBlocks);
  EXPECT_EQ(spills(TransferResult::kFailed), 0u) << "the device was asked for a block";
  EXPECT_EQ(after.blocks[1].cached, kHostBlocks);
  for (const auto& tier : after.transfers.errors) EXPECT_EQ(std::ranges::count(tier, 0u), kTierErrors);

  const std::shared_ptr<BlockStore> store = tiers_->store();
  engine_ = nullptr;
  tiers_ = nullptr;
  MakeMachine();
  MakeEngine(20, kHostBlocks, /*write_through=*/false, store);
  const auto warm = Submit(prompt);
  ASSERT_TRUE(Settle());
  EXPECT_EQ(warm->usage.tokens[static_cast<size_t>(TokenSource::kDisk)], 28) << "all whole blocks";
  EXPECT_TRUE(testing_support::SameTokens(warm->tokens, cold->tokens));
}

// Streams are held and let go at random, so that copies are under way during every kind of step.
TEST_F(CudaCopies, NoStepTouchesWhatACopyMoves) {
  uint64_t from_below = 0, copies = 0;
  const exactness::Workload workload = exactness::MakeWorkload(1, 24, 50, 64);
  const exactness::Setup most{.context = kContext, .step_tokens = 64, .max_sequences = 4};
  const auto plain = testing_support::CudaMachine(folder_.path(), {.exact_products = false},
                                                  testing_support::DriverLimits{kContext, 64, 4});
  const exactness::Outcome alone =
      exactness::Run(plain.loaded, workload, exactness::Alone(most, DType::kF32));
  for (uint64_t seed = 0; seed < static_cast<uint64_t>(testing_support::Rounds(8)); ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    MakeEngine(static_cast<uint32_t>(prng.Between(20, 40)), static_cast<uint32_t>(prng.Between(4, 30)));
    std::vector<std::shared_ptr<Recorder>> recorders;
    size_t next = 0;
    const auto turn = [&] {
      if (next < workload.requests.size() && prng.Chance(0.2)) {
        recorders.push_back(std::make_shared<Recorder>());
        Request request = workload.requests[next++];
        request.listener = recorders.back();
        PREFIXD_CHECK(engine_->Submit(std::move(request)).ok());
      }
      if (prng.Chance(0.3))
        machine_->runtime.Hold(prng.Chance(0.5) ? Stream::kLoad : Stream::kSpill, prng.Chance(0.6));
      return next == workload.requests.size() && engine_->idle();
    };
    EXPECT_TRUE(TurnUntil(turn, 20000));
    Hold(false);
    ASSERT_TRUE(Settle());
    EXPECT_EQ(machine_->runtime.conflicts(), 0u);
    for (size_t i = 0; i < recorders.size(); ++i) {
      EXPECT_TRUE(testing_support::SameTokens(recorders[i]->tokens, alone.heard[i]->tokens))
          << "request " << i;
      from_below += static_cast<uint64_t>(FromBelow(*recorders[i]));
    }
    copies += engine_->Stats().cache.partial_copies;
    engine_ = nullptr;
    tiers_ = nullptr;
    if (HasFailure()) return;
  }
  EXPECT_GT(from_below, 0u);
  EXPECT_GT(copies, 0u);
  EXPECT_GT(machine_->runtime.beside_copies(), 100u);
}

}  // namespace
}  // namespace prefixd
