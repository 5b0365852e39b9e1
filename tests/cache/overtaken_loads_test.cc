// Leases whose loads are late, or fail, while they compute another part.
#include <gtest/gtest.h>

#include "tests/cache/split_loads_fixture.h"

namespace prefixd {
namespace {

using testing::ElementsAre;
using enum TransferResult;

TEST_F(SplitLoadsTest, ALoadThatDoesNotEndIsOvertaken) {
  estimate_.block = 1;
  MakeDisk(10, 0.01);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(10)).state, State::kLoading);
  EXPECT_EQ(Loading().size(), 10u);
  Poll(0.15);
  EXPECT_EQ(Acquire(lease, Prompt(10)).state, State::kLoading);
  Poll(0.3);  // the disk stalls
  const auto acquired = Acquire(lease, Prompt(10));
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.until, 2) << "a sixteenth, and a block at least";
  EXPECT_EQ(acquired.decisions[static_cast<size_t>(LoadDecision::kOvertaken)], 1);
  EXPECT_EQ(decisions(LoadDecision::kOvertaken), 1u);
  Compute(lease, Prompt(1));
  Poll(1.3);
  EXPECT_EQ(Acquire(lease, Prompt(10)).until, 4) << "they have still not come";
  Compute(lease, Prompt(2));
  EXPECT_EQ(decisions(LoadDecision::kOvertaken), 1u) << "once for a hit";
  EndLoads(2, 10);
  EXPECT_EQ(Acquire(lease, Prompt(10)).tier_tokens[2], 16) << "those that come after all are of use";
  EXPECT_EQ(cache_->leased_blocks(), 12u) << "ten of the lease, two that are being loaded";
  EndLoads(0, 2);
  EXPECT_EQ(cache_->leased_blocks(), 10u) << "what was computed meanwhile is not kept twice";
  lease.Release();
  ExpectNothingLeased();
}

TEST_F(SplitLoadsTest, WhenTheAllowanceIsUsedUpTheRestIsComputed) {
  estimate_.block = 1;
  MakeDisk(10, 0.01);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(10)).state, State::kLoading);
  EndLoad(9);
  Poll(2);  // of 10 s to compute all
  EXPECT_EQ(Acquire(lease, Prompt(10)).until, 18) << "up to the block that has come";
  EXPECT_EQ(inside().claims.size(), 9u);
  EndLoads(0, 3);
  EXPECT_EQ(inside().claims.size(), 6u);
  const auto acquired = Acquire(lease, Prompt(10));
  EXPECT_EQ(acquired.tokens(), 6) << "what comes before it is computed is taken";
  EXPECT_EQ(acquired.until, 18);
  Compute(lease, Prompt(9));
  EXPECT_EQ(Acquire(lease, Prompt(10)).tier_tokens[2], 2);
  EXPECT_EQ(stats().committed_blocks, 6u);
}

// The loads are refused in the end, so the estimate says that the disk is fast. For this hit it is too late.
TEST_F(SplitLoadsTest, AHitThatIsOvertakenIsNotLoadedAgain) {
  estimate_.block = 1;
  MakeDisk(10, 0.01);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(10)).state, State::kLoading);
  EndLoad(9);
  Poll(2);
  EXPECT_EQ(Acquire(lease, Prompt(10)).until, 18);
  for (size_t i = 0; i < 9; ++i) EndLoad(i, kFailed);
  EXPECT_EQ(Acquire(lease, Prompt(10)).until, 18);
  EXPECT_EQ(port_.started(), 10u) << "each block once";
}

TEST_F(SplitLoadsTest, OnceALoadHasEndedAHitThatWasOvertakenMayBeLoadedAgain) {
  estimate_.block = 1;
  MakeDisk(10, 0.01);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(10)).state, State::kLoading);
  EndLoad(9);
  Poll(2);
  EXPECT_EQ(Acquire(lease, Prompt(10)).until, 18);
  EndLoadAt(8, 2.5);
  for (size_t i = 0; i < 8; ++i) EndLoad(i, kFailed);
  const int until = Acquire(lease, Prompt(10)).until;
  EXPECT_LT(until, 16);
  EXPECT_EQ(port_.started(), 10u + 8 - static_cast<size_t>(until) / 2);
  EndLoads(static_cast<size_t>(until) / 2, 8);
  Compute(lease, Prompt(static_cast<size_t>(until) / 2));
  EXPECT_EQ(Acquire(lease, Prompt(10)).tokens(), 20 - until);
}

