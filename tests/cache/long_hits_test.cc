// Hits that are decided in several parts, and hits with holes.
#include <gtest/gtest.h>

#include "tests/cache/split_loads_fixture.h"

namespace prefixd {
namespace {

using testing::ElementsAre;
using enum TransferResult;

constexpr size_t kWindow = 1024;  // blocks that are decided at once

class LongHitsTest : public SplitLoadsTest {
 protected:
  static constexpr size_t kBlocks = kWindow + 300;

  void MakeLong(double ratio) {
    options_.blocks = 2 * kBlocks;
    MakeDisk(0, ratio, options_);
    const BlockKeys keys = KeysOf(Prompt(kBlocks));
    for (size_t i = 0; i < keys.size(); ++i) port_.records.insert(keys.key(i));
  }

  PrefixCache::Options options_;
};

TEST_F(LongHitsTest, AfterADiskThatWasTooSlowTheRestIsDecidedAgain) {
  MakeLong(100);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(kBlocks)).until, static_cast<int>(2 * kWindow));
  EXPECT_EQ(inside().claims.size(), kWindow);
  EXPECT_EQ(port_.started(), 0u);
  Compute(lease, Prompt(kWindow));
  EXPECT_EQ(Acquire(lease, Prompt(kBlocks)).until, static_cast<int>(2 * kBlocks));
  EXPECT_EQ(decisions(LoadDecision::kRecompute), 2u);
  Compute(lease, Prompt(kBlocks));
  lease.Release();
  ExpectNothingLeased();
}

TEST_F(LongHitsTest, AfterADiskThatHungTheRestIsDecidedAgain) {
  estimate_.block = 1;
  MakeLong(0.001);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(kBlocks)).state, State::kLoading);
  Poll(2 * kWindow);
  const auto acquired = Acquire(lease, Prompt(kBlocks));
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.until, static_cast<int>(2 * kWindow)) << "all that it has waited for, and no more";
  while (!port_.held().empty()) port_.End(port_.held().front().key, kFailed);
  Poll(2 * kWindow);
  Compute(lease, Prompt(kWindow));
  EXPECT_EQ(Acquire(lease, Prompt(kBlocks)).state, State::kLoading) << "the disk works again";
  EXPECT_EQ(decisions(LoadDecision::kLoad), 2u);
  EXPECT_EQ(decisions(LoadDecision::kOvertaken), 1u);
  lease.Release();
  while (!port_.held().empty()) port_.End(port_.held().front().key, kFailed);
  Poll(2 * kWindow);
  ExpectNothingLeased();
}

// Of the loads of others, few run at once.
TEST_F(LongHitsTest, WhatOthersHaveStillToLoadCountsAsLongAsItComputes) {
  options_.max_transfers = 8;
  options_.blocks = 8 * kBlocks;
  MakeLong(2);
  Tokens tokens = Prompt(kBlocks);
  for (TokenId& token : tokens) token += 10000;
  const BlockKeys keys = KeysOf(tokens);
  for (size_t i = 0; i < keys.size(); ++i) port_.records.insert(keys.key(i));
  Lease other = Open();
  EXPECT_LT(Acquire(other, tokens).until, static_cast<int>(2 * kWindow)) << "a third of it is loaded";
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(kBlocks)).until, static_cast<int>(2 * kWindow));
  const HeldTransfers::Held held = port_.held().front();
  port_.Take(held.key);
  port_.Report({.id = held.id, .result = kFailed, .ended = 0.004});
  Poll(0.004);
  EXPECT_EQ(Acquire(lease, Prompt(kBlocks)).until, static_cast<int>(2 * kWindow));
  EXPECT_EQ(decisions(LoadDecision::kRecompute), 1u);
  lease.Release();
  other.Release();
  while (!port_.held().empty()) port_.End(port_.held().front().key, kFailed);
  Poll(0.004);
  ExpectNothingLeased();
}

TEST_F(SplitLoadsTest, AHitThatIsShorterThanAWindowIsComputedInOnePart) {
  MakeDisk(10, 100);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(20)).until, 40);
}

// --- What is on the device behind blocks that are not ---

TEST_F(SplitLoadsTest, BlocksOnTheDeviceAreUsedBehindThoseThatAreComputed) {
  MakeDisk(20, 1);
  Lease first = Open();
  EXPECT_EQ(Acquire(first, Prompt(20)).until, 20);
  EndLoads(10, 20);
  first.Release();       // before it has computed the front
  estimate_.block /= 3;  // those that are missing are not worth loading; together with the others they were
  Lease second = Open();
  EXPECT_EQ(Acquire(second, Prompt(20)).until, 20) << "up to those that are there";
  EXPECT_EQ(decisions(LoadDecision::kRecompute), 1u);
  Compute(second, Prompt(10));
  EXPECT_EQ(Acquire(second, Prompt(20)).tier_tokens[0], 20);
  EXPECT_EQ(stats().committed_blocks, 10u);
  second.Release();
  ExpectNothingLeased();
}

// To load two blocks would save less than the step costs that ends before them.
TEST_F(SplitLoadsTest, AFewBlocksBetweenHolesAreComputedWithThem) {
  for (const double step : {0.0, 0.04}) {
    estimate_.step = step;
    MakeDisk(12, 0.01);
    port_.records.erase(KeyOf(Block(2)));
    port_.records.erase(KeyOf(Block(5)));
    Lease lease = Open();
    const auto acquired = Acquire(lease, Prompt(12));
    if (step == 0) {
      EXPECT_EQ(acquired.state, State::kLoading);
      EXPECT_THAT(Loading(), ElementsAre(1, 0));
    } else {
      EXPECT_EQ(acquired.until, 12);
      EXPECT_THAT(Loading(), ElementsAre(11, 10, 9, 8, 7, 6));
      Compute(lease, Prompt(6));
      EndLoads(6, 12);
      EXPECT_EQ(Acquire(lease, Prompt(12)).tier_tokens[2], 12);
    }
    lease.Release();
    ExpectNothingLeased();
  }
}

// Behind the last hole nothing else is saved.
TEST_F(SplitLoadsTest, AFewBlocksAtTheEndOfAHitAreLoaded) {
  estimate_.step = 1;
  MakeDisk(3, 0.01);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Prompt(12)).state, State::kLoading);
  EXPECT_THAT(Loading(), ElementsAre(2, 1, 0));
}

TEST_F(SplitLoadsTest, BlocksOnTheDeviceAreUsedBehindAHole) {
  MakeDisk(8, 1);
  Lease first = Open();
  EXPECT_EQ(Acquire(first, Prompt(8)).until, 8);
  EndLoads(4, 8);
  first.Release();
  port_.records.clear();
  Lease second = Open();
  EXPECT_EQ(Acquire(second, Prompt(8)).until, 8);
  EXPECT_EQ(inside().claims.size(), 4u);
  Compute(second, Prompt(4));
  EXPECT_EQ(Acquire(second, Prompt(8)).tier_tokens[0], 8);
  EXPECT_EQ(stats().committed_blocks, 4u);
  second.Release();
  ExpectNothingLeased();
}

}  // namespace
}  // namespace prefixd
