// The engine with a backend whose steps end late, in every order of launch, end, collect, cancel and failure.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/engine/engine_fixture.h"
#include "tests/support/delayed_runner.h"
#include "tests/support/rounds.h"

namespace prefixd {
namespace {

using testing::HasSubstr;
using testing_support::DelayedRunner;
using testing_support::Recorder;

class DelayedRunnerTest : public EngineTest {
 protected:
  std::unique_ptr<Engine> MakeDelayed(const EngineOptions& options) {
    auto engine = Engine::Create(options, &runner_, loaded_->backend.get(), &clock_);
    PREFIXD_CHECK(engine.ok()) << engine.status().ToString();
    return std::move(*engine);
  }
  static std::shared_ptr<Recorder> Submit(Engine& engine, const std::vector<TokenId>& prompt,
                                          int max_tokens = 3, RequestId* id = nullptr) {
    return testing_support::Submit(engine, Ask(prompt, max_tokens, nullptr), id);
  }
  void RunDelayed(Engine& engine) {
    for (int i = 0; !engine.idle(); ++i) {
      ASSERT_LT(i, 1000);
      engine.Advance();
      engine.CheckInvariants();
      if (runner_.in_flight() && !runner_.Done()) runner_.End(Status::Ok());
    }
  }
  // The tokens of a request that runs alone, in an engine without a cache.
  std::vector<GeneratedToken> Alone(const std::vector<TokenId>& prompt, int max_tokens) {
    EngineOptions options = Options();
    options.prefix_cache = false;
    const auto engine = Make(options);
    const auto recorder = Submit(*engine, prompt, max_tokens);
    RunToEnd(*engine);
    return recorder->tokens;
  }

  DelayedRunner runner_{*loaded_->model};
};

TEST_F(DelayedRunnerTest, TheQueueIsServedWhileAStepIsInFlight) {
  EngineOptions options = Options();
  options.max_sequences = 1;
  const auto engine = MakeDelayed(options);
  RequestId running_id = 0, queued_id = 0;
  const auto running = Submit(*engine, Prompt(20), 3, &running_id);
  EXPECT_EQ(engine->Stats().waiting, 1) << "it counts before the engine thread has seen it";
  EXPECT_TRUE(engine->Advance());
  EXPECT_EQ(engine->Stats().running, 1);
  EXPECT_EQ(engine->Stats().waiting, 0);

  const auto queued = Submit(*engine, Prompt(20, 1), 3, &queued_id);
  const auto later = Submit(*engine, Prompt(20, 2), 3);
  EXPECT_EQ(engine->Stats().waiting, 2);
  EXPECT_FALSE(engine->Advance()) << "the step has not ended";
  EXPECT_EQ(engine->Stats().waiting, 2);
  engine->Cancel(queued_id);
  engine->Cancel(running_id);
  EXPECT_FALSE(engine->Advance());
  EXPECT_EQ(queued->finish, FinishReason::kCancelled) << "it waited, so nothing has to end first";
  EXPECT_FALSE(running->finished()) << "the step still writes to its blocks";
  EXPECT_GT(engine->Stats().blocks[0].leased, 0u);

  runner_.End(Status::Ok());
  EXPECT_TRUE(engine->Advance());
  EXPECT_EQ(running->finish, FinishReason::kCancelled);
  EXPECT_TRUE(running->tokens.empty());
  EXPECT_EQ(engine->Stats().running, 1) << "the next request runs";
  RunDelayed(*engine);
  EXPECT_EQ(later->finish, FinishReason::kLength);
  EXPECT_TRUE(testing_support::SameTokens(later->tokens, Alone(Prompt(20, 2), 3)));
}

// A port without a medium, whose transfers fail at once.
class NoMedium final : public TransferPort {
 public:
  bool OnDisk(const BlockKey&) const override { return false; }
  void Drop(const BlockKey&) override {}
  void Start(const Transfer& transfer) override {
    ended_.push_back({.id = transfer.id, .result = TransferResult::kFailed});
  }
  void Poll(std::vector<FinishedTransfer>* finished) override {
    finished->insert(finished->end(), ended_.begin(), ended_.end());
    ended_.clear();
  }
  bool TakeDrops(std::vector<RecordDrop>*) override { return true; }
  const TransferStats& stats() const override { return stats_; }

