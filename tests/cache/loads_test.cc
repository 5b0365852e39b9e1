// Transfers from lower tiers to the device tier, one by one, and what leases get from them.
#include <gtest/gtest.h>

#include "tests/cache/tiers_fixture.h"

namespace prefixd {
namespace {

using testing::ElementsAre;
using enum TransferResult;

using LoadsTest = TiersTest;

const Tokens kFirst{1, 1};
const Tokens kSecond{1, 1, 2, 2};
const Tokens kThird{1, 1, 2, 2, 3, 3};

TEST_F(LoadsTest, ABlockComesFromTheHost) {
  Make({.blocks = 2, .host_blocks = 2});
  Serve(kFirst);
  SpillAll();
  EvictFromDevice(2);
  EXPECT_EQ(Where(kFirst), "host");
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kLoading);
  ASSERT_EQ(port_.held().size(), 1u);
  const HeldTransfers::Held load = port_.held()[0];
  EXPECT_EQ(load.from, Tier::kHost);
  EXPECT_EQ(load.to, Tier::kDevice);
  EXPECT_EQ(load.from_block, inside().tree.block(Node(kFirst), Tier::kHost));
  EXPECT_EQ(load.root, kTestRoot);
  EXPECT_EQ(load.parent, kTestRoot);
  EXPECT_EQ(load.key, KeyOf(kFirst));
  EXPECT_THAT(load.known_tokens, ElementsAre(1, 1));
  EXPECT_EQ(cache_->leased_blocks(), 1u) << "the target";
  EXPECT_EQ(cache_->leased_blocks(Tier::kHost), 1u) << "the source";
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kLoading);
  EXPECT_EQ(port_.started(), 2u) << "a spill and one load, however often it is asked";
  End(kFirst);
  EXPECT_EQ(Where(kFirst), "device host");
  const auto acquired = Acquire(lease, kFirst);
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_THAT(acquired.tier_tokens, ElementsAre(0, 2, 0, 0));
  EXPECT_EQ(acquired.shared_tokens, 0);
  EXPECT_THAT(lease.blocks(), ElementsAre(load.to_block));
  EXPECT_EQ(stats().hit_tokens, 2u);
  EXPECT_EQ(loads(kOk), 1u);
}

TEST_F(LoadsTest, ABlockComesFromTheDisk) {
  Make({.blocks = 2, .disk = true});
  AddRecords({kFirst});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kLoading);
  ASSERT_EQ(port_.held().size(), 1u);
  const HeldTransfers::Held load = port_.held()[0];
  EXPECT_EQ(load.from, Tier::kDisk);
  EXPECT_EQ(load.from_block, kNoBlock);
  EXPECT_EQ(load.check, KeysOf(kFirst).check(0));
  EXPECT_TRUE(load.known_tokens.empty());
  End(kFirst);
  EXPECT_EQ(Where(kFirst), "device disk");
  EXPECT_THAT(Acquire(lease, kFirst).tier_tokens, ElementsAre(0, 0, 2, 0));
  EXPECT_THAT(lease.blocks(), ElementsAre(load.to_block));
  lease.Release();
  Poll();
  EXPECT_EQ(port_.started(), 1u) << "the disk has it already";
  EXPECT_THAT(Serve(kFirst), ElementsAre(2, 0, 0, 0));
}

// The path of one lease has a block in each tier. All that it needs is loaded at once.
TEST_F(LoadsTest, APrefixComesFromEveryTier) {
  Make({.blocks = 8, .host_blocks = 1, .disk = true, .max_transfers = 2});
  Serve(kThird);
  SpillAll();
  // The host has kept the last that came, which is the third block; the other two are on disk.
  EvictFromDevice(8);
  ASSERT_EQ(Where(kThird), "host disk");
  ASSERT_EQ(Where(kFirst), "disk");
  ASSERT_EQ(Where(kSecond), "disk");
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kThird).state, State::kLoading);
  EXPECT_EQ(port_.held().size(), 2u) << "max_transfers";
  End(kSecond);
  EXPECT_EQ(Acquire(lease, kThird).state, State::kLoading) << "its next block is the first";
  EXPECT_EQ(lease.ready(), 0);
  EXPECT_TRUE(port_.Holds(KeyOf(kThird))) << "started in the place of the second";
  End(kFirst);
  const auto two = Acquire(lease, kThird);
  EXPECT_EQ(two.state, State::kLoading);
  EXPECT_THAT(two.tier_tokens, ElementsAre(0, 0, 4, 0));
  EXPECT_EQ(lease.ready(), 4);
  End(kThird);
  EXPECT_THAT(Acquire(lease, kThird).tier_tokens, ElementsAre(0, 2, 0, 0));
  EXPECT_EQ(stats().hit_tokens, 6u);
}

