// LoadPlanner alone: what it measures of a tier, and what it decides.
#include <vector>

#include "base/prng.h"
#include "tests/cache/load_planner_fixture.h"

namespace prefixd {
namespace {

// --- Measurement ---

TEST_F(LoadPlannerTest, NothingIsKnownAtFirst) {
  Make(LoadPolicy::kAuto, 0, 0);
  EXPECT_EQ(planner_->block_seconds(Tier::kDisk), 0);
  EXPECT_EQ(planner_->bytes_per_second(Tier::kDisk), 0);
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 100)).decision, LoadDecision::kLoad);
  EXPECT_EQ(planner_->Decide(Blocks(Tier::kDisk, 100), 0, {}, nullptr).decision, LoadDecision::kLoad);
}

TEST_F(LoadPlannerTest, ABlockTakesTheTimeOfALoad) {
  Make(LoadPolicy::kAuto, 0, 0);
  const uint64_t id = Start(Tier::kDisk, 10);
  EXPECT_EQ(planner_->running(), 1u);
  End(id, 10.5);
  EXPECT_EQ(planner_->running(), 0u);
  EXPECT_DOUBLE_EQ(planner_->block_seconds(Tier::kDisk), 0.5);
  EXPECT_DOUBLE_EQ(planner_->bytes_per_second(Tier::kDisk), 2 * kBlockBytes);
  EXPECT_EQ(planner_->block_seconds(Tier::kHost), 0) << "each tier has its own";
}

TEST_F(LoadPlannerTest, LoadsAtTheSameTimeShareIt) {
  Make(LoadPolicy::kAuto, 0, 0);
  std::vector<uint64_t> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(Start(Tier::kDisk, 10));
  for (const uint64_t id : ids) End(id, 11);
  EXPECT_NEAR(planner_->block_seconds(Tier::kDisk), 0.25, 0.01);
  EXPECT_NEAR(planner_->bytes_per_second(Tier::kDisk), 4 * kBlockBytes, 100);
}

TEST_F(LoadPlannerTest, TheTimeBetweenLoadsDoesNotCount) {
  Make(LoadPolicy::kAuto, 0, 0);
  for (double at = 10; at < 15; ++at) LoadInTurn(Tier::kDisk, at, 1, 0.1);
  EXPECT_NEAR(planner_->block_seconds(Tier::kDisk), 0.1, 1e-9);
}

TEST_F(LoadPlannerTest, EndsOutOfOrderDoNotCountTwice) {
  Make(LoadPolicy::kAuto, 0, 0);
  const uint64_t first = Start(Tier::kDisk, 10), second = Start(Tier::kDisk, 10);
  End(second, 12);
  planner_->Ended({.id = first, .bytes = kBlockBytes, .ended = 11});  // reported after it
  EXPECT_NEAR(planner_->block_seconds(Tier::kDisk), 1, 0.02) << "two blocks in two seconds";
}

TEST_F(LoadPlannerTest, NewerLoadsCountMore) {
  Make(LoadPolicy::kAuto, 0, 0);
  double at = LoadInTurn(Tier::kDisk, 10, 500, 0.01);
  EXPECT_NEAR(planner_->block_seconds(Tier::kDisk), 0.01, 1e-9);
  at = LoadInTurn(Tier::kDisk, at, 64, 0.1);
  EXPECT_GT(planner_->block_seconds(Tier::kDisk), 0.055) << "the last 64 are more than half of it";
  EXPECT_LT(planner_->block_seconds(Tier::kDisk), 0.08) << "and not all";
  at = LoadInTurn(Tier::kDisk, at, 300, 0.1);
  EXPECT_GT(planner_->block_seconds(Tier::kDisk), 0.099);
}

TEST_F(LoadPlannerTest, WhatIsOlderThanASecondCountsLikeEightBlocks) {
  Make(LoadPolicy::kAuto, 0, 0);
  const double at = LoadInTurn(Tier::kDisk, 10, 500, 0.01);
  LoadInTurn(Tier::kDisk, at + 2, 8, 0.1);
  EXPECT_NEAR(planner_->block_seconds(Tier::kDisk), 0.055, 0.005);
  Make(LoadPolicy::kAuto, 0, 0);
  const double end = LoadInTurn(Tier::kDisk, 10, 500, 0.01);
  LoadInTurn(Tier::kDisk, end + 0.5, 8, 0.1);
  EXPECT_LT(planner_->block_seconds(Tier::kDisk), 0.025) << "after half a second it counts in full";
}