 private:
  std::vector<FinishedTransfer> ended_;
  TransferStats stats_;
};

TEST_F(DelayedRunnerTest, ATransferThatEndsBesideAStepWakesNobody) {
  using std::chrono::milliseconds, std::chrono::seconds, std::chrono::steady_clock;
  EngineOptions options = Options();
  options.disk = true;
  std::function<void()> transfer_ended;
  const auto made = Engine::Create(options, &runner_, loaded_->backend.get(), &clock_,
                                   [&](KvPool&, std::function<void()> wake) {
                                     transfer_ended = std::move(wake);
                                     return std::make_unique<NoMedium>();
                                   });
  ASSERT_TRUE(made.ok());
  Engine& engine = **made;
  const auto waited = [&](std::chrono::nanoseconds timeout) {
    const auto begun = steady_clock::now();
    engine.WaitForWork(timeout);
    return steady_clock::now() - begun;
  };
  const auto request = Submit(engine, Prompt(20), 1);
  EXPECT_TRUE(engine.Advance());
  ASSERT_TRUE(runner_.in_flight());
  transfer_ended();
  EXPECT_GE(waited(milliseconds(20)), milliseconds(20));
  runner_.End(Status::Ok());
  EXPECT_LT(waited(seconds(60)), seconds(30)) << "the end of the step wakes it";
  EXPECT_TRUE(engine.Advance());
  EXPECT_TRUE(request->finished());
  EXPECT_FALSE(runner_.in_flight());
  transfer_ended();
  EXPECT_LT(waited(seconds(60)), seconds(30)) << "no step runs";
}

// Notes for every event whether a step was in flight.
class FlightRecorder final : public RequestListener {
 public:
  explicit FlightRecorder(const DelayedRunner* runner) : runner_(runner) {}
  void OnEvent(RequestEvent event) override {
    in_flight.push_back(runner_->in_flight());
    finished = event.finish.has_value();
  }
  std::vector<bool> in_flight;
  bool finished = false;