// The loads begin at the end, so these blocks are taken backwards; steps read them forwards.
TEST_F(LoadsTest, ALoadedPrefixLiesInOrder) {
  constexpr int kBlocks = 2 * FreeBlocks::kGroup;
  Make({.blocks = kBlocks, .host_blocks = 3, .disk = true, .max_transfers = 3});
  Serve(kThird);
  SpillAll();
  EvictFromDevice(kBlocks);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kThird).state, State::kLoading);
  for (const auto& block : {kFirst, kSecond, kThird}) End(block);
  EXPECT_EQ(Acquire(lease, kThird).state, State::kReady);
  ASSERT_EQ(lease.blocks().size(), 3u);
  const BlockId first = lease.blocks()[0];
  EXPECT_EQ(first % FreeBlocks::kGroup, 0u);
  EXPECT_THAT(lease.blocks(), ElementsAre(first, first + 1, first + 2));
}

// The parent has left the device, the child has not.
TEST_F(LoadsTest, ABlockOnTheDeviceAfterOneThatIsLoadedIsTakenFromTheDevice) {
  Make({.blocks = 3, .host_blocks = 2});
  Serve(kSecond);
  Poll();
  End(kFirst);
  EvictFromDevice(2);  // the second block is still being spilled
  ASSERT_EQ(Where(kFirst), "host");
  ASSERT_EQ(Where(kSecond), "device");
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kLoading);
  End(kFirst);
  EXPECT_THAT(Acquire(lease, kSecond).tier_tokens, ElementsAre(2, 2, 0, 0));
  End(kSecond);
  EXPECT_EQ(loads(kOk), 1u);
}

TEST_F(LoadsTest, TwoLeasesLoadABlockOnce) {
  Make({.blocks = 4, .disk = true});
  AddRecords({kFirst});
  Lease first = Open();
  Lease second = Open();
  EXPECT_EQ(Acquire(first, kFirst).state, State::kLoading);
  EXPECT_EQ(Acquire(second, kFirst).state, State::kLoading);
  EXPECT_EQ(port_.started(), 1u);
  End(kFirst);
  EXPECT_THAT(Acquire(first, kFirst).tier_tokens, ElementsAre(0, 0, 2, 0));
  EXPECT_THAT(Acquire(second, kFirst).tier_tokens, ElementsAre(0, 0, 2, 0)) << "it has waited as well";
  EXPECT_EQ(first.blocks()[0], second.blocks()[0]);
  Lease late = Open();
  EXPECT_THAT(Acquire(late, kFirst).tier_tokens, ElementsAre(2, 0, 0, 0));
  EXPECT_EQ(stats().hit_tokens, 6u);
}

TEST_F(LoadsTest, ALoadGoesOnWithoutTheLeaseThatWantedIt) {
  Make({.blocks = 2, .disk = true});
  AddRecords({kFirst, kSecond});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kLoading);
  End(kSecond);
  lease.Release();
  cache_->CheckInvariants();
  EXPECT_EQ(cache_->leased_blocks(), 1u) << "the target of the load that is running";
  EXPECT_EQ(cache_->cached_blocks(), 1u) << "what has been loaded";
  End(kFirst);
  EXPECT_EQ(cache_->cached_blocks(), 2u);
  EXPECT_THAT(Serve(kSecond), ElementsAre(4, 0, 0, 0));
}

TEST_F(LoadsTest, AFailedLoadThatNobodyWaitsForLeavesNothing) {
  Make({.blocks = 2, .disk = true});
  AddRecords({kFirst, kSecond});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kLoading);
  lease.Release();
  End(kFirst, kCorrupt);
  End(kSecond, kMissing);
  EXPECT_EQ(cache_->free_blocks(), 2u);
  EXPECT_EQ(Where(kFirst), "ghost");
  EXPECT_EQ(Where(kSecond), "ghost");
}