TEST_F(LoadPlannerTest, TheEstimateAtTheStartCountsLikeFourBlocks) {
  Make(LoadPolicy::kAuto, 0, 0.02);
  EXPECT_DOUBLE_EQ(planner_->block_seconds(Tier::kDisk), 0.02);
  EXPECT_DOUBLE_EQ(planner_->bytes_per_second(Tier::kDisk), 50 * kBlockBytes);
  LoadInTurn(Tier::kDisk, 10, 4, 0.1);
  EXPECT_NEAR(planner_->block_seconds(Tier::kDisk), 0.06, 0.002);
}

TEST_F(LoadPlannerTest, ARefusedLoadSaysNothing) {
  Make(LoadPolicy::kAuto, 0, 0.02);
  const uint64_t id = Start(Tier::kDisk, 10);
  planner_->SetTime(20);
  planner_->Ended({.id = id, .result = TransferResult::kFailed});
  EXPECT_DOUBLE_EQ(planner_->block_seconds(Tier::kDisk), 0.02);
  EXPECT_EQ(planner_->running(), 0u);
}

TEST_F(LoadPlannerTest, AFailedLoadTakesItsTimeForNothing) {
  Make(LoadPolicy::kAuto, 0, 0);
  LoadInTurn(Tier::kDisk, 10, 100, 0.01);
  End(Start(Tier::kDisk, 11), 11.5, TransferResult::kFailed);
  EXPECT_NEAR(planner_->block_seconds(Tier::kDisk), 0.01 + 0.5 / 50, 0.001) << "the last 100 count like 50";
  EXPECT_NEAR(planner_->bytes_per_second(Tier::kDisk), 50 * kBlockBytes, 3 * kBlockBytes);
}

TEST_F(LoadPlannerTest, ATierOfWhichAllLoadsFailIsSlow) {
  Make(LoadPolicy::kAuto, 0, 0);
  End(Start(Tier::kDisk, 10), 13, TransferResult::kFailed);
  EXPECT_DOUBLE_EQ(planner_->block_seconds(Tier::kDisk), 3);
}

TEST_F(LoadPlannerTest, ATransferStartsAndEndsOnce) {
  Make(LoadPolicy::kAuto, 0, 0);
  planner_->Started(7, Tier::kDisk);
  EXPECT_DEATH(planner_->Started(7, Tier::kDisk), "7");
  EXPECT_DEATH(planner_->Ended({.id = 8, .ended = 1}), "8");
}

// --- Decisions ---

TEST_F(LoadPlannerTest, WhatIsClearlyFasterIsTakenAlone) {
  Make(LoadPolicy::kAuto, 0, 0.39);  // below 1 / 2.5
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 100)).decision, LoadDecision::kLoad);
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 100)).compute, 0u);
  EXPECT_DOUBLE_EQ(Decide(Blocks(Tier::kDisk, 100)).seconds, 100);
  Make(LoadPolicy::kAuto, 0, 2.51);
  const LoadPlanner::Plan plan = Decide(Blocks(Tier::kDisk, 10));
  EXPECT_EQ(plan.decision, LoadDecision::kRecompute);
  EXPECT_EQ(plan.compute, 10u);
  EXPECT_DOUBLE_EQ(plan.seconds, 10);
}

// The computed part takes as long as the loaded one: c = (blocks - c) * ratio, rounded up.
TEST_F(LoadPlannerTest, InBetweenTheLoadsMeetTheComputing) {
  const struct {
    double ratio;
    size_t compute;
  } cases[] = {{0.41, 30}, {0.5, 34}, {1, 50}, {2, 67}, {2.49, 72}};
  for (const auto& [ratio, compute] : cases) {
    Make(LoadPolicy::kAuto, 0, ratio);
    const LoadPlanner::Plan plan = Decide(Blocks(Tier::kDisk, 100));
    EXPECT_EQ(plan.decision, LoadDecision::kSplit) << ratio;
    EXPECT_EQ(plan.compute, compute) << ratio;
    EXPECT_FALSE(plan.is_probe);
  }
}

TEST_F(LoadPlannerTest, ADeepBlockTakesLongerToCompute) {
  Make(LoadPolicy::kAuto, 0, 1);
  const size_t even = Decide(Blocks(Tier::kDisk, 100)).compute;
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 100), 1000).compute, even);
  compute_.growth = compute_.token / 1600;  // twice as long at the end
  EXPECT_LT(Decide(Blocks(Tier::kDisk, 100), 100).compute, even);
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 100), 1000).decision, LoadDecision::kLoad);
}

