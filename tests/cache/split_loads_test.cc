// Leases that compute the front of a hit while its back is loaded.
#include <gtest/gtest.h>

#include "tests/cache/split_loads_fixture.h"

namespace prefixd {
namespace {

using testing::ElementsAre;
using enum TransferResult;

// --- One lease ---

TEST_F(SplitLoadsTest, TheFrontIsComputedWhileTheBackIsLoaded) {
  MakeDisk(10, 1);
  Lease lease = Open();
  const auto acquired = Acquire(lease, Prompt(10));
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.until, 10);
  EXPECT_EQ(acquired.decisions[static_cast<size_t>(LoadDecision::kSplit)], 1);
  EXPECT_THAT(Loading(), ElementsAre(9, 8, 7, 6, 5)) << "from the back";
  Compute(lease, Prompt(3));
  EXPECT_EQ(Acquire(lease, Prompt(10)).until, 10);
  Compute(lease, Prompt(5));
  EXPECT_EQ(Acquire(lease, Prompt(10)).state, State::kLoading) << "there is nothing left to compute";
  EndLoads(5, 10);
  const auto loaded = Acquire(lease, Prompt(10));
  EXPECT_EQ(loaded.state, State::kReady);
  EXPECT_EQ(loaded.until, 20);
  EXPECT_THAT(loaded.tier_tokens, ElementsAre(0, 0, 10, 0));
  EXPECT_EQ(decisions(LoadDecision::kSplit), 1u);
  EXPECT_EQ(stats().committed_blocks, 5u);
  lease.Release();
  ExpectNothingLeased();
}

TEST_F(SplitLoadsTest, AFastTierIsLoadedAndASlowOneIsNot) {
  MakeDisk(10, 0.1);
  Lease fast = Open();
  EXPECT_EQ(Acquire(fast, Prompt(10)).state, State::kLoading);
  EXPECT_EQ(port_.started(), 10u);
  EXPECT_EQ(decisions(LoadDecision::kLoad), 1u);
  fast.Release();
  MakeDisk(10, 5);
  Lease slow = Open();
  const size_t before = port_.started();
  const auto acquired = Acquire(slow, Prompt(10));
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.until, 20);
  EXPECT_EQ(port_.started(), before);
  EXPECT_EQ(decisions(LoadDecision::kRecompute), 1u);
  EXPECT_THAT(cache_->ExplainMisses(slow, Prompt(10)),
              ElementsAre(PrefixCache::MissRun{MissReason::kLoadSlower, 20}));
}

TEST_F(SplitLoadsTest, WhenTheLoadsEndEarlyMoreIsLoaded) {
  MakeDisk(20, 1);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(20)).until, 20);
  Compute(lease, Prompt(2));
  EndLoads(10, 20);
  const auto acquired = Acquire(lease, Prompt(20));
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.until, 12) << "of the eight blocks between, four are loaded after all";
  EXPECT_THAT(Loading(), ElementsAre(9, 8, 7, 6));
  Compute(lease, Prompt(6));
  EndLoads(6, 10);
  EXPECT_EQ(Acquire(lease, Prompt(20)).tokens(), 28);
  EXPECT_EQ(lease.ready(), 40);
  EXPECT_EQ(decisions(LoadDecision::kSplit), 1u) << "it is the same hit";
  EXPECT_EQ(stats().committed_blocks, 6u);
}

TEST_F(SplitLoadsTest, TheNextBlockIsNotLoadedThoughTheDiskHasBecomeFast) {
  MakeDisk(20, 1);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(20)).until, 20);
  double now = 0;
  for (size_t i = 20; i-- > 10;) EndLoadAt(i, now += 0.0001);
  EXPECT_EQ(Acquire(lease, Prompt(20)).until, 2) << "the first one stays: another lease may wait for it";
  EXPECT_THAT(Loading(), ElementsAre(9, 8, 7, 6, 5, 4, 3, 2, 1));
}

TEST_F(SplitLoadsTest, FewerThanFourBlocksAreNotLoadedAsWell) {
  MakeDisk(6, 1);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(6)).until, 6);
  EndLoads(3, 6);
  EXPECT_EQ(Acquire(lease, Prompt(6)).until, 6);
  EXPECT_TRUE(Loading().empty());
}

