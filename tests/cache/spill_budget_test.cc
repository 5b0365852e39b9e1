#include "cache/spill_budget.h"

#include <gtest/gtest.h>

#include <optional>

namespace prefixd {
namespace {

constexpr int kRequestBlocks = 16;

// Requests one after another, each of kRequestBlocks blocks whose computing takes `seconds`, and whose spills
// take `work` seconds of a processor where they are allowed.
class SpillBudgetTest : public testing::Test {
 protected:
  // Returns how many of the requests were allowed to spill.
  int Serve(int requests, double seconds, double work, bool again = false) {
    int allowed = 0;
    for (int i = 0; i < requests; ++i) {
      budget_->SetTime(now_, false);
      now_ += seconds;
      budget_->SetTime(now_, false);
      for (int block = 0; block < kRequestBlocks; ++block) budget_->Computed(again);
      if (!budget_->MaySpill(0)) continue;
      ++allowed;
      for (int block = 0; block < kRequestBlocks; ++block) budget_->Spilled(work / kRequestBlocks);
    }
    return allowed;
  }

  std::optional<SpillBudget> budget_{true};
  double now_ = 5;
};

TEST_F(SpillBudgetTest, NothingIsHeldBackBeforeTheCostIsKnown) {
  EXPECT_EQ(Serve(9, 0.1, 0.05), 9) << "of a second of steps, nine tenths";
  EXPECT_EQ(budget_->cost(), 0);
}

TEST_F(SpillBudgetTest, TheCostIsTwiceTheShareOfTheTimeOfTheSteps) {
  Serve(200, 0.1, 0.004);
  EXPECT_NEAR(budget_->cost(), 0.08, 1e-3);
  EXPECT_EQ(budget_->chance(), 0);
  EXPECT_FALSE(budget_->IsWorthIt());
}

TEST_F(SpillBudgetTest, TheCostOfBlocksThatAreComputedQuicklyIsKnownAfterASecondToo) {
  Serve(1200, 0.001, 0.0001);  // the last 2,048 blocks took 0.13 seconds
  EXPECT_NEAR(budget_->cost(), 0.2, 1e-3);
  EXPECT_FALSE(budget_->IsWorthIt());
}

TEST_F(SpillBudgetTest, WhatCostsLittleIsSpilledWhateverItBrings) {
  EXPECT_EQ(Serve(500, 0.1, 0.0004), 500);
  EXPECT_NEAR(budget_->cost(), 0.008, 1e-4);
}

TEST_F(SpillBudgetTest, WhatIsNeverWantedAgainTakesTheAllowanceOfTheTime) {
  Serve(100, 0.1, 0.005);
  const double begun = now_;
  const int allowed = Serve(1000, 0.1, 0.005);
  const double most = SpillBudget::kAllowance * (now_ - begun) + SpillBudget::kBurst + 0.005;
  EXPECT_LE(allowed * 0.005, most);
  EXPECT_GE(allowed * 0.005, 0.9 * SpillBudget::kAllowance * (now_ - begun));
}

TEST_F(SpillBudgetTest, BlocksThatMemoryLostAndThatAreWantedAgainEndTheLimitAndTheirAbsenceSetsIt) {
  Serve(300, 0.1, 0.005);
  EXPECT_FALSE(budget_->IsWorthIt());
  Serve(32, 0.1, 0.005, true);
  EXPECT_GE(budget_->chance(), 0.1);
  EXPECT_EQ(Serve(10, 0.1, 0.005, true), 10);
  Serve(400, 0.1, 0.005);
  EXPECT_FALSE(budget_->IsWorthIt()) << budget_->chance() << " after 6,400 other blocks";
}

TEST_F(SpillBudgetTest, ABlockFromTheDiskStandsForThoseThatWereNotWritten) {
  Serve(1000, 0.1, 0.01);
  ASSERT_FALSE(budget_->IsWorthIt()) << "a twentieth or so of the requests is written";
  const double before = budget_->cost();
  for (int i = 0; i < 2000; ++i) {
    budget_->Computed(false);
    if (i % 100 == 0) budget_->Loaded();
  }
  EXPECT_GT(budget_->chance(), 0.05) << "one block of a hundred, times its share";
  EXPECT_GT(before, 0);
}

TEST_F(SpillBudgetTest, IdleTimeIsNoTimeOfTheSteps) {
  Serve(300, 0.1, 0.005);
  budget_->SetTime(now_, true);
  const double cost = budget_->cost();
  now_ += 1000;
  budget_->SetTime(now_, false);
  EXPECT_EQ(budget_->cost(), cost);
  budget_->SetTime(now_, true);
  for (int i = 0; i < 1000; ++i) budget_->Spilled(0.005 / kRequestBlocks);
  EXPECT_NEAR(budget_->cost(), cost, 1e-9) << "spills of idle times take nothing from the allowance";
  EXPECT_GE(Serve(20, 0.1, 0.005), 1);
}

TEST_F(SpillBudgetTest, WhatWaitsIsTakenFromTheAllowance) {
  Serve(300, 0.1, 0.016);
  budget_->SetTime(now_ += 100, false);
  EXPECT_TRUE(budget_->MaySpill(19)) << "the burst, at a thousandth of a second for each";
  EXPECT_FALSE(budget_->MaySpill(21));
}

TEST_F(SpillBudgetTest, WhatIsNotWorthItRunsEvenly) {
  EXPECT_EQ(budget_->MostAtOnce(), SIZE_MAX);
  Serve(300, 0.1, 0.16);  // a hundredth of a second for each block
  budget_->SetTime(now_ + 0.1, false);
  EXPECT_EQ(budget_->MostAtOnce(), 1u) << "however short the step is";
  budget_->SetTime(now_ + 5.15, false);
  EXPECT_EQ(budget_->MostAtOnce(), 5u);
  budget_->SetTime(now_ + 5.2, true);
  EXPECT_EQ(budget_->MostAtOnce(), SIZE_MAX);
}

TEST_F(SpillBudgetTest, SpillsThatTakeNoProcessorFromTheStepsAreNotHeldBack) {
  budget_.emplace(false);
  EXPECT_EQ(Serve(500, 0.1, 0.05), 500);
}

}  // namespace
}  // namespace prefixd