TEST_F(LoadPlannerTest, ASingleBlockIsNotSplit) {
  Make(LoadPolicy::kAuto, 0, 1);
  const LoadPlanner::Plan plan = Decide(Blocks(Tier::kDisk, 1));
  EXPECT_EQ(plan.decision, LoadDecision::kRecompute);
  EXPECT_EQ(plan.compute, 1u);
}

TEST_F(LoadPlannerTest, BlocksOnTheDeviceNeedNoLoad) {
  Make(LoadPolicy::kAuto, 0, 2.51);
  std::vector<Tier> tiers = Blocks(Tier::kDevice, 9);
  tiers.push_back(Tier::kDisk);
  EXPECT_EQ(Decide(tiers).decision, LoadDecision::kLoad) << "one load in place of ten blocks";
}

TEST_F(LoadPlannerTest, AForcedPolicyLooksAtNothing) {
  Make(LoadPolicy::kLoad, 1e6, 1e6);
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 50)).decision, LoadDecision::kLoad);
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 50)).compute, 0u);
  planner_->SetTime(1e9);
  EXPECT_TRUE(MayWait(Decide(Blocks(Tier::kDisk, 50)), Blocks(Tier::kDisk, 50)));
  Make(LoadPolicy::kRecompute, 1e-6, 1e-6);
  planner_->SetTime(1e9);
  const LoadPlanner::Plan plan = Decide(Blocks(Tier::kHost, 50));
  EXPECT_EQ(plan.decision, LoadDecision::kRecompute);
  EXPECT_EQ(plan.compute, 50u);
  EXPECT_FALSE(plan.is_probe) << "not even to measure";
}

TEST_F(LoadPlannerTest, TheQueueAheadCounts) {
  Make(LoadPolicy::kAuto, 0, 0.39);
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 10)).decision, LoadDecision::kLoad);
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 10), 0, 10).decision, LoadDecision::kLoad);
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 10), 0, 1000).decision, LoadDecision::kLoad)
      << "to compute it beside the loads of others would delay all of them";
  Make(LoadPolicy::kAuto, 0, 0.5);
  compute_.others = 4;
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 10), 0, 60).decision, LoadDecision::kLoad);
  EXPECT_NE(Decide(Blocks(Tier::kDisk, 10), 0, 100).decision, LoadDecision::kLoad)
      << "loading is clearly faster only because others compute";
  compute_.others = 1;
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 10), 0, 10).decision, LoadDecision::kSplit)
      << "computing is not clearly slower";
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 10), 0, 100).decision, LoadDecision::kRecompute);
  EXPECT_EQ(planner_->Decide(Blocks(Tier::kDisk, 10), 0, {0, 100, 0}, &compute_).decision,
            LoadDecision::kSplit)
      << "those of another tier are not in the way";
}

TEST_F(LoadPlannerTest, TwoTiersAreReadAtTheSameTime) {
  Make(LoadPolicy::kAuto, 0.39 * 2, 0.39 * 2);
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 100)).decision, LoadDecision::kSplit);
  std::vector<Tier> tiers = Blocks(Tier::kHost, 50);
  tiers.resize(100, Tier::kDisk);
  EXPECT_EQ(Decide(tiers).decision, LoadDecision::kLoad);
  Make(LoadPolicy::kAuto, 0.001, 10);
  EXPECT_EQ(Decide(tiers).decision, LoadDecision::kRecompute) << "the slower one counts";
}

TEST_F(LoadPlannerTest, ATierThatStallsIsExpectedToPauseAsLongAgain) {
  Make(LoadPolicy::kAuto, 0.01, 0.01);
  LoadInTurn(Tier::kDisk, 9, 1, 0.01);
  const uint64_t id = Start(Tier::kDisk, 10);
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 10)).decision, LoadDecision::kLoad);
  planner_->SetTime(18);
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 10)).decision, LoadDecision::kSplit) << "8 s against 10 s";
  planner_->SetTime(36);
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 10)).decision, LoadDecision::kRecompute);
  EXPECT_EQ(Decide(Blocks(Tier::kHost, 10)).decision, LoadDecision::kLoad) << "the other does not";
  planner_->Ended({.id = id, .result = TransferResult::kFailed});
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 10)).decision, LoadDecision::kLoad) << "nothing is under way";
}