// Within a block that it computes, the lease finishes that block.
TEST_F(SplitLoadsTest, ABlockOfWhichAPartIsComputedIsNotLoaded) {
  MakeDisk(20, 1);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(20)).until, 20);
  Tokens part = Prompt(3);
  part.pop_back();
  Compute(lease, part);
  EndLoads(10, 20);
  EXPECT_EQ(Acquire(lease, Prompt(20)).until, 14);
  EXPECT_THAT(Loading(), ElementsAre(9, 8, 7)) << "of those after the third";
  Compute(lease, Prompt(7));
  EXPECT_EQ(Acquire(lease, Prompt(20)).state, State::kLoading);
}

TEST_F(SplitLoadsTest, ABlockThatComesIntoTheComputedPartIsTaken) {
  MakeDisk(10, 1);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(10)).until, 10);
  Lease writer = Open(PrefixCache::Reads::kNo);
  EXPECT_EQ(Acquire(writer, Prompt(3)).state, State::kReady);
  Compute(writer, Prompt(3));
  const auto acquired = Acquire(lease, Prompt(10));
  EXPECT_THAT(acquired.tier_tokens, ElementsAre(6, 0, 0, 0));
  EXPECT_EQ(acquired.until, 10);
  EXPECT_EQ(lease.blocks()[0], writer.blocks()[0]);
  Compute(lease, Prompt(5));
  EXPECT_EQ(stats().committed_blocks, 5u);
  EXPECT_EQ(stats().deduplicated_blocks, 0u);
}

// --- Two leases ---

TEST_F(SplitLoadsTest, AnotherLeaseWaitsForThePartThatOneComputes) {
  MakeDisk(10, 1);
  Lease first = Open(), second = Open();
  EXPECT_EQ(Acquire(first, Prompt(10)).until, 10);
  EXPECT_EQ(Acquire(second, Prompt(10)).state, State::kWaiting);
  EXPECT_EQ(port_.started(), 5u) << "each block once";
  Compute(first, Prompt(2));
  EXPECT_EQ(Acquire(first, Prompt(10)).until, 10);
  const auto waiting = Acquire(second, Prompt(10));
  EXPECT_EQ(waiting.state, State::kWaiting);
  EXPECT_EQ(waiting.shared_tokens, 4);
  Compute(first, Prompt(5));
  EndLoads(5, 10);
  EXPECT_EQ(Acquire(first, Prompt(10)).tier_tokens[2], 10);
  EXPECT_EQ(Acquire(second, Prompt(10)).tokens(), 16);
  EXPECT_EQ(second.ready(), 20);
  EXPECT_EQ(first.blocks()[9], second.blocks()[9]);
  EXPECT_EQ(stats().committed_blocks, 5u);
}

TEST_F(SplitLoadsTest, WhenTheOneThatComputesEndsTheOtherComputesAndUsesTheLoads) {
  MakeDisk(10, 1);
  Lease first = Open(), second = Open();
  EXPECT_EQ(Acquire(first, Prompt(10)).until, 10);
  EXPECT_EQ(Acquire(second, Prompt(10)).state, State::kWaiting);
  first.Release();
  cache_->CheckInvariants();
  const auto acquired = Acquire(second, Prompt(10));
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_GT(acquired.until, 0);
  EXPECT_LT(acquired.until, 20);
  Compute(second, Prompt(static_cast<size_t>(acquired.until) / 2));
  EXPECT_EQ(Acquire(second, Prompt(10)).state, State::kLoading);
  second.Release();
  ExpectNothingLeased();
}

TEST_F(SplitLoadsTest, TwoLeasesShareLoadsAndEachComputesItsOwnRest) {
  MakeDisk(8, 1);
  Lease first = Open(), second = Open();
  Tokens other = Prompt(8);
  other.insert(other.end(), {70, 70});
  Tokens own = Prompt(8);
  own.insert(own.end(), {80, 80});
  EXPECT_EQ(Acquire(first, own).until, 8);
  EXPECT_EQ(Acquire(second, other).state, State::kWaiting);
  Compute(first, Prompt(4));
  EXPECT_EQ(Acquire(first, own).state, State::kLoading);
  EXPECT_NE(Acquire(second, other).state, State::kWaiting) << "nobody computes the next block";
  EndLoads(4, 8);
  EXPECT_EQ(Acquire(first, own).until, 18);
  EXPECT_EQ(Acquire(second, other).until, 18);
  EXPECT_EQ(first.blocks()[7], second.blocks()[7]);
  Compute(second, other);
  Compute(first, own);
  EXPECT_EQ(stats().committed_blocks, 6u);
  EXPECT_EQ(loads(kOk), 4u) << "each block once";
}

