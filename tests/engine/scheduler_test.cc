#include "engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/prng.h"
#include "tests/engine/scheduler_world.h"
#include "tests/support/rounds.h"

namespace prefixd {
namespace {

int Computed(const World& world, RequestId id) { return world.usages_.at(id).computed(); }
int From(const World& world, RequestId id, TokenSource source) {
  return world.usages_.at(id).tokens[static_cast<int>(source)];
}

TEST(Scheduler, SecondRequestComputesTheTailOnly) {
  World world(64, 4, {8, 32});
  const RequestId first = world.Add(Tokens(41, 100), 3);
  world.RunToEnd(100);
  const RequestId second = world.Add(Tokens(41, 100), 3);
  world.RunToEnd(100);
  EXPECT_EQ(Computed(world, first), 41);
  EXPECT_EQ(Computed(world, second), 1);
  EXPECT_EQ(From(world, second, TokenSource::kDevice), 40);
  EXPECT_EQ(world.outputs_[first], world.outputs_[second]);
}

TEST(Scheduler, APartlyMatchingBlockIsReusedTokenByToken) {
  World world(64, 8, {8, 32});
  world.Add(Tokens(32, 100), 1);
  world.RunToEnd(100);
  std::vector<TokenId> other = Tokens(32, 100);
  other[21] = 7;  // inside the third block
  const RequestId second = world.Add(other, 1);
  world.RunToEnd(100);
  EXPECT_EQ(From(world, second, TokenSource::kDevice), 21);
  EXPECT_EQ(Computed(world, second), 11);
}

TEST(Scheduler, ConcurrentRequestsComputeASharedPrefixOnce) {
  World world(400, 4, {64, 64});
  std::vector<RequestId> ids;
  for (int i = 0; i < 32; ++i) {
    std::vector<TokenId> prompt = Tokens(60, 0);
    prompt.push_back(1000 + i);
    ids.push_back(world.Add(prompt, 4));
  }
  world.RunToEnd(500);
  EXPECT_EQ(Computed(world, ids[0]), 61);
  for (size_t i = 1; i < ids.size(); ++i) {
    EXPECT_EQ(Computed(world, ids[i]), 1) << i;
    EXPECT_EQ(From(world, ids[i], TokenSource::kShared), 60) << i;
  }
}

// Equal prompts at once on a tree that an earlier request has left: it shares `shared` first tokens, or its
// prompt branches off in one of the blocks. One of them computes the prompt, each other a part of a block.
TEST(Scheduler, EqualPromptsAreComputedOnceOnAUsedTree) {
  constexpr int kPrompt = 200, kEqual = 8;
  const auto check = [](const std::vector<TokenId>& used) {
    World world(800, 16, {64, 96});
    world.Add(used, 2);
    world.RunToEnd(100);
    world.computed_rows_ = 0;
    std::vector<RequestId> ids;
    for (int i = 0; i < kEqual; ++i) ids.push_back(world.Add(Tokens(kPrompt, 0), 1));
    world.RunToEnd(100);
    EXPECT_LE(world.computed_rows_, static_cast<uint64_t>(kPrompt + 16 * (kEqual - 1)));
    for (int i = 1; i < kEqual; ++i) EXPECT_LE(Computed(world, ids[static_cast<size_t>(i)]), 16) << i;
  };
  for (const int shared : {1, 7, 15, 16, 17, 40}) {
    SCOPED_TRACE(shared);
    std::vector<TokenId> used = Tokens(shared, 0);
    while (used.size() < 64) used.push_back(static_cast<TokenId>(5000 + used.size()));
    check(used);
  }
  for (int block = 0; block < kPrompt / 16; ++block) {
    SCOPED_TRACE(block);
    std::vector<TokenId> sibling = Tokens(kPrompt, 0);
    sibling[static_cast<size_t>(block * 16 + 5)] = 7777;
    check(sibling);
  }
}

// A part of a block that matches is copied without waiting: beside running prompts, a request that shares one
// token gets its first token in the same step as one that shares none.
TEST(Scheduler, AOneTokenMatchCostsNoStep) {
  int steps[2] = {0, 0};
  for (const int shared : {0, 1}) {
    World world(800, 16, {8, 64});
    world.Add(Tokens(64, 0), 1);
    world.RunToEnd(100);
    world.Add(Tokens(600, 9000), 1);  // prefills all the time
    world.Step();
    std::vector<TokenId> prompt = Tokens(100, 3000);
    if (shared == 1) prompt[0] = 0;
    const RequestId id = world.Add(prompt, 1);
    while (!world.outputs_.contains(id)) {
      ASSERT_LT(++steps[shared], 50);
      world.Step();
    }
    EXPECT_EQ(Computed(world, id), 100 - shared);
  }
  EXPECT_EQ(steps[1], steps[0]);
}

TEST(Scheduler, WhoeverWaitsTakesOverWhenTheComputingRequestIsCancelled) {
  World world(64, 4, {8, 8});
  const RequestId first = world.Add(Tokens(40, 0), 4);
  const RequestId second = world.Add(Tokens(40, 0), 4);
  world.Step();
  ASSERT_NE(world.scheduler_.Remove(first), nullptr);
  world.RunToEnd(100);
  EXPECT_EQ(world.outputs_.size(), 1u);
  EXPECT_EQ(From(world, second, TokenSource::kComputed) + From(world, second, TokenSource::kShared) +
                From(world, second, TokenSource::kDevice),
            40);
  EXPECT_GE(Computed(world, second), 32);
}

TEST(Scheduler, DecodesGoFirstAndShortPromptsDoNotStandBehindALongOne) {
  World world(600, 4, {8, 16});
  const RequestId talker = world.Add(Tokens(4, 5000), 200);
  world.Step();
  const RequestId long_prompt = world.Add(Tokens(400, 0), 1);
  const RequestId short_prompt = world.Add(Tokens(12, 7000), 1);
  int steps = 0;
  while (!world.outputs_.contains(short_prompt)) {
    ASSERT_LT(++steps, 10);
    const auto before = world.scheduler_.running().front()->tokens.size();
    world.Step();
    EXPECT_EQ(world.scheduler_.running().front()->id, talker);
    EXPECT_EQ(world.scheduler_.running().front()->tokens.size(), before + 1)
        << "a decode waits for no prompt";
  }
  EXPECT_FALSE(world.outputs_.contains(long_prompt));
  world.RunToEnd(400);
}

TEST(Scheduler, PreemptionLosesNothingAndIsCountedApart) {
  World world(12, 4, {8, 16});  // room for one sequence of 40 tokens and little more
  std::vector<RequestId> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(world.Add(Tokens(10, 100 * i), 25));
  world.RunToEnd(2000);
  ASSERT_EQ(world.outputs_.size(), 5u);
  EXPECT_GT(world.scheduler_.preemptions(), 0u);
  World roomy(200, 4, {8, 16});
  for (int i = 0; i < 5; ++i) roomy.Add(Tokens(10, 100 * i), 25);
  roomy.RunToEnd(500);
  EXPECT_EQ(world.outputs_, roomy.outputs_);
  EXPECT_EQ(roomy.scheduler_.preemptions(), 0u);
  EXPECT_EQ(world.computed_rows_ - world.scheduler_.recomputed_tokens(), roomy.computed_rows_)
      << "first-time work is the same";
}

// What is computed again has been explained before; the reasons of the rest are not taken by it.
TEST(Scheduler, APreemptionInAPromptLeavesTheReasonsOfItsTokens) {
  World world(12, 4, {2, 2});  // a token of each in a step: the pool is full before the second prompt ends
  world.Add(Tokens(4, 0), 40);
  const RequestId second = world.Add(Tokens(29, 100), 1);
  while (world.scheduler_.preemptions() == 0) ASSERT_GT(world.Step(), 0);
  ASSERT_FALSE(world.usages_.contains(second));
  world.RunToEnd(500);
  EXPECT_GT(world.scheduler_.recomputed_tokens(), 0u);
  EXPECT_EQ(Computed(world, second), 29);
  EXPECT_EQ(world.misses_[second][static_cast<size_t>(MissReason::kNeverSeen)], 28u);
  EXPECT_EQ(world.misses_[second][static_cast<size_t>(MissReason::kBlockTail)], 1u);
}

TEST(Scheduler, WithoutReuseNothingIsSharedOrKept) {
  World world(64, 4, {8, 32}, /*reuse=*/false);
  const RequestId first = world.Add(Tokens(40, 0), 2);
  const RequestId second = world.Add(Tokens(40, 0), 2);
  world.RunToEnd(100);
  EXPECT_EQ(Computed(world, first), 40);
  EXPECT_EQ(Computed(world, second), 40);
  EXPECT_EQ(world.cache_.cached_blocks(), 0u);
}

TEST(Scheduler, ScoredPromptsShareTheLogitRowsInTurns) {
  World world(400, 4, {8, 12, 3});
  std::vector<RequestId> scored;
  for (int i = 0; i < 3; ++i) scored.push_back(world.Add(Tokens(31, 1000 * i), 1, /*scored=*/true));
  world.Add(Tokens(300, 9000), 1);  // served in each step, after all of them
  std::map<RequestId, size_t> before;
  std::map<RequestId, int> gap;
  for (int step = 0; step < 30; ++step) {
    world.Step();
    for (const RequestId id : scored) {
      const size_t now = world.scored_[id].size();
      gap[id] = now > before[id] || world.outputs_.contains(id) ? 0 : gap[id] + 1;
      before[id] = now;
      EXPECT_LT(gap[id], 3) << "request " << id << " is left out in step " << step;
    }
  }
  EXPECT_EQ(world.outputs_.size(), 3u) << "90 logit rows in 30 steps of 3";
}

TEST(Scheduler, WhatShortPromptsLeaveOverKeepsToTheLogitRows) {
  World world(400, 4, {8, 40, 30});
  for (int i = 0; i < 2; ++i) world.Add(Tokens(100, 1000 * i), 1, /*scored=*/true);
  for (int i = 2; i < 4; ++i) world.Add(Tokens(2, 1000 * i), 1);
  EXPECT_EQ(world.Step(), 34) << "30 rows that ask for logits of the prompt, and two prompts of 2";
  world.RunToEnd(100);
}

TEST(Scheduler, NobodyWaitsForTheTurnsOfAPromptThatIsScored) {
  World world(400, 4, {8, 17, 1});
  const RequestId scored = world.Add(Tokens(64, 0), 1, /*scored=*/true);
  world.Step();
  const RequestId reader = world.Add(Tokens(64, 0), 1);
  for (int step = 0; step < 4; ++step) world.Step();
  EXPECT_TRUE(world.outputs_.contains(reader)) << "64 tokens, 16 a step beside the other's 1";
  EXPECT_FALSE(world.outputs_.contains(scored)) << "63 logit rows, 1 a step";
  world.RunToEnd(100);
  EXPECT_EQ(Computed(world, scored), 64);
  EXPECT_EQ(world.outputs_[scored], world.outputs_[reader]);
}

TEST(Scheduler, WhatWasScoredIsNotScoredAgain) {
  World world(12, 4, {2, 16, 64});  // room for one of the two, and little more
  const RequestId talker = world.Add(Tokens(4, 0), 30);
  const RequestId scored = world.Add(Tokens(25, 100), 20, /*scored=*/true);
  world.RunToEnd(500);
  EXPECT_GT(world.scheduler_.preemptions(), 0u);
  EXPECT_EQ(world.scored_[scored].size(), 24u);
  EXPECT_EQ(Computed(world, scored), 25);
  EXPECT_FALSE(world.scored_.contains(talker));
}

// Random prompt trees, pools that are too small, cancellations: the outputs are those of a world with room
// for everyone and no reuse.
TEST(Scheduler, RandomWorldsFinishWithTheSameOutputs) {
  const auto seeds = static_cast<uint64_t>(testing_support::Rounds(120));
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    const int block_tokens = 1 << prng.Below(6);
    const int longest = 90;
    const uint32_t blocks =
        static_cast<uint32_t>((longest + block_tokens - 1) / block_tokens + 1 + prng.Below(20));
    const int sequences = static_cast<int>(prng.Between(1, 8));
    World world(
        blocks, block_tokens,
        {sequences, static_cast<int>(prng.Between(sequences, 40)), static_cast<int>(prng.Between(1, 20))});
    if (prng.Chance(0.5)) {
      world.budget_ = StepBudget(RowCost(ShapeWithCostlyAttention({0, 20})), 1);
      world.step_seconds_ = [times = Prng(seed)]() mutable { return times.Unit() * 5; };
    }
    World plain(20000, block_tokens, {64, 512}, false);
    std::vector<std::vector<TokenId>> prompts;
    std::set<RequestId> cancelled;
    for (int i = 0; i < 25; ++i) {
      std::vector<TokenId> prompt;
      if (!prompts.empty() && prng.Chance(0.7)) {
        const auto& parent = prompts[prng.Below(prompts.size())];
        prompt.assign(parent.begin(), parent.begin() + static_cast<ptrdiff_t>(prng.Below(parent.size() + 1)));
      }
      const int more = static_cast<int>(prng.Between(1, 30));
      for (int k = 0; k < more && prompt.size() < 60; ++k)
        prompt.push_back(static_cast<TokenId>(prng.Below(3)));
      prompts.push_back(prompt);
      const int max_tokens = static_cast<int>(prng.Between(1, 30));
      const RequestId id = world.Add(prompt, max_tokens, prng.Chance(0.2), prng.Chance(0.8));
      plain.Add(prompt, max_tokens);
      for (int k = static_cast<int>(prng.Below(4)); k > 0; --k) world.Step();
      if (prng.Chance(0.1)) {
        const RequestId victim = static_cast<RequestId>(prng.Between(1, static_cast<int64_t>(id)));
        if (world.scheduler_.Remove(victim) != nullptr) cancelled.insert(victim);
      }
      if (HasFatalFailure()) return;
    }
    world.RunToEnd(5000);
    plain.RunToEnd(5000);
    for (const auto& [id, output] : plain.outputs_) {
      if (!cancelled.contains(id)) {
        EXPECT_EQ(world.outputs_[id], output) << "request " << id;
      }
    }
    if (HasFailure()) return;
  }
}

TEST(SchedulerDeathTest, IdsAreUnique) {
  World world(10, 4, {.max_sequences = 2, .step_tokens = 8});
  const RequestId id = world.Add(Tokens(3, 1), 1);
  Request again;
  again.prompt = Tokens(3, 1);
  auto sequence = std::make_unique<Sequence>(id, std::move(again), BlockKeys(BlockKey{1, 2}, 4));
  EXPECT_DEATH(world.scheduler_.Enqueue(std::move(sequence)), "1 is there already");
}

}  // namespace
}  // namespace prefixd
