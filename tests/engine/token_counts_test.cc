// What the engine counts of tokens: which prompt tokens became reusable, and sums over random traffic with
// equal prompts, choices, preemption and cancellation.
#include <gtest/gtest.h>

#include <cstdlib>
#include <numeric>
#include <set>

#include "tests/engine/engine_fixture.h"

namespace prefixd {
namespace {

using testing_support::Recorder;
using Tokens = std::vector<TokenId>;

constexpr size_t kPrompt = static_cast<size_t>(WriteKind::kPrompt);
constexpr size_t kAnswer = static_cast<size_t>(WriteKind::kAnswer);
constexpr size_t kAgain = static_cast<size_t>(WriteKind::kAgain);

class TokenCountsTest : public EngineTest {
 protected:
  // Runs requests at once, each with its prompt. Returns what each of them has written.
  std::vector<int> Written(Engine& engine, const std::vector<Tokens>& prompts, int max_tokens = 1) {
    std::vector<std::shared_ptr<Recorder>> recorders;
    for (const Tokens& prompt : prompts) {
      recorders.push_back(std::make_shared<Recorder>());
      EXPECT_TRUE(engine.Submit(Ask(prompt, max_tokens, recorders.back())).ok());
    }
    RunToEnd(engine);
    std::vector<int> written;
    for (const auto& recorder : recorders) {
      written.push_back(recorder->usage.written);
      EXPECT_LE(recorder->usage.written, recorder->usage.computed());
    }
    return written;
  }
  static int Sum(const std::vector<int>& values) { return std::accumulate(values.begin(), values.end(), 0); }
};

Tokens operator+(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST_F(TokenCountsTest, APromptThatComesAgainWritesNothing) {
  for (const int length : {1, 7, 8, 9, 16, 20, 63, 64}) {
    auto engine = Make(Options());
    const int full = length / 8 * 8;
    EXPECT_EQ(Written(*engine, {Prompt(length)}), std::vector<int>{full}) << length;
    EXPECT_EQ(Written(*engine, {Prompt(length)}), std::vector<int>{0}) << length;
    // The answer fills the block that the prompt begins; neither of them counts it.
    EXPECT_EQ(Written(*engine, {Prompt(length)}, 20), std::vector<int>{0}) << length;
    EXPECT_EQ(engine->Stats().written_tokens[kPrompt], static_cast<uint64_t>(full)) << length;
    EXPECT_EQ(engine->Stats().written_tokens[kAnswer], static_cast<uint64_t>((length + 19) / 8 * 8 - full));
    EXPECT_EQ(engine->Stats().written_tokens[kAgain], 0u);
  }
}

TEST_F(TokenCountsTest, EqualPromptsAtOnceWriteOnce) {
  auto engine = Make(Options());
  EXPECT_EQ(Sum(Written(*engine, {Prompt(40), Prompt(40), Prompt(40), Prompt(40)})), 40);
  EXPECT_EQ(Sum(Written(*engine, {Prompt(40), Prompt(40)})), 0);
  EXPECT_EQ(engine->Stats().written_tokens[kPrompt], 40u);
}

TEST_F(TokenCountsTest, APromptThatDiffersInItsLastBlockWritesFromThereOn) {
  const Tokens shared = Prompt(32);
  for (const int equal : {0, 1, 5, 7}) {  // tokens of the last block
    auto engine = Make(Options());
    const Tokens begin = shared + Tokens(static_cast<size_t>(equal), 5);
    EXPECT_EQ(Sum(Written(*engine, {begin + Tokens(static_cast<size_t>(8 - equal), 6)})), 40);
    EXPECT_EQ(Sum(Written(*engine, {begin + Tokens(static_cast<size_t>(8 - equal), 7)})), 8 - equal);
  }
  // At once, the order of the two decides which of them writes the shared part; the sum is the same.
  auto engine = Make(Options());
  EXPECT_EQ(Sum(Written(*engine, {shared + Tokens{5, 5, 5, 5, 5, 1, 1, 1}, shared + Tokens(8, 5)})), 43);
}

TEST_F(TokenCountsTest, RequestsThatDoNotReadTheCacheWriteOnlyWhatIsNew) {
  auto engine = Make(Options());
  auto first = std::make_shared<Recorder>(), scored = std::make_shared<Recorder>();
  Request request = Ask(Prompt(24), 1, first);
  request.read_cache = false;
  ASSERT_TRUE(engine->Submit(request).ok());
  RunToEnd(*engine);
  EXPECT_EQ(first->usage.written, 24);
  request.read_cache = true;
  request.sampling.prompt_logprobs = 0;
  request.listener = scored;
  ASSERT_TRUE(engine->Submit(request).ok());
  RunToEnd(*engine);
  EXPECT_EQ(scored->usage.computed(), 24);
  EXPECT_EQ(scored->usage.written, 0);
}

TEST_F(TokenCountsTest, WithoutACacheNothingIsWritten) {
  EngineOptions options = Options();
  options.prefix_cache = false;
  auto engine = Make(options);
  EXPECT_EQ(Sum(Written(*engine, {Prompt(40), Prompt(40), Prompt(24, 1)}, 12)), 0);
  EXPECT_EQ(engine->Stats().cache.written_tokens, 0u);
}

TEST_F(TokenCountsTest, WhatWasEvictedIsWrittenAgainByTheNextRequest) {
  EngineOptions options = Options();
  options.context = 48;
  options.blocks = 7;
  auto engine = Make(options);
  EXPECT_EQ(Sum(Written(*engine, {Prompt(40)})), 40);
  EXPECT_EQ(Sum(Written(*engine, {Prompt(40, 1)})), 40);
  const EngineStats before = engine->Stats();
  ASSERT_GT(before.cache.evicted_blocks[0], 0u);
  auto third = std::make_shared<Recorder>();
  ASSERT_TRUE(engine->Submit(Ask(Prompt(40), 1, third)).ok());
  RunToEnd(*engine);
  EXPECT_EQ(third->usage.written, 40 - third->usage.cached() / 8 * 8);
}

TEST_F(TokenCountsTest, APreemptedRequestCountsAPromptTokenOnce) {
  EngineOptions options = Options();
  options.context = 96;
  options.blocks = 13;
  auto engine = Make(options);
  std::vector<std::shared_ptr<Recorder>> recorders;
  for (int i = 0; i < 4; ++i) {
    recorders.push_back(std::make_shared<Recorder>());
    ASSERT_TRUE(engine->Submit(Ask(Prompt(24, i), 60, recorders.back())).ok());
  }
  RunToEnd(*engine);
  for (const auto& recorder : recorders) EXPECT_EQ(recorder->usage.written, 24);
  const EngineStats stats = engine->Stats();
  EXPECT_GT(stats.preemptions, 0u);
  EXPECT_EQ(stats.written_tokens[kPrompt], 96u);
  EXPECT_GT(stats.written_tokens[kAgain], 0u) << "no preempted request lost its blocks";
}

TEST_F(TokenCountsTest, WhatAPreemptedRequestHadReadIsNotWritten) {
  EngineOptions options = Options();
  options.context = 96;
  options.blocks = 13;
  auto engine = Make(options);
  ASSERT_EQ(Sum(Written(*engine, {Prompt(24)})), 24);
  auto older = std::make_shared<Recorder>(), reader = std::make_shared<Recorder>();
  ASSERT_TRUE(engine->Submit(Ask(Prompt(24, 1), 60, older)).ok());
  ASSERT_TRUE(engine->Submit(Ask(Prompt(24) + Prompt(8, 2), 40, reader)).ok());
  RunToEnd(*engine);
  ASSERT_GT(engine->Stats().preemptions, 0u);
  EXPECT_EQ(reader->usage.cached(), 24);
  EXPECT_EQ(reader->usage.written, 8);
  EXPECT_GE(engine->Stats().written_tokens[kAgain], 24u) << "it lost what it had read";
}

// Seeds of the random traffic. PREFIXD_COUNT_SEEDS=500 for a campaign.
uint64_t Seeds() {
  const char* asked = std::getenv("PREFIXD_COUNT_SEEDS");
  return asked == nullptr ? 4 : std::strtoull(asked, nullptr, 10);
}

// Random traffic. `cancels`: requests are cancelled at any time.
struct Traffic {
  const char* name;
  uint32_t blocks;
  bool cancels;
};
struct Served {
  RequestId id;
  std::shared_ptr<Recorder> recorder;
  Tokens prompt;
  bool repeats;
};

class TokenSumsTest : public TokenCountsTest, public testing::WithParamInterface<Traffic> {
 protected:
  Tokens DrawPrompt(Prng& prng) {
    return Prompt(static_cast<int>(8 * prng.Below(4)), static_cast<int>(prng.Below(2))) +
           Prompt(static_cast<int>(prng.Between(1, 20)), static_cast<int>(10 + prng.Below(3)));
  }
  // Cancels one of the requests that have not ended.
  static void CancelOne(Engine& engine, Prng& prng, const std::vector<Served>& runs) {
    std::vector<RequestId> alive;
    for (const Served& run : runs) {
      if (!run.recorder->finished()) alive.push_back(run.id);
    }
    if (!alive.empty()) engine.Cancel(alive[prng.Below(alive.size())]);
  }
  std::vector<Served> Serve(Engine& engine, Prng& prng) {
    std::vector<Served> runs;
    for (int step = 0; step < 120 || !engine.idle(); ++step) {
      if (step < 120 && prng.Chance(0.4)) {
        const Tokens prompt = DrawPrompt(prng);
        for (uint64_t k = 0, choices = prng.Chance(0.3) ? 3 : 1; k < choices; ++k) {
          auto recorder = std::make_shared<Recorder>();
          Request request = Ask(prompt, static_cast<int>(prng.Below(24)), recorder);
          request.sampling.temperature = 1;
          request.sampling.seed = prng.Below(1000);
          request.sampling.prompt_logprobs = k == 0 && prng.Chance(0.1) ? 0 : -1;
          request.read_cache = prng.Chance(0.9);
          request.repeats_prompt = k > 0;
          const auto id = engine.Submit(std::move(request));
          if (!id.ok()) break;  // the queue is full
          runs.push_back({*id, recorder, prompt, k > 0});
        }
      }
      if (GetParam().cancels && prng.Chance(0.12)) CancelOne(engine, prng, runs);
      // A turn that leaves its step in flight lets a cancellation arrive during it. Each turn collects or
      // launches a step, so that the traffic does not depend on the speed of the machine.
      if (prng.Chance(0.3) || !engine.Advance()) engine.Step();
      engine.CheckInvariants();
      PREFIXD_CHECK(step < 20000);
    }
    // A request that has ended may be cancelled as well. That counts nothing.
    if (GetParam().cancels) {
      for (const Served& run : runs) engine.Cancel(run.id);
    }
    EXPECT_FALSE(engine.Step());
    return runs;
  }
};

TEST_P(TokenSumsTest, TheCountsOfAllRequestsSumToTheStatistics) {
  uint64_t preemptions = 0, evictions = 0, dropped = 0;
  for (uint64_t seed = 0; seed < Seeds(); ++seed) {
    EngineOptions options = Options();
    options.context = 80;
    options.blocks = GetParam().blocks;
    auto engine = Make(options);
    Prng prng(seed);
    const std::vector<Served> runs = Serve(*engine, prng);
    const EngineStats stats = engine->Stats();
    std::array<uint64_t, kTokenSources> prompts{}, repeated{};
    uint64_t generated = 0, written = 0;
    std::set<Tokens> reusable;
    for (const Served& run : runs) {
      ASSERT_TRUE(run.recorder->finished());
      const PromptUsage& usage = run.recorder->usage;
      generated += run.recorder->tokens.size();
      written += static_cast<uint64_t>(usage.written);
      ASSERT_LE(usage.cached() + usage.written, static_cast<int>(run.prompt.size()));
      Tokens tokens = run.prompt;
      for (const GeneratedToken& token : run.recorder->tokens) tokens.push_back(token.token);
      if (!run.recorder->tokens.empty()) tokens.pop_back();  // its KV is not computed
      for (size_t end = 1; end <= tokens.size() / 8 * 8; ++end)
        reusable.insert(Tokens(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(end)));
      if (usage.total() < static_cast<int>(run.prompt.size())) continue;  // cancelled before its end
      ASSERT_EQ(usage.total(), static_cast<int>(run.prompt.size()));
      for (size_t i = 0; i < kTokenSources; ++i) {
        prompts[i] += static_cast<uint64_t>(usage.tokens[i]);
        if (run.repeats) repeated[i] += static_cast<uint64_t>(usage.tokens[i]);
      }
    }
    ASSERT_EQ(stats.prompt_tokens, prompts) << "seed " << seed;
    ASSERT_EQ(stats.repeated_prompt_tokens, repeated) << "seed " << seed;
    ASSERT_EQ(stats.generation_tokens, generated) << "seed " << seed;
    ASSERT_EQ(stats.written_tokens[kPrompt], written) << "seed " << seed;
    ASSERT_EQ(std::accumulate(stats.finished.begin(), stats.finished.end(), uint64_t{0}), runs.size());
    if (stats.cache.evicted_blocks[0] == 0 && !GetParam().cancels) {
      ASSERT_EQ(stats.cache.written_tokens, reusable.size()) << "seed " << seed;
    }
    preemptions += stats.preemptions;
    evictions += stats.cache.evicted_blocks[0];
    dropped += stats.dropped_tokens;
  }
  EXPECT_EQ(preemptions > 0, GetParam().blocks < 100);
  EXPECT_EQ(evictions > 0, GetParam().blocks < 100);
  EXPECT_EQ(dropped > 0, GetParam().cancels) << "no cancellation came during a step";
}

INSTANTIATE_TEST_SUITE_P(All, TokenSumsTest,
                         testing::Values(Traffic{"LargePool", 2000, false}, Traffic{"TinyPool", 11, false},
                                         Traffic{"LargePoolCancels", 2000, true},
                                         Traffic{"TinyPoolCancels", 11, true}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace prefixd
