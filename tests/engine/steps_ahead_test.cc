// The engine with a backend that has two steps in flight, whose second takes the tokens that the first draws.
// The test says when each ends, and how.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "tests/engine/engine_fixture.h"
#include "tests/engine/random_request.h"
#include "tests/support/delayed_runner.h"
#include "tests/support/rounds.h"

namespace prefixd {
namespace {

using testing_support::DelayedRunner;
using testing_support::Recorder;
using testing_support::Submit;

class StepsAhead : public EngineTest {
 protected:
  std::unique_ptr<Engine> MakeAhead(const EngineOptions& options) {
    auto engine = Engine::Create(options, &runner_, loaded_->backend.get(), &clock_);
    PREFIXD_CHECK(engine.ok()) << engine.status().ToString();
    return std::move(*engine);
  }
  static Request Greedy(int prompt_length, int max_tokens, int seed = 0) {
    return Ask(Prompt(prompt_length, seed), max_tokens, nullptr);
  }
  // Ends the oldest step, and takes a turn.
  void EndOne(Engine& engine, const Status& status = Status::Ok()) {
    runner_.End(status);
    EXPECT_TRUE(engine.Advance());
    engine.CheckInvariants();
  }
  void RunAhead(Engine& engine) {
    for (int i = 0; !engine.idle() || runner_.in_flight(); ++i) {
      ASSERT_LT(i, 1000);
      engine.Advance();
      engine.CheckInvariants();
      if (runner_.CanEnd()) runner_.End(Status::Ok());
    }
  }
  // What a request gets alone, from an engine that waits for each step, without a cache.
  std::shared_ptr<Recorder> Alone(Request request) {
    EngineOptions options = Options();
    options.prefix_cache = false;
    options.eos = eos_;
    const auto engine = Make(options);
    auto recorder = Submit(*engine, std::move(request));
    RunToEnd(*engine);
    EXPECT_EQ(engine->Stats().steps_ahead, 0u);
    return recorder;
  }