TEST_F(LoadsTest, ALeaseWaitsForAFreeTransferRatherThanCompute) {
  Make({.blocks = 4, .disk = true, .max_transfers = 1});
  AddRecords({kFirst, {8, 8}});
  Lease first = Open();
  Lease second = Open();
  EXPECT_EQ(Acquire(first, kFirst).state, State::kLoading);
  EXPECT_EQ(Acquire(second, {8, 8}).state, State::kLoading);
  EXPECT_EQ(port_.held().size(), 1u);
  EXPECT_EQ(Acquire(second, {8, 8}).state, State::kLoading);
  End(kFirst);
  EXPECT_EQ(Acquire(second, {8, 8}).state, State::kLoading);
  EXPECT_TRUE(port_.Holds(KeyOf({8, 8})));
  End({8, 8});
  EXPECT_EQ(Acquire(second, {8, 8}).tier_tokens[2], 2);
  EXPECT_EQ(Acquire(first, kFirst).tier_tokens[2], 2);
}

TEST_F(LoadsTest, ALostBlockIsComputedThoughAllTransfersRun) {
  Make({.blocks = 4, .disk = true, .max_transfers = 1});
  AddRecords({kFirst, {8, 8}});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kLoading);
  End(kFirst, kMissing);
  Lease other = Open();
  EXPECT_EQ(Acquire(other, {8, 8}).state, State::kLoading);
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kReady);
}

// Without a block for its target there is no load, and nothing to wait for.
TEST_F(LoadsTest, WithoutABlockOnTheDeviceTheLeaseComputes) {
  Make({.blocks = 2, .disk = true});
  AddRecords({kFirst, kSecond});
  Lease holder = Open();
  ASSERT_TRUE(cache_->Reserve(holder, 2));
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kLoading);
  EXPECT_EQ(port_.started(), 1u) << "one block is free";
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kLoading) << "until the load has ended";
  End(kSecond);
  const auto acquired = Acquire(lease, kSecond);
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.until, 2);
  EXPECT_EQ(Where(kFirst), "disk");
  EXPECT_THAT(cache_->ExplainMisses(lease, kFirst),
              ElementsAre(PrefixCache::MissRun{MissReason::kLoadSlower, 2}));
}

TEST_F(LoadsTest, ALoadEvictsForItsTarget) {
  Make({.blocks = 1, .disk = true});
  AddRecords({kFirst});
  Serve({8, 8});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kLoading);
  EXPECT_EQ(stats().evicted_blocks[0], 1u);
  EXPECT_EQ(Where({8, 8}), "ghost");
  End(kFirst);
  EXPECT_EQ(Acquire(lease, kFirst).tier_tokens[2], 2);
}

// Only as many blocks are loaded as the limit allows. The one that it cuts is loaded for a copy of its part.
TEST_F(LoadsTest, TheBlockThatTheLimitCutsIsLoadedAndCopied) {
  Make({.blocks = 8, .disk = true});
  AddRecords({kFirst, kSecond, kThird});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kThird, 0).state, State::kReady) << "nothing may be taken";
  EXPECT_EQ(port_.started(), 0u);
  lease.Release();
  Lease cut = Open();
  EXPECT_EQ(Acquire(cut, kThird, 3).state, State::kLoading);
  EXPECT_EQ(port_.started(), 2u);
  End(kSecond);
  End(kFirst);
  const auto acquired = Acquire(cut, kThird, 3);
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.tokens(), 3);
  EXPECT_EQ(cut.ready(), 3);
  EXPECT_EQ(stats().partial_copies, 1u);
  EXPECT_EQ(cache_->cached_blocks(), 1u) << "the source of the copy is not held any more";
  EXPECT_EQ(port_.started(), 2u);
}

// A lease that does not read computes what another one loads.
TEST_F(LoadsTest, ABlockMayBeComputedWhileItIsLoaded) {
  Make({.blocks = 4, .disk = true});
  AddRecords({kFirst});
  Lease reader = Open();
  EXPECT_EQ(Acquire(reader, kFirst).state, State::kLoading);
  const BlockId target = port_.held()[0].to_block;
  Lease writer = Open(PrefixCache::Reads::kNo);
  EXPECT_EQ(Acquire(writer, kFirst).state, State::kReady);
  Compute(writer, kFirst);
  EXPECT_EQ(stats().committed_blocks, 1u);
  const auto acquired = Acquire(reader, kFirst);
  EXPECT_EQ(acquired.state, State::kReady) << "it need not wait for the load any more";
  EXPECT_EQ(acquired.tokens(), 2);
  EXPECT_EQ(reader.blocks()[0], writer.blocks()[0]);
  EXPECT_EQ(inside().pool(Tier::kDevice).state(target), BlockState::kFilling);
  End(kFirst);
  EXPECT_EQ(inside().pool(Tier::kDevice).state(target), BlockState::kFree) << "its result is not needed";
  EXPECT_EQ(Where(kFirst), "device disk");
  EXPECT_EQ(loads(kOk), 1u);
  EXPECT_EQ(cache_->leased_blocks(), 1u);
}

