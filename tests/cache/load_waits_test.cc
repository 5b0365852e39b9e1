// LoadPlanner alone: how long it lets a lease wait, and what is computed instead.
#include <utility>
#include <vector>

#include "tests/cache/load_planner_fixture.h"

namespace prefixd {
namespace {

TEST_F(LoadPlannerTest, ALeaseWaitsForLoadsThatArrive) {
  Make(LoadPolicy::kAuto, 0, 0.01);
  const std::vector<Tier> ten = Blocks(Tier::kDisk, 10);
  const LoadPlanner::Plan plan = Decide(ten);  // 10 s to compute
  Start(Tier::kDisk, 0);
  EXPECT_TRUE(MayWait(plan, ten));
  planner_->SetTime(0.1);
  EXPECT_TRUE(MayWait(plan, ten));
}

// The loads are in time, but what is missing would end beyond 1.05 times 10 s and half a step.
TEST_F(LoadPlannerTest, ItWaitsNoLongerThanTheAllowance) {
  Make(LoadPolicy::kAuto, 0, 0.01);
  const std::vector<Tier> ten = Blocks(Tier::kDisk, 10);
  const LoadPlanner::Plan plan = Decide(ten);
  const auto waits = [&](double waited, size_t missing) {
    planner_->SetTime(waited);
    return MayWait(plan, Blocks(Tier::kDisk, missing));
  };
  EXPECT_TRUE(waits(0.49, 10));
  EXPECT_FALSE(waits(0.53, 10));
  EXPECT_TRUE(waits(0.51, 9)) << "there is less to compute";
  EXPECT_FALSE(waits(1.53, 9));
  compute_.step = 0.2;
  EXPECT_TRUE(waits(1.59, 9)) << "half a step more";
  EXPECT_FALSE(waits(1.61, 9));
  EXPECT_TRUE(waits(9, 1));
}

// Eight hits of 100 blocks come at once, and all others compute: waiting is still right.
TEST_F(LoadPlannerTest, ABusyProcessorIsNoReasonToGiveUpLoads) {
  Make(LoadPolicy::kAuto, 0, 0.1);
  const LoadPlanner::Plan plan = Decide(Blocks(Tier::kDisk, 100));
  compute_.token *= 8;
  LoadInTurn(Tier::kDisk, 0, 1, 0.1);
  (void)Start(Tier::kDisk, 0.1);
  EXPECT_TRUE(MayWait(plan, Blocks(Tier::kDisk, 99)));
}

TEST_F(LoadPlannerTest, WaitingForTheLoadsOfOthersIsPlanned) {
  Make(LoadPolicy::kAuto, 0, 0.1);
  const std::vector<Tier> hit = Blocks(Tier::kDisk, 10);
  const LoadPlanner::Plan plan = Decide(hit, 0, 80);
  EXPECT_EQ(plan.decision, LoadDecision::kLoad);
  LoadInTurn(Tier::kDisk, 0, 79, 0.1);
  (void)Start(Tier::kDisk, 7.9);
  EXPECT_TRUE(MayWait(plan, hit));
  LoadInTurn(Tier::kDisk, 7.9, 9, 0.4);
  (void)Start(Tier::kDisk, 11.5);
  EXPECT_FALSE(MayWait(plan, hit)) << "the disk has become slower";
}

TEST_F(LoadPlannerTest, AQueueThatWasPlannedMayTakeLongerThanComputing) {
  Make(LoadPolicy::kAuto, 0, 0.1);
  const std::vector<Tier> hit = Blocks(Tier::kDisk, 10);
  const LoadPlanner::Plan plan = Decide(hit, 0, 390);
  EXPECT_EQ(plan.decision, LoadDecision::kLoad) << "40 s, but 1 s of the disk in place of 10 s of computing";
  LoadInTurn(Tier::kDisk, 0, 200, 0.1);
  (void)Start(Tier::kDisk, 20);
  EXPECT_TRUE(MayWait(plan, hit)) << "the other half of the queue comes as planned";
  LoadInTurn(Tier::kDisk, 20, 100, 0.2);
  (void)Start(Tier::kDisk, 40);
  EXPECT_FALSE(MayWait(plan, hit)) << "the disk is half as fast: the queue has 18 s more to go";
}

// Two blocks of a hit that was planned behind others are late: 10.5 s have nearly passed.
TEST_F(LoadPlannerTest, LateLoadsAreWaitedForWhereComputingTakesClearlyLonger) {
  Make(LoadPolicy::kAuto, 0, 0.1);
  const std::vector<Tier> two = Blocks(Tier::kDisk, 2);
  const LoadPlanner::Plan plan = Decide(Blocks(Tier::kDisk, 10), 0, 80);
  planner_->SetTime(10.4);
  EXPECT_TRUE(MayWait(plan, two, 8)) << "0.2 s against 2 s";
  planner_->SetTime(16.6);
  EXPECT_FALSE(MayWait(plan, two, 8)) << "to compute them would end beyond the allowance and the queue";
}

TEST_F(LoadPlannerTest, LateLoadsOfASlowerTierAreNotWaitedFor) {
  Make(LoadPolicy::kAuto, 0, 0.39);
  const LoadPlanner::Plan plan = Decide(Blocks(Tier::kDisk, 10), 0, 15);
  EXPECT_EQ(plan.decision, LoadDecision::kLoad);
  LoadInTurn(Tier::kDisk, 5, 5, 1);
  planner_->SetTime(10.4);
  EXPECT_FALSE(MayWait(plan, Blocks(Tier::kDisk, 2), 8)) << "about as long as computing them";
}

TEST_F(LoadPlannerTest, ItDoesNotWaitForATierThatStalls) {
  Make(LoadPolicy::kAuto, 0.01, 0.01);
  const std::vector<Tier> ten = Blocks(Tier::kDisk, 10);
  compute_.token = 100.0 / kBlockTokens;
  const LoadPlanner::Plan plan = Decide(ten);
  Start(Tier::kDisk, 0);
  planner_->SetTime(0.15);
  EXPECT_TRUE(MayWait(plan, ten)) << "for up to 16 blocks";
  planner_->SetTime(0.17);
  EXPECT_FALSE(MayWait(plan, ten));
  EXPECT_EQ(instead_, 1u) << "a block takes longer to compute than it has stalled";
  EXPECT_TRUE(MayWait(plan, Blocks(Tier::kHost, 10))) << "another tier";
  EXPECT_EQ(Decide(ten).decision, LoadDecision::kLoad) << "though it would still be faster";
}

TEST_F(LoadPlannerTest, ItComputesWhatWouldNowBeComputed) {
  Make(LoadPolicy::kAuto, 0, 0.01);
  const std::vector<Tier> missing = Blocks(Tier::kDisk, 100);
  const LoadPlanner::Plan plan = Decide(missing);
  LoadInTurn(Tier::kDisk, 0, 1000, 1);  // it has become much slower
  planner_->SetTime(1);                 // and the allowance is not used up
  EXPECT_FALSE(MayWait(plan, missing));
  EXPECT_EQ(instead_, Decide(missing).compute);
  EXPECT_GT(instead_, 40u);
  EXPECT_LT(instead_, 60u);
}

TEST_F(LoadPlannerTest, ItComputesASixteenthWhileTheTierStalls) {
  Make(LoadPolicy::kAuto, 0, 0.001);
  compute_.token = 0.02 / kBlockTokens;
  const std::vector<Tier> hit = Blocks(Tier::kDisk, 500);  // 10 s
  const LoadPlanner::Plan plan = Decide(hit);
  Start(Tier::kDisk, 0);
  planner_->SetTime(0.06);
  EXPECT_FALSE(MayWait(plan, hit));
  EXPECT_EQ(instead_, 32u);
  EXPECT_FALSE(MayWait(plan, Blocks(Tier::kDisk, 100), 400));
  EXPECT_EQ(instead_, 32u);
  EXPECT_FALSE(MayWait(plan, Blocks(Tier::kDisk, 10), 490));
  EXPECT_EQ(instead_, 10u);
}

// Blocks deep in a hit take longer than those before.
TEST_F(LoadPlannerTest, TheRestTakesWhatItsDepthSays) {
  Make(LoadPolicy::kAuto, 0, 0.001);
  compute_ = {};
  compute_.growth = 0.0001;
  const LoadPlanner::Plan plan = Decide(Blocks(Tier::kDisk, 100));
  const double tenth = compute_.Seconds(90 * kBlockTokens, 100 * kBlockTokens);
  ASSERT_GT(tenth, 0.18 * plan.seconds);
  for (const double others : {1, 8}) {
    compute_.growth = 0.0001 * others;
    for (const double longest : {0.999, 1.001}) {
      const double waited = 1.05 * plan.seconds + 0.02 - tenth;
      LoadInTurn(Tier::kDisk, longest * waited - 0.001, 1, 0.001);
      EXPECT_EQ(MayWait(plan, Blocks(Tier::kDisk, 10), 90), longest < 1) << others;
    }
    Make(LoadPolicy::kAuto, 0, 0.001);
  }
}

// In parts, each with steps of its own, it would take longer than the allowance leaves.
TEST_F(LoadPlannerTest, WhenTheAllowanceIsUsedUpItComputesAll) {
  Make(LoadPolicy::kAuto, 0, 0.01);
  const LoadPlanner::Plan plan = Decide(Blocks(Tier::kDisk, 10));
  planner_->SetTime(100);
  EXPECT_FALSE(MayWait(plan, Blocks(Tier::kDisk, 10)));
  EXPECT_EQ(instead_, 10u);
}

// Steps are long where many requests run or prompts are long. A short hit does not wait for half of one.
TEST_F(LoadPlannerTest, HalfAStepIsNoMoreThanHalfOfTheHit) {
  Make(LoadPolicy::kAuto, 0, 0.01);
  compute_.step = 100;
  const std::vector<Tier> one = Blocks(Tier::kDisk, 1);
  const LoadPlanner::Plan plan = Decide(one);  // 1 s to compute
  planner_->SetTime(0.54);
  EXPECT_TRUE(MayWait(plan, one));
  planner_->SetTime(0.56);
  EXPECT_FALSE(MayWait(plan, one));
}

// Twice as slow as computing, but two blocks arrive before a step would have ended.
TEST_F(LoadPlannerTest, AShortWaitIsNoLoss) {
  Make(LoadPolicy::kAuto, 0, 0.009);
  compute_.token = 0.0045 / kBlockTokens;
  compute_.step = 0.02;
  const LoadPlanner::Plan plan = Decide(Blocks(Tier::kDisk, 100));
  EXPECT_TRUE(MayWait(plan, Blocks(Tier::kDisk, 2)));
  EXPECT_FALSE(MayWait(plan, Blocks(Tier::kDisk, 3)));
}

TEST_F(LoadPlannerTest, NobodyWaitsForAProbe) {
  Make(LoadPolicy::kAuto, 0, 10);
  planner_->SetTime(5);
  const LoadPlanner::Plan plan = Decide(Blocks(Tier::kDisk, 100));
  ASSERT_TRUE(plan.is_probe);
  EXPECT_FALSE(planner_->MayWait(plan, 5, Blocks(Tier::kDisk, 8), 92, &compute_, &instead_));
  EXPECT_EQ(instead_, 8u);
}

TEST_F(LoadPlannerTest, WhileComputingIsUnknownItWaitsForASecond) {
  Make(LoadPolicy::kAuto, 0, 10);
  compute_.token = 0;
  const LoadPlanner::Plan plan = Decide(Blocks(Tier::kDisk, 10));
  EXPECT_EQ(plan.decision, LoadDecision::kLoad);
  EXPECT_EQ(plan.seconds, 0);
  planner_->SetTime(0.99);
  EXPECT_TRUE(MayWait(plan, Blocks(Tier::kDisk, 10)));
  planner_->SetTime(1.01);
  EXPECT_FALSE(MayWait(plan, Blocks(Tier::kDisk, 10)));
  EXPECT_EQ(instead_, 10u);
  EXPECT_FALSE(planner_->MayWait(plan, 0, Blocks(Tier::kDisk, 10), 0, nullptr, &instead_));
}

}  // namespace
}  // namespace prefixd