  std::vector<TokenId> eos_;
  DelayedRunner runner_{*loaded_->model, 2};
};

TEST_F(StepsAhead, TheNextStepIsLaunchedBeforeTheTokenOfThisOneIsThere) {
  constexpr int kTokens = 6;
  const auto engine = MakeAhead(Options());
  const auto recorder = Submit(*engine, Greedy(20, kTokens));
  EXPECT_TRUE(engine->Advance());
  for (int ended = 0; ended < kTokens; ++ended) {
    SCOPED_TRACE(ended);
    EXPECT_EQ(runner_.launches, std::min(ended + 2, kTokens)) << "one for each token, none beyond the last";
    EXPECT_EQ(recorder->tokens.size(), static_cast<size_t>(ended));
    EXPECT_FALSE(engine->Advance()) << "two steps are in flight, or all";
    EndOne(*engine);
  }
  EXPECT_EQ(recorder->finish, FinishReason::kLength);
  EXPECT_TRUE(testing_support::SameTokens(recorder->tokens, Alone(Greedy(20, kTokens))->tokens));
  EXPECT_EQ(engine->Stats().steps_ahead, static_cast<uint64_t>(kTokens - 1));
  EXPECT_EQ(runner_.launches_ahead, kTokens - 1);
  EXPECT_EQ(engine->Stats().dropped_tokens, 0u);
  EXPECT_FALSE(runner_.in_flight());
}

// Both ends may come before the engine looks, and are one waking then.
TEST_F(StepsAhead, TwoStepsThatEndTogetherNeedOneWaking) {
  using std::chrono::seconds, std::chrono::steady_clock;
  const auto engine = MakeAhead(Options());
  const auto recorder = Submit(*engine, Greedy(20, 2));
  EXPECT_TRUE(engine->Advance());
  ASSERT_EQ(runner_.launches, 2);
  runner_.End(Status::Ok());
  runner_.End(Status::Ok());
  const auto begun = steady_clock::now();
  while (!recorder->finished()) {
    engine->Advance();
    engine->WaitForWork(seconds(60));
  }
  EXPECT_LT(steady_clock::now() - begun, seconds(30)) << "it slept until its time was over";
}

TEST_F(StepsAhead, AnAnswerEndsAtTheEndOfTheContext) {
  const auto engine = MakeAhead(Options());
  const auto recorder = Submit(*engine, Greedy(30, 1000));
  RunAhead(*engine);
  EXPECT_EQ(recorder->finish, FinishReason::kLength);
  EXPECT_EQ(recorder->tokens.size(), 128u - 30);
  EXPECT_EQ(engine->Stats().dropped_tokens, 0u);
  EXPECT_TRUE(testing_support::SameTokens(recorder->tokens, Alone(Greedy(30, 1000))->tokens));
}

TEST_F(StepsAhead, AStopTokenDropsWhatFollowsIt) {
  const auto plain = Alone(Greedy(20, 30));
  // The first token that has not come before, from the 12th on.
  size_t end = 12;
  const auto same = [&](const GeneratedToken& token) { return token.token == plain->tokens[end].token; };
  while (std::any_of(plain->tokens.begin(), plain->tokens.begin() + static_cast<ptrdiff_t>(end), same)) ++end;
  ASSERT_LT(end, 29u);
  Request request = Greedy(20, 30);
  request.sampling.stop_token_ids = {plain->tokens[end].token};

  const auto engine = MakeAhead(Options());
  const auto recorder = Submit(*engine, request);
  engine->Advance();
  while (!recorder->finished()) EndOne(*engine);
  EXPECT_EQ(recorder->finish, FinishReason::kStop);
  EXPECT_TRUE(testing_support::SameTokens(recorder->tokens, Alone(request)->tokens));
  EXPECT_EQ(recorder->tokens.size(), end + 1);
  EXPECT_TRUE(engine->idle());
  ASSERT_TRUE(runner_.CanEnd()) << "the step after it";
  EXPECT_GT(engine->Stats().blocks[0].leased, 0u) << "that step writes into them";
  EndOne(*engine);
  EXPECT_FALSE(runner_.in_flight());
  EXPECT_EQ(engine->Stats().blocks[0].leased, 0u);
  EXPECT_EQ(engine->Stats().dropped_tokens, 1u);
  EXPECT_EQ(engine->Stats().generation_tokens, end + 1);

  // The cache has the answer up to the token before the last, and nothing of what followed.
  Request again = Greedy(20, 3);
  for (const GeneratedToken& token : plain->tokens) again.prompt.push_back(token.token);
  const auto longer = Submit(*engine, again);
  RunAhead(*engine);
  EXPECT_EQ(longer->usage.cached(), static_cast<int>(20 + end) / 8 * 8);
  EXPECT_TRUE(testing_support::SameTokens(longer->tokens, Alone(again)->tokens));
}

TEST_F(StepsAhead, ACancelFreesTheBlocksAfterTheStepsInFlight) {
  const auto engine = MakeAhead(Options());
  RequestId id = 0;
  const auto cancelled = Submit(*engine, Greedy(20, 30), &id);
  const auto other = Submit(*engine, Greedy(20, 10, 1));
  engine->Advance();  // both prompts need more than a step
  while (other->tokens.size() < 3) EndOne(*engine);
  const size_t tokens = cancelled->tokens.size();
  engine->Cancel(id);
  EXPECT_FALSE(engine->Advance());
  EXPECT_FALSE(cancelled->finished());
  const uint32_t leased = engine->Stats().blocks[0].leased;
  EndOne(*engine);
  EXPECT_EQ(cancelled->finish, FinishReason::kCancelled);
  EXPECT_EQ(cancelled->tokens.size(), tokens);
  ASSERT_TRUE(runner_.CanEnd());
  EXPECT_GE(engine->Stats().blocks[0].leased, leased) << "a step in flight computes it";
  EndOne(*engine);
  EXPECT_LT(engine->Stats().blocks[0].leased, leased);
  EXPECT_EQ(engine->Stats().dropped_tokens, 2u);
  RunAhead(*engine);
  EXPECT_TRUE(testing_support::SameTokens(other->tokens, Alone(Greedy(20, 10, 1))->tokens));
}

// The second of two steps in flight takes its token from the first, which fails.
TEST_F(StepsAhead, AFailedStepMakesTheNextOneVoid) {
  const auto engine = MakeAhead(Options());
  const auto failed = Submit(*engine, Greedy(20, 10));
  engine->Advance();
  EndOne(*engine);
  ASSERT_EQ(failed->tokens.size(), 1u);
  EndOne(*engine, Unavailable("once"));
  EXPECT_EQ(failed->finish, FinishReason::kError);
  EXPECT_EQ(failed->tokens.size(), 1u);
  const auto next = Submit(*engine, Greedy(20, 10, 1));
  ASSERT_TRUE(runner_.CanEnd());
  EXPECT_FALSE(engine->Advance()) << "nothing is launched after a void step";
  EndOne(*engine);
  EXPECT_EQ(engine->Stats().failed_steps, 1u);
  RunAhead(*engine);
  EXPECT_EQ(engine->Stats().failed_steps, 1u);
  EXPECT_EQ(next->finish, FinishReason::kLength);
  EXPECT_TRUE(testing_support::SameTokens(next->tokens, Alone(Greedy(20, 10, 1))->tokens));
  EXPECT_EQ(engine->Stats().blocks[0].leased, 0u);
}

TEST_F(StepsAhead, WhatOnlyTheHostKnowsWaits) {
  EngineOptions options = Options();
  options.max_sequences = 2;
  const auto engine = MakeAhead(options);
  const auto ahead = [&] { return engine->Stats().steps_ahead; };
  Request scored = Greedy(20, 1);
  scored.sampling.prompt_logprobs = 1;
  const auto first = Submit(*engine, scored);
  engine->Advance();
  EXPECT_EQ(ahead(), 0u) << "its prompt needs more steps";
  RunAhead(*engine);
  EXPECT_EQ(ahead(), 0u) << "there is nothing beside it";

  const auto second = Submit(*engine, Greedy(20, 20));
  engine->Advance();
  EXPECT_EQ(ahead(), 1u);
  const auto third = Submit(*engine, Greedy(20, 20, 1));
  EndOne(*engine);
  EXPECT_EQ(ahead(), 1u) << "a request can be admitted after the step in flight";
  EndOne(*engine);
  EXPECT_EQ(engine->Stats().running, 2);
  EXPECT_EQ(ahead(), 2u) << "after its prompt";
  const auto fourth = Submit(*engine, Greedy(20, 20, 2));
  EndOne(*engine);
  EXPECT_EQ(ahead(), 3u) << "nobody leaves a place to the fourth";
  RunAhead(*engine);
  for (const auto& recorder : {first, second, third, fourth})
    EXPECT_EQ(recorder->finish, FinishReason::kLength);
}

// Equal requests commit equal blocks: the second one's block is replaced while a step reads it, and is free
// only when that step has ended.
TEST_F(StepsAhead, BlocksAreReplacedUnderAStepInFlight) {
  const auto engine = MakeAhead(Options());
  Request request = Greedy(1, 60);
  const auto one = Submit(*engine, request), two = Submit(*engine, request);
  const auto replaced = [&] { return engine->Stats().cache.deduplicated_blocks; };
  const auto leased = [&] { return engine->Stats().blocks[0].leased; };
  engine->Advance();
  while (!one->finished()) {
    const uint64_t replaced_before = replaced();
    const uint32_t leased_before = leased();
    EndOne(*engine);
    if (replaced() == replaced_before) continue;
    EXPECT_EQ(leased(), leased_before);
    EndOne(*engine);
    EXPECT_EQ(leased(), leased_before - 1);
  }
  EXPECT_FALSE(runner_.in_flight());
  EXPECT_GE(replaced(), 6u);
  EXPECT_GT(engine->Stats().steps_ahead, 50u);
  const auto alone = Alone(request);
  EXPECT_TRUE(testing_support::SameTokens(one->tokens, alone->tokens));
  EXPECT_TRUE(testing_support::SameTokens(two->tokens, alone->tokens));
}

TEST_F(StepsAhead, DestructionWaitsForAllStepsInFlight) {
  auto engine = MakeAhead(Options());
  const auto running = Submit(*engine, Greedy(20, 10));
  engine->Advance();
  EndOne(*engine);
  EXPECT_EQ(runner_.launches, 3);
  engine.reset();
  EXPECT_FALSE(runner_.in_flight());
  EXPECT_EQ(running->finish, FinishReason::kCancelled);
}

// What happened in the runs of a test.
struct Seen {
  uint64_t stopped = 0, full = 0, cancelled = 0, failed = 0;
  uint64_t preemptions = 0, ahead = 0, dropped = 0, same = 0;
  void Add(const EngineStats& stats) {
    preemptions += stats.preemptions;
    ahead += stats.steps_ahead;
    dropped += stats.dropped_tokens;
    same += stats.cache.deduplicated_blocks;
  }
  void Add(FinishReason finish) {
    uint64_t* const counts[] = {&stopped, &full, &cancelled, &failed};
    ++*counts[static_cast<size_t>(finish)];
  }
};

// Random orders of requests, ends, cancels, stops and failures.
class RandomStepsAhead : public StepsAhead {
 protected:
  RandomStepsAhead() {
    eos_ = {7, 21};
    Prng prng(3);
    for (int i = 0; i < 40; ++i) {
      const int length = static_cast<int>(prng.Between(1, 40)), seed = static_cast<int>(prng.Below(3));
      const Request request = RandomRequest(prng, Prompt(length, seed));
      kinds_.emplace_back(request, Alone(request));
    }
  }
  struct Sent {
    RequestId id;
    size_t kind;
    std::shared_ptr<Recorder> recorder;
  };
  void Happen(Prng& prng, Engine& engine, std::vector<Sent>* sent) {
    const uint64_t kind = prng.Below(20);
    if (kind < 2) {
      Sent one{0, prng.Below(kinds_.size()), nullptr};
      one.recorder = Submit(engine, kinds_[one.kind].first, &one.id);
      sent->push_back(one);
    } else if (kind == 2 && !sent->empty()) {
      engine.Cancel((*sent)[prng.Below(sent->size())].id);
    } else if (kind < 11) {
      engine.Advance();
    } else if (kind == 11) {
      engine.Step();
    } else if (runner_.CanEnd()) {
      runner_.End(prng.Chance(0.05) ? Unavailable("by chance") : Status::Ok());
    }
    engine.CheckInvariants();
  }
  void Run(uint64_t seed) {
    Prng prng(seed);
    EngineOptions options = Options();
    options.max_queue = 100;
    options.eos = eos_;
    options.blocks = prng.Chance(0.5) ? 17 : 60;
    options.step_tokens = static_cast<int>(prng.Between(4, 32));
    const auto engine = MakeAhead(options);
    std::vector<Sent> sent;
    for (int event = 0; event < 200; ++event) Happen(prng, *engine, &sent);
    RunAhead(*engine);
    const EngineStats stats = engine->Stats();
    seen_.Add(stats);
    EXPECT_EQ(stats.blocks[0].leased, 0u);
    uint64_t reported = 0;
    for (const Sent& one : sent) {
      ASSERT_TRUE(one.recorder->finished());
      seen_.Add(*one.recorder->finish);
      reported += one.recorder->tokens.size();
      const Recorder& alone = *kinds_[one.kind].second;
      std::vector<GeneratedToken> expected = alone.tokens;
      if (one.recorder->finish == FinishReason::kStop || one.recorder->finish == FinishReason::kLength) {
        EXPECT_EQ(one.recorder->finish, alone.finish);
      } else {
        expected.resize(std::min(expected.size(), one.recorder->tokens.size()));
      }
      EXPECT_TRUE(testing_support::SameTokens(one.recorder->tokens, expected)) << one.kind;
    }
    EXPECT_EQ(stats.generation_tokens, reported);
  }

  std::vector<std::pair<Request, std::shared_ptr<Recorder>>> kinds_;  // what is asked, what it gets alone
  Seen seen_;
};

// Whatever happens to others, a request that ends well has the tokens that it has alone.
TEST_F(RandomStepsAhead, TheTokensAreThoseOfTheRequestAlone) {
  for (uint64_t seed = 1; seed <= static_cast<uint64_t>(testing_support::Rounds(60)); ++seed) {
    SCOPED_TRACE(seed);
    Run(seed);
    if (HasFailure()) return;
  }
  EXPECT_GT(seen_.stopped, 0u);
  EXPECT_GT(seen_.full, 0u);
  EXPECT_GT(seen_.cancelled, 0u);
  EXPECT_GT(seen_.failed, 0u);
  EXPECT_GT(seen_.ahead, 100u);
  EXPECT_GT(seen_.dropped, 0u);
  EXPECT_GT(seen_.same, 0u);
  EXPECT_TRUE(seen_.preemptions > 0 || testing_support::kSanitized);
}

}  // namespace
}  // namespace prefixd