TEST_F(LoadPlannerTest, AStallIsCountedFromTheLastEnd) {
  Make(LoadPolicy::kAuto, 0, 0.01);
  Start(Tier::kDisk, 10);
  const uint64_t second = Start(Tier::kDisk, 10);
  for (int i = 0; i < 200; ++i) End(Start(Tier::kDisk, 10 + 0.1 * i), 10.01 + 0.1 * i);
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 10)).decision, LoadDecision::kLoad) << "others end meanwhile";
  planner_->SetTime(80);
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 10)).decision, LoadDecision::kRecompute);
  End(second, 80);
  EXPECT_GT(planner_->block_seconds(Tier::kDisk), 0.5) << "the pause is time of the block that ended it";
}

TEST_F(LoadPlannerTest, APlanComputesNothingAPartOrAll) {
  Prng random(5);
  std::vector<int> seen(kLoadDecisions);
  for (int i = 0; i < 5000; ++i) {
    const auto policy = static_cast<LoadPolicy>(random.Chance(0.8) ? 0 : random.Below(3));
    Make(policy, 0.1 * static_cast<double>(random.Below(60)), 0.1 * static_cast<double>(random.Below(60)));
    planner_->SetTime(static_cast<double>(random.Below(3)));
    if (random.Chance(0.5)) Start(Tier::kDisk, 0), planner_->SetTime(static_cast<double>(random.Below(9)));
    compute_.growth = random.Chance(0.5) ? 0 : 0.001;
    std::vector<Tier> tiers = {Tier::kDisk};
    for (size_t more = random.Below(40); more > 0; --more)
      tiers.push_back(static_cast<Tier>(random.Below(kTiers)));
    const LoadPlanner::Plan plan = Decide(tiers, random.Below(50), random.Below(4));
    ++seen[static_cast<size_t>(plan.decision)];
    if (plan.decision == LoadDecision::kLoad) {
      EXPECT_EQ(plan.compute, 0u);
    }
    if (plan.decision == LoadDecision::kSplit) {
      EXPECT_GT(plan.compute, 0u);
      EXPECT_LT(plan.compute, tiers.size());
    }
    if (plan.decision == LoadDecision::kRecompute) {
      const size_t probed = plan.is_probe ? std::min<size_t>(8, std::max<size_t>(1, tiers.size() / 2)) : 0;
      EXPECT_EQ(plan.compute, tiers.size() - probed);
    }
    EXPECT_TRUE(plan.decision == LoadDecision::kRecompute || !plan.is_probe);
    EXPECT_NE(plan.decision, LoadDecision::kOvertaken);
  }
  for (const LoadDecision decision : {LoadDecision::kLoad, LoadDecision::kSplit, LoadDecision::kRecompute})
    EXPECT_GT(seen[static_cast<size_t>(decision)], 300) << LoadDecisionName(decision);
}

// --- Probes ---

TEST_F(LoadPlannerTest, AnOutdatedEstimateIsProbed) {
  Make(LoadPolicy::kAuto, 0, 10);
  LoadInTurn(Tier::kDisk, 10, 1, 10);
  planner_->SetTime(20.9);
  EXPECT_FALSE(Decide(Blocks(Tier::kDisk, 100)).is_probe) << "younger than a second";
  planner_->SetTime(21.1);
  const LoadPlanner::Plan plan = Decide(Blocks(Tier::kDisk, 100));
  EXPECT_TRUE(plan.is_probe);
  EXPECT_EQ(plan.decision, LoadDecision::kRecompute);
  EXPECT_EQ(plan.compute, 92u);
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 6)).compute, 3u) << "half of a short hit";
  EXPECT_EQ(Decide(Blocks(Tier::kDisk, 1)).compute, 0u);
  Start(Tier::kDisk, 21.1);
  planner_->SetTime(21.2);
  EXPECT_FALSE(Decide(Blocks(Tier::kDisk, 100)).is_probe) << "one is under way";
}

TEST_F(LoadPlannerTest, ATierThatHasBecomeFastIsUsedAgainAfterAProbe) {
  Make(LoadPolicy::kAuto, 0, 0);
  double at = LoadInTurn(Tier::kDisk, 10, 300, 10);
  int probes = 0;
  while (Decide(Blocks(Tier::kDisk, 100)).decision == LoadDecision::kRecompute && probes < 20) {
    at += 2;
    planner_->SetTime(at);
    if (!Decide(Blocks(Tier::kDisk, 100)).is_probe) continue;
    ++probes;
    at = LoadInTurn(Tier::kDisk, at, 8, 0.01);
  }
  EXPECT_GT(probes, 0);
  EXPECT_LT(probes, 6);
}

}  // namespace
}  // namespace prefixd