TEST_F(LoadsTest, ABlockMayBeComputedWhileItsLoadFails) {
  Make({.blocks = 4, .disk = true});
  AddRecords({kFirst});
  Lease reader = Open();
  EXPECT_EQ(Acquire(reader, kFirst).state, State::kLoading);
  Lease writer = Open(PrefixCache::Reads::kNo);
  EXPECT_EQ(Acquire(writer, kFirst).state, State::kReady);
  Compute(writer, kFirst);
  End(kFirst, kCorrupt);
  EXPECT_EQ(Where(kFirst), "device");
  EXPECT_EQ(Acquire(reader, kFirst).tokens(), 2);
  EXPECT_EQ(cache_->free_blocks(), 3u);
}

// The lease with limit 0 claims the blocks. Their load ends the claims: nobody needs to compute them now.
TEST_F(LoadsTest, ALoadEndsTheClaimOnItsBlock) {
  Make({.blocks = 8, .disk = true});
  AddRecords({kFirst, kSecond});
  Lease reader = Open();
  EXPECT_EQ(Acquire(reader, kSecond).state, State::kLoading);
  Lease claiming = Open();
  EXPECT_EQ(Acquire(claiming, kSecond, 0).state, State::kReady);
  EXPECT_EQ(inside().claims.size(), 2u);
  End(kFirst);
  EXPECT_EQ(inside().claims.size(), 1u);
  EXPECT_EQ(Acquire(reader, kSecond).tier_tokens[2], 2);
  End(kSecond);
  EXPECT_EQ(inside().claims.size(), 0u);
  EXPECT_EQ(Acquire(reader, kSecond).tier_tokens[2], 2);
  Compute(claiming, kSecond);
  EXPECT_EQ(stats().deduplicated_blocks, 2u);
}

// The second block is there, but the first is lost. It is computed, and the second is used after all.
TEST_F(LoadsTest, WhatFollowsALostBlockIsTaken) {
  Make({.blocks = 8, .disk = true});
  AddRecords({kFirst, kSecond});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kLoading);
  const BlockId loaded = port_.held()[0].to_block;
  End(kSecond);
  End(kFirst, kMissing);
  const auto acquired = Acquire(lease, kSecond);
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.until, 2);
  EXPECT_EQ(acquired.tokens(), 0);
  Compute(lease, kFirst);
  EXPECT_THAT(Acquire(lease, kSecond).tier_tokens, ElementsAre(0, 0, 2, 0));
  EXPECT_EQ(lease.blocks()[1], loaded);
  EXPECT_EQ(stats().committed_blocks, 1u);
}

// A part of a sequence is loaded while another lease computes the rest of it.
TEST_F(LoadsTest, AfterALoadTheLeaseWaitsForTheOneThatComputesTheRest) {
  Make({.blocks = 8, .disk = true});
  AddRecords({kFirst});
  Lease first = Open();
  Lease second = Open();
  EXPECT_EQ(Acquire(first, kSecond).state, State::kLoading);
  EXPECT_EQ(Acquire(second, kSecond).state, State::kLoading);
  End(kFirst);
  EXPECT_EQ(Acquire(first, kSecond).state, State::kReady);
  const auto waiting = Acquire(second, kSecond);
  EXPECT_EQ(waiting.state, State::kWaiting);
  EXPECT_THAT(waiting.tier_tokens, ElementsAre(0, 0, 2, 0));
  Compute(first, kSecond);
  const auto acquired = Acquire(second, kSecond);
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.shared_tokens, 2);
  EXPECT_THAT(acquired.tier_tokens, ElementsAre(0, 0, 0, 0));
}

}  // namespace
}  // namespace prefixd