// --- Limits ---

TEST_F(SplitLoadsTest, TheBlockThatTheLimitCutsIsLoadedToo) {
  MakeDisk(10, 1);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(10), 19).until, 10);
  EXPECT_THAT(Loading(), ElementsAre(9, 8, 7, 6, 5));
  Compute(lease, Prompt(5));
  EndLoads(5, 10);
  const auto acquired = Acquire(lease, Prompt(10), 19);
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.until, 20);
  EXPECT_EQ(lease.ready(), 19) << "a part of the last block is copied";
  EXPECT_EQ(stats().partial_copies, 1u);
}

TEST_F(SplitLoadsTest, WhatIsBeyondTheLimitIsNotLoaded) {
  MakeDisk(20, 1);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(20), 16).until, 8);
  EXPECT_THAT(Loading(), ElementsAre(7, 6, 5, 4));
  Compute(lease, Prompt(4));
  EndLoads(4, 8);
  const auto acquired = Acquire(lease, Prompt(20), 16);
  EXPECT_EQ(lease.ready(), 16);
  EXPECT_EQ(acquired.until, 40) << "the rest is computed";
}

TEST_F(SplitLoadsTest, AsManyLoadsRunAsTheTransfersAllow) {
  MakeDisk(10, 1, {.blocks = 40, .max_transfers = 2});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(10)).until, 10);
  EXPECT_THAT(Loading(), ElementsAre(9, 8));
  EndLoad(9);
  EXPECT_EQ(Acquire(lease, Prompt(10)).until, 10);
  EXPECT_THAT(Loading(), ElementsAre(8, 7)) << "the others follow, the last first";
}

TEST_F(SplitLoadsTest, LoadsTakeAQuarterOfTheDeviceAtMost) {
  MakeDisk(20, 0.1, {.blocks = 24});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(20)).state, State::kLoading);
  EXPECT_EQ(Loading().size(), 6u);
  lease.Release();
  MakeDisk(20, 0.1, {.blocks = 8});
  Lease small = Open();
  Acquire(small, Prompt(20));
  EXPECT_EQ(Loading().size(), 6u + 4u) << "four at least; the port still holds those of the first cache";
}

// --- Release ---

TEST_F(SplitLoadsTest, ALeaseMayBeReleasedInEveryState) {
  enum { kLoadsRun, kPartComputed, kWaits, kSomeEnded, kFailedOne, kOvertaken, kExtended, kReady, kStates };
  for (int state = 0; state < kStates; ++state) {
    SCOPED_TRACE(state);
    estimate_.block = state == kOvertaken ? 1 : 0.004;
    MakeDisk(20, state == kOvertaken ? 0.01 : 1);
    Lease lease = Open();
    Acquire(lease, Prompt(20));
    if (state == kPartComputed) Compute(lease, Prompt(4));
    if (state == kWaits || state == kReady) Compute(lease, Prompt(10));
    if (state == kWaits) EndLoads(15, 20);
    if (state == kSomeEnded) EndLoads(12, 15);
    if (state == kFailedOne) EndLoad(15, kCorrupt), EndLoads(10, 15), EndLoads(16, 20);
    if (state == kOvertaken) Poll(now_ + 1.2);
    if (state == kExtended || state == kReady) EndLoads(10, 20);
    const auto last = Acquire(lease, Prompt(20));
    EXPECT_EQ(last.state == State::kLoading, state == kWaits);
    lease.Release();
    cache_->CheckInvariants();
    ExpectNothingLeased();
    ServeWithLoads(Prompt(20));
    ExpectNothingLeased();
  }
}

}  // namespace
}  // namespace prefixd