 private:
  const DelayedRunner* const runner_;
};

TEST_F(DelayedRunnerTest, ListenersRunWhileTheNextStepIsInFlight) {
  const auto engine = MakeDelayed(Options());
  const auto listener = std::make_shared<FlightRecorder>(&runner_);
  Request request = Ask(Prompt(20), 4, nullptr);
  request.listener = listener;
  ASSERT_TRUE(engine->Submit(request).ok());
  RunDelayed(*engine);
  EXPECT_EQ(listener->in_flight, (std::vector<bool>{true, true, true, false}));
}

TEST_F(DelayedRunnerTest, AFailedStepEndsItsRequestsAndKeepsNothing) {
  EngineOptions options = Options();
  options.max_sequences = 2;
  const auto engine = MakeDelayed(options);
  const auto first = Submit(*engine, Prompt(30)), second = Submit(*engine, Prompt(20, 1)),
             waits = Submit(*engine, Prompt(20, 2));
  engine->Advance();
  runner_.End(Unavailable("the device is gone"));
  engine->Advance();
  for (const auto& failed : {first, second}) {
    EXPECT_EQ(failed->finish, FinishReason::kError);
    EXPECT_THAT(failed->error.message(), HasSubstr("model step"));
    EXPECT_THAT(failed->error.message(), HasSubstr("the device is gone"));
    EXPECT_TRUE(failed->tokens.empty());
  }
  EXPECT_EQ(engine->Stats().failed_steps, 1u);
  EXPECT_EQ(engine->Stats().failed_steps_in_row, 1);
  RunDelayed(*engine);
  EXPECT_EQ(waits->finish, FinishReason::kLength);
  EXPECT_EQ(engine->Stats().failed_steps_in_row, 0);
  EXPECT_TRUE(testing_support::SameTokens(waits->tokens, Alone(Prompt(20, 2), 3)));

  const auto again = Submit(*engine, Prompt(30));
  RunDelayed(*engine);
  EXPECT_EQ(again->usage.cached(), 0);
  EXPECT_TRUE(testing_support::SameTokens(again->tokens, Alone(Prompt(30), 3)));
}

TEST_F(DelayedRunnerTest, ACancelIsNoErrorAlthoughTheStepFails) {
  const auto engine = MakeDelayed(Options());
  RequestId id = 0;
  const auto cancelled = Submit(*engine, Prompt(30), 3, &id), failed = Submit(*engine, Prompt(20, 1));
  engine->Advance();
  engine->Cancel(id);
  engine->Advance();
  runner_.End(Unavailable("once"));
  engine->Advance();
  EXPECT_EQ(cancelled->finish, FinishReason::kCancelled);
  EXPECT_EQ(failed->finish, FinishReason::kError);
  EXPECT_EQ(engine->Stats().blocks[0].leased, 0u);
}

// A request that waits for blocks of a failed one is not in its step: it computes them itself.
TEST_F(DelayedRunnerTest, WhoWaitsForAFailedRequestComputes) {
  const auto engine = MakeDelayed(Options());
  const auto first = Submit(*engine, Prompt(30)), second = Submit(*engine, Prompt(30));
  engine->Advance();
  runner_.End(Unavailable("once"));
  RunDelayed(*engine);
  EXPECT_EQ(first->finish, FinishReason::kError);
  EXPECT_EQ(second->finish, FinishReason::kLength);
  EXPECT_EQ(second->usage.cached(), 0);
  EXPECT_TRUE(testing_support::SameTokens(second->tokens, Alone(Prompt(30), 3)));
}

TEST_F(DelayedRunnerTest, WhatWasCachedBeforeAFailureStays) {
  const auto engine = MakeDelayed(Options());
  Submit(*engine, Prompt(40));
  RunDelayed(*engine);
  std::vector<TokenId> longer = Prompt(40);
  for (const TokenId token : Prompt(10, 7)) longer.push_back(token);
  const auto failed = Submit(*engine, longer);
  engine->Advance();
  runner_.End(Unavailable("once"));
  engine->Advance();
  EXPECT_EQ(failed->finish, FinishReason::kError);
  const auto again = Submit(*engine, longer);
  RunDelayed(*engine);
  EXPECT_EQ(again->usage.cached(), 40);
  EXPECT_TRUE(testing_support::SameTokens(again->tokens, Alone(longer, 3)));
}

TEST_F(DelayedRunnerTest, DestructionWaitsForTheStepInFlight) {
  auto engine = MakeDelayed(Options());
  const auto running = Submit(*engine, Prompt(30)), queued = Submit(*engine, Prompt(20, 1));
  engine->Advance();
  engine.reset();
  EXPECT_FALSE(runner_.in_flight());
  EXPECT_EQ(running->finish, FinishReason::kCancelled);
  EXPECT_EQ(queued->finish, FinishReason::kCancelled);
}

TEST_F(DelayedRunnerTest, ProgressStandsStillWhenAStepHangs) {
  const auto engine = MakeDelayed(Options());
  const uint64_t idle = engine->progress();
  engine->Advance();
  EXPECT_GT(engine->progress(), idle) << "an idle engine makes progress";
  Submit(*engine, Prompt(30));
  engine->Advance();
  const uint64_t launched = engine->progress();
  for (int i = 0; i < 5; ++i) engine->Advance();
  EXPECT_EQ(engine->progress(), launched);
  runner_.End(Status::Ok());
  engine->Advance();
  EXPECT_GT(engine->progress(), launched);
  RunDelayed(*engine);
}

TEST_F(DelayedRunnerTest, TokensInFlightAreBounded) {
  EngineOptions options = Options();
  options.max_tokens_in_flight = 150;
  const auto engine = MakeDelayed(options);
  RequestId first = 0;
  Submit(*engine, Prompt(100), 3, &first);
  auto refused = std::make_shared<Recorder>();
  const Status status = engine->Submit(Ask(Prompt(51), 3, refused)).status();
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("150"));
  Submit(*engine, Prompt(50), 3);
  engine->Cancel(first);
  engine->Advance();
  Submit(*engine, Prompt(51), 3);
  RunDelayed(*engine);
  options.max_tokens_in_flight = options.context - 1;
  EXPECT_EQ(Engine::Create(options, &runner_, loaded_->backend.get(), &clock_).status().code(),
            Code::kInvalidArgument);
}

// Random orders. Whatever happens to others, a request that ends well has the tokens that it has alone.
TEST_F(DelayedRunnerTest, EveryOrderOfLaunchEndCollectCancelAndFailure) {
  std::map<std::pair<int, int>, std::vector<GeneratedToken>> alone;  // by length and seed of the prompt
  uint64_t good = 0, cancelled = 0, failed = 0, preemptions = 0;
  for (uint64_t seed = 1; seed <= static_cast<uint64_t>(testing_support::Rounds(80)); ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    EngineOptions options = Options();
    options.max_queue = 100;
    options.blocks = prng.Chance(0.5) ? 17 : 60;
    options.step_tokens = static_cast<int>(prng.Between(4, 32));
    const auto engine = MakeDelayed(options);
    struct Sent {
      RequestId id;
      std::pair<int, int> prompt;
      std::shared_ptr<Recorder> recorder;
    };
    std::vector<Sent> sent;
    for (int event = 0; event < 150; ++event) {
      const uint64_t kind = prng.Below(10);
      if (kind < 2) {
        Sent one{0, {static_cast<int>(prng.Between(1, 60)), static_cast<int>(prng.Below(3))}, nullptr};
        one.recorder = Submit(*engine, Prompt(one.prompt.first, one.prompt.second), 24, &one.id);
        sent.push_back(one);
      } else if (kind == 2 && !sent.empty()) {
        engine->Cancel(sent[prng.Below(sent.size())].id);
      } else if (kind < 6) {
        engine->Advance();
      } else if (runner_.in_flight() && !runner_.Done()) {
        runner_.End(prng.Chance(0.15) ? Unavailable("by chance") : Status::Ok());
      }
      engine->CheckInvariants();
      const EngineStats stats = engine->Stats();
      int unfinished = 0;
      for (const Sent& one : sent) unfinished += one.recorder->finished() ? 0 : 1;
      ASSERT_EQ(stats.running + stats.waiting, unfinished);
    }
    RunDelayed(*engine);
    preemptions += engine->Stats().preemptions;
    EXPECT_EQ(engine->Stats().blocks[0].leased, 0u);
    for (const Sent& one : sent) {
      ASSERT_TRUE(one.recorder->finished());
      cancelled += one.recorder->finish == FinishReason::kCancelled ? 1 : 0;
      failed += one.recorder->finish == FinishReason::kError ? 1 : 0;
      if (one.recorder->finish != FinishReason::kLength) continue;
      ++good;
      auto& expected = alone[one.prompt];
      if (expected.empty()) expected = Alone(Prompt(one.prompt.first, one.prompt.second), 24);
      EXPECT_TRUE(testing_support::SameTokens(one.recorder->tokens, expected)) << one.prompt.first;
    }
  }
  EXPECT_GT(good, 0u);
  EXPECT_GT(cancelled, 0u);
  EXPECT_GT(failed, 0u);
  EXPECT_GT(preemptions, 0u);
}

}  // namespace
}  // namespace prefixd