TEST_F(SplitLoadsTest, WhatTheOvertakenLoadBringsIsKept) {
  estimate_.block = 1;
  MakeDisk(4, 0.01);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(4)).state, State::kLoading);
  Poll(10);
  EXPECT_EQ(Acquire(lease, Prompt(4)).until, 8);
  lease.Release();  // before it has computed anything
  cache_->CheckInvariants();
  EndLoads(0, 4);
  EXPECT_EQ(cache_->cached_blocks(), 4u);
  EXPECT_THAT(Serve(Prompt(4)), ElementsAre(8, 0, 0, 0));
}

TEST_F(SplitLoadsTest, WithoutAnEstimateOfComputingItWaitsForASecond) {
  MakeDisk(3, 1);
  estimate_.block = 0;  // not known
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(3)).state, State::kLoading);
  Poll(0.9);
  EXPECT_EQ(Acquire(lease, Prompt(3)).state, State::kLoading);
  Poll(1.1);
  EXPECT_EQ(Acquire(lease, Prompt(3)).until, 6);
}

TEST_F(SplitLoadsTest, AForcedLoadIsWaitedForHoweverLateItIs) {
  estimate_.block = 1;
  MakeDisk(3, 100, {.blocks = 40, .load_policy = LoadPolicy::kLoad});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(3)).state, State::kLoading);
  Poll(1e6);
  EXPECT_EQ(Acquire(lease, Prompt(3)).state, State::kLoading);
  EndLoads(0, 3);
  EXPECT_EQ(Acquire(lease, Prompt(3)).tokens(), 6);
  EXPECT_EQ(decisions(LoadDecision::kOvertaken), 0u);
}

TEST_F(SplitLoadsTest, AForcedRecomputeLoadsNothing) {
  MakeDisk(3, 1e-6, {.blocks = 40, .load_policy = LoadPolicy::kRecompute});
  Poll(10);
  EXPECT_THAT(Serve(Prompt(3)), ElementsAre(0, 0, 0, 0));
  EXPECT_EQ(port_.started(), 0u);
}

// --- Failed loads ---

TEST_F(SplitLoadsTest, AFailedBlockInTheMiddleIsComputedAndTheOthersAreTaken) {
  MakeDisk(10, 1);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(10)).until, 10);
  for (const size_t block : {9, 8, 6, 5}) EndLoad(block);
  EndLoad(7, kFailed);
  Compute(lease, Prompt(5));
  const auto acquired = Acquire(lease, Prompt(10));
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.tier_tokens[2], 4);
  EXPECT_EQ(acquired.until, 16) << "up to the end of the block that has failed";
  Compute(lease, Prompt(8));
  EXPECT_EQ(Acquire(lease, Prompt(10)).tier_tokens[2], 4);
  EXPECT_EQ(lease.ready(), 20);
  EXPECT_EQ(stats().committed_blocks, 6u);
  EXPECT_EQ(decisions(LoadDecision::kOvertaken), 0u);
}

TEST_F(SplitLoadsTest, FailedBlocksThatFollowEachOtherAreComputedTogether) {
  for (const TransferResult result : {kFailed, kMissing, kCorrupt}) {
    MakeDisk(10, 0.01);
    Lease lease = Open();
    EXPECT_EQ(Acquire(lease, Prompt(10)).state, State::kLoading);
    for (const size_t block : {0, 1, 2}) EndLoad(block, result);
    EndLoads(3, 10);
    const auto acquired = Acquire(lease, Prompt(10));
    EXPECT_EQ(acquired.state, State::kReady);
    EXPECT_EQ(acquired.until, 6);
    Compute(lease, Prompt(3));
    EXPECT_EQ(Acquire(lease, Prompt(10)).tier_tokens[2], 14);
  }
}

}  // namespace
}  // namespace prefixd
