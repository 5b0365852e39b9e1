#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <numeric>
#include <thread>

#include "base/prng.h"
#include "tests/engine/engine_fixture.h"

namespace prefixd {
namespace {

using testing_support::Recorder;

TEST_F(EngineTest, GeneratesAndKeepsTheBooks) {
  EngineOptions options = Options();
  options.prompt_token_seconds = 0.5;
  auto engine = Make(options);
  auto first = std::make_shared<Recorder>(), second = std::make_shared<Recorder>();
  ASSERT_TRUE(engine->Submit(Ask(Prompt(50), 10, first)).ok());
  RunToEnd(*engine);
  EXPECT_EQ(engine->Stats().prefill_seconds_saved, 0);
  ASSERT_TRUE(engine->Submit(Ask(Prompt(50), 10, second)).ok());
  RunToEnd(*engine);
  EXPECT_EQ(first->tokens.size(), 10u);
  EXPECT_EQ(*first->finish, FinishReason::kLength);
  EXPECT_TRUE(testing_support::SameTokens(first->tokens, second->tokens));
  EXPECT_EQ(first->usage.computed(), 50);
  EXPECT_EQ(second->usage.computed(), 1);
  EXPECT_EQ(second->usage.cached(), 49);
  const EngineStats stats = engine->Stats();
  EXPECT_EQ(stats.prompt_tokens[static_cast<int>(TokenSource::kComputed)], 51u);
  EXPECT_EQ(stats.prompt_tokens[static_cast<int>(TokenSource::kDevice)], 49u);
  EXPECT_EQ(stats.miss_tokens[static_cast<int>(MissReason::kNeverSeen)], 48u);
  EXPECT_EQ(stats.miss_tokens[static_cast<int>(MissReason::kBlockTail)], 3u);
  EXPECT_GT(stats.prefill_seconds_saved, 0);
  EXPECT_LT(stats.prefill_seconds_saved, 2 * 49 * options.prompt_token_seconds) << "attention adds little";
  EXPECT_EQ(stats.ghost_hit_tokens[0][1], 48u) << "whole blocks";
  EXPECT_EQ(stats.ghost_hit_tokens[1][1], 0u) << "there is no such tier";
  EXPECT_EQ(stats.prefix_query_tokens, 100u);
  EXPECT_EQ(stats.prefix_hit_tokens, 49u);
  EXPECT_EQ(stats.generation_tokens, 20u);
  EXPECT_EQ(stats.finished[static_cast<int>(FinishReason::kLength)], 2u);
}

TEST_F(EngineTest, GeneratedTokensAreReusedByTheNextTurn) {
  auto engine = Make(Options());
  auto first = std::make_shared<Recorder>(), second = std::make_shared<Recorder>();
  std::vector<TokenId> prompt = Prompt(20);
  ASSERT_TRUE(engine->Submit(Ask(prompt, 30, first)).ok());
  RunToEnd(*engine);
  for (const GeneratedToken& token : first->tokens) prompt.push_back(token.token);
  for (const TokenId token : Prompt(5, 9)) prompt.push_back(token);
  ASSERT_TRUE(engine->Submit(Ask(prompt, 1, second)).ok());
  RunToEnd(*engine);
  EXPECT_EQ(second->usage.cached(), 48) << "the whole blocks of prompt and answer";
  EXPECT_EQ(second->usage.computed(), 7);
}

TEST_F(EngineTest, EndAndStopTokensEndUnlessToldOtherwise) {
  EngineOptions options = Options();
  auto probe = std::make_shared<Recorder>();
  auto plain = Make(options);
  ASSERT_TRUE(plain->Submit(Ask(Prompt(10), 20, probe)).ok());
  RunToEnd(*plain);
  const TokenId fourth = probe->tokens[3].token;
  const auto first_at =
      std::find_if(probe->tokens.begin(), probe->tokens.end(), [&](auto& t) { return t.token == fourth; });
  const size_t expected = static_cast<size_t>(first_at - probe->tokens.begin()) + 1;

  options.eos = {fourth};
  auto engine = Make(options);
  auto ends = std::make_shared<Recorder>(), ignores = std::make_shared<Recorder>(),
       stops = std::make_shared<Recorder>(), waits = std::make_shared<Recorder>(),
       both = std::make_shared<Recorder>();
  Request request = Ask(Prompt(10), 20, ends);
  request.sampling.ignore_eos = false;
  ASSERT_TRUE(engine->Submit(request).ok());
  ASSERT_TRUE(engine->Submit(Ask(Prompt(10), 20, ignores)).ok());
  request = Ask(Prompt(10), 20, stops);
  request.sampling.stop_token_ids = {fourth};
  ASSERT_TRUE(engine->Submit(request).ok());
  request = Ask(Prompt(10), 20, waits);
  request.sampling.ignore_eos = false;
  request.sampling.min_tokens = 12;
  ASSERT_TRUE(engine->Submit(request).ok());
  request = Ask(Prompt(10), 20, both);
  request.sampling.min_tokens = 12;
  ASSERT_TRUE(engine->Submit(request).ok());
  RunToEnd(*engine);
  EXPECT_EQ(ends->tokens.size(), expected);
  EXPECT_EQ(*ends->finish, FinishReason::kStop);
  EXPECT_EQ(ignores->tokens.size(), 20u);
  EXPECT_EQ(stops->tokens.size(), expected);
  EXPECT_GE(waits->tokens.size(), 12u);
  EXPECT_EQ(both->tokens.size(), 20u);
  for (size_t i = 0; i < 12; ++i) {
    EXPECT_NE(waits->tokens[i].token, fourth);
    EXPECT_NE(both->tokens[i].token, fourth) << "no end token among the first, whether or not it would end";
  }
}

TEST_F(EngineTest, RefusesWhatCannotWork) {
  auto engine = Make(Options());
  auto nobody = std::make_shared<Recorder>();
  EXPECT_EQ(engine->Submit(Ask({}, 1, nobody)).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(engine->Submit(Ask({64}, 1, nobody)).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(engine->Submit(Ask({-1}, 1, nobody)).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(engine->Submit(Ask(Prompt(128), 1, nobody)).status().code(), Code::kInvalidArgument);
  for (int i = 0; i < 8; ++i)
    EXPECT_TRUE(engine->Submit(Ask(Prompt(5), 1, std::make_shared<Recorder>())).ok());
  EXPECT_EQ(engine->Submit(Ask(Prompt(5), 1, nobody)).status().code(), Code::kResourceExhausted);
  engine->Drain();
  EXPECT_EQ(engine->Submit(Ask(Prompt(5), 1, nobody)).status().code(), Code::kUnavailable);
  RunToEnd(*engine);
  EXPECT_EQ(engine->Stats().finished[static_cast<int>(FinishReason::kLength)], 8u)
      << "draining loses nothing";
  EXPECT_FALSE(nobody->finished());

  EngineOptions options = Options();
  options.blocks = 16;
  EXPECT_THAT(
      Engine::Create(options, loaded_->model.get(), loaded_->backend.get(), &clock_).status().message(),
      testing::HasSubstr("device-cache"));
  options = Options();
  options.step_tokens = 3;
  EXPECT_EQ(Engine::Create(options, loaded_->model.get(), loaded_->backend.get(), &clock_).status().code(),
            Code::kInvalidArgument);
  for (const auto field : {&EngineOptions::context, &EngineOptions::step_tokens,
                           &EngineOptions::max_sequences, &EngineOptions::prompt_logit_rows}) {
    options = Options();
    options.*field += 1;  // more than the model was loaded for
    EXPECT_EQ(Engine::Create(options, loaded_->model.get(), loaded_->backend.get(), &clock_).status().code(),
              Code::kInvalidArgument);
  }
  options = Options();
  options.context = std::numeric_limits<int>::max();
  EXPECT_THAT(
      Engine::Create(options, loaded_->model.get(), loaded_->backend.get(), &clock_).status().message(),
      testing::HasSubstr("268435457 needed"));
  options = Options();
  options.block_tokens = 12;
  EXPECT_EQ(Engine::Create(options, loaded_->model.get(), loaded_->backend.get(), &clock_).status().code(),
            Code::kInvalidArgument);
}

TEST_F(EngineTest, AFullContextAndAPromptForNoTokens) {
  auto engine = Make(Options());
  auto full = std::make_shared<Recorder>(), none = std::make_shared<Recorder>(),
       after = std::make_shared<Recorder>();
  ASSERT_TRUE(engine->Submit(Ask(Prompt(120), 100, full)).ok());
  ASSERT_TRUE(engine->Submit(Ask(Prompt(40, 3), 0, none)).ok());
  RunToEnd(*engine);
  EXPECT_EQ(full->tokens.size(), 8u);
  EXPECT_EQ(*full->finish, FinishReason::kLength);
  EXPECT_TRUE(none->tokens.empty());
  EXPECT_EQ(*none->finish, FinishReason::kLength);
  ASSERT_TRUE(engine->Submit(Ask(Prompt(40, 3), 1, after)).ok());
  RunToEnd(*engine);
  EXPECT_EQ(after->usage.computed(), 1) << "the prompt was prepared";
}

TEST_F(EngineTest, CancelFreesTheLeaseInOneStep) {
  auto engine = Make(Options());
  auto running = std::make_shared<Recorder>(), waiting = std::make_shared<Recorder>();
  const RequestId id = *engine->Submit(Ask(Prompt(60), 60, running));
  for (int i = 0; i < 5; ++i) engine->Step();
  EXPECT_GT(engine->Stats().blocks[0].leased, 0u);
  EXPECT_FALSE(running->tokens.empty());
  engine->Cancel(id);
  engine->Cancel(id);
  engine->Cancel(4711);
  engine->Step();
  EXPECT_EQ(*running->finish, FinishReason::kCancelled);
  EXPECT_EQ(engine->Stats().blocks[0].leased, 0u);
  const RequestId unseen = *engine->Submit(Ask(Prompt(10), 5, waiting));
  engine->Cancel(unseen);
  RunToEnd(*engine);
  EXPECT_EQ(*waiting->finish, FinishReason::kCancelled);
  EXPECT_TRUE(waiting->tokens.empty());
}

TEST_F(EngineTest, DestructionEndsEveryRequest) {
  auto engine = Make(Options());
  std::vector<std::shared_ptr<Recorder>> recorders;
  for (int i = 0; i < 6; ++i) {
    recorders.push_back(std::make_shared<Recorder>());
    ASSERT_TRUE(engine->Submit(Ask(Prompt(20, i), 30, recorders.back())).ok());
    engine->Step();
  }
  engine.reset();
  for (const auto& recorder : recorders) EXPECT_EQ(recorder->finish, FinishReason::kCancelled);
}

// Submits another request when its request finishes.
class Insistent final : public RequestListener {
 public:
  explicit Insistent(Engine* engine) : engine_(engine) {}
  void OnEvent(RequestEvent event) override {
    if (!event.finish) return;
    ++finishes;
    Request again;
    again.prompt = {1, 2, 3};
    again.listener = retried = std::make_shared<Recorder>();
    status = engine_->Submit(std::move(again)).status();
  }
  int finishes = 0;
  Status status;
  std::shared_ptr<Recorder> retried;

 private:
  Engine* const engine_;
};

TEST_F(EngineTest, NothingIsAcceptedDuringDestruction) {
  auto engine = Make(Options());
  auto listener = std::make_shared<Insistent>(engine.get());
  Request request = Ask(Prompt(20), 30, nullptr);
  request.listener = listener;
  ASSERT_TRUE(engine->Submit(request).ok());
  engine->Step();
  engine.reset();
  EXPECT_EQ(listener->finishes, 1);
  EXPECT_EQ(listener->status.code(), Code::kUnavailable);
  EXPECT_FALSE(listener->retried->finished());
}

// Calls Step from inside Step.
class Reentrant final : public RequestListener {
 public:
  explicit Reentrant(Engine* engine) : engine_(engine) {}
  void OnEvent(RequestEvent) override { engine_->Step(); }

 private:
  Engine* const engine_;
};

using EngineDeathTest = EngineTest;

TEST_F(EngineDeathTest, RefusesMisuse) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a fork alone has no thread that computes
  auto engine = Make(Options());
  EXPECT_DEATH((void)engine->Submit(Ask(Prompt(3), 1, nullptr)), "listener != nullptr");
  EXPECT_DEATH((void)Engine::Create(Options(), nullptr, nullptr, &clock_), "model != nullptr");
  const auto reenter = [&] {
    Request request = Ask(Prompt(3), 1, nullptr);
    request.listener = std::make_shared<Reentrant>(engine.get());
    PREFIXD_CHECK(engine->Submit(std::move(request)).ok());
    engine->Step();
  };
  EXPECT_DEATH(reenter(), "the engine is inside Step already");
}

TEST_F(EngineTest, TenantsShareNothing) {
  auto engine = Make(Options());
  auto a = std::make_shared<Recorder>(), b = std::make_shared<Recorder>(),
       again = std::make_shared<Recorder>();
  Request request = Ask(Prompt(40), 3, a);
  request.cache_namespace.salt = "a";
  ASSERT_TRUE(engine->Submit(request).ok());
  RunToEnd(*engine);
  request = Ask(Prompt(40), 3, b);
  request.cache_namespace.salt = "b";
  ASSERT_TRUE(engine->Submit(request).ok());
  RunToEnd(*engine);
  request = Ask(Prompt(40), 3, again);
  request.cache_namespace.salt = "a";
  ASSERT_TRUE(engine->Submit(request).ok());
  RunToEnd(*engine);
  EXPECT_EQ(b->usage.cached(), 0);
  EXPECT_EQ(again->usage.cached(), 39);
  EXPECT_TRUE(testing_support::SameTokens(a->tokens, b->tokens));
}

// Submit, Cancel and Stats from other threads while this one steps; for ThreadSanitizer as much as for the
// counts.
TEST_F(EngineTest, ManyThreadsSubmitAndCancel) {
  EngineOptions options = Options();
  options.max_queue = 1000;
  auto engine = Make(options);
  constexpr int kThreads = 3, kEach = 15;
  std::vector<std::vector<std::shared_ptr<Recorder>>> recorders(kThreads);
  std::atomic<int> done = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Prng prng(t);
      for (int i = 0; i < kEach; ++i) {
        auto recorder = std::make_shared<Recorder>();
        recorders[t].push_back(recorder);
        const auto id =
            engine->Submit(Ask(Prompt(static_cast<int>(prng.Between(1, 40)), i % 3), 6, recorder));
        PREFIXD_CHECK(id.ok());
        if (prng.Chance(0.3)) engine->Cancel(*id);
        PREFIXD_CHECK(engine->Stats().running <= 4);
      }
      ++done;
    });
  }
  while (done.load() < kThreads || !engine->idle()) {
    if (!engine->Step()) engine->WaitForWork(std::chrono::milliseconds(1));
  }
  for (auto& thread : threads) thread.join();
  for (const auto& list : recorders) {
    for (const auto& recorder : list) ASSERT_TRUE(recorder->finished());
  }
  engine->Step();
  const auto finished = engine->Stats().finished;
  EXPECT_EQ(std::accumulate(finished.begin(), finished.end(), uint64_t{0}), uint64_t{kThreads * kEach});
  EXPECT_EQ(engine->Stats().blocks[0].leased, 0u);
}

// Whoever has an event finds it in the statistics.
class CountReader final : public RequestListener {
 public:
  void OnEvent(RequestEvent event) override {
    const EngineStats stats = engine->Stats();
    tokens += event.tokens.size();
    EXPECT_EQ(stats.generation_tokens, tokens);
    EXPECT_EQ(stats.finished[static_cast<size_t>(FinishReason::kLength)], event.finish ? 1u : 0u);
    EXPECT_EQ(stats.running, event.finish ? 0 : 1);
    ++events;
  }
  Engine* engine = nullptr;
  uint64_t tokens = 0;
  int events = 0;
};

TEST_F(EngineTest, AnEventIsCountedBeforeItIsDelivered) {
  const auto engine = Make(Options());
  const auto reader = std::make_shared<CountReader>();
  reader->engine = engine.get();
  Request request = Ask(Prompt(40), 3, nullptr);
  request.listener = reader;
  ASSERT_TRUE(engine->Submit(std::move(request)).ok());
  RunToEnd(*engine);
  EXPECT_EQ(reader->events, 3);
}

}  // namespace
}  // namespace prefixd
