// Transfers from the device tier to lower tiers, one by one.
#include <gtest/gtest.h>

#include "tests/cache/tiers_fixture.h"

namespace prefixd {
namespace {

using testing::ElementsAre;
using enum TransferResult;

using SpillsTest = TiersTest;

TEST_F(SpillsTest, AReleasedBlockGoesToTheHostAndThenToTheDisk) {
  Make({.blocks = 4, .host_blocks = 4, .disk = true});
  const Tokens block{1, 2, 3, 4};
  Lease lease = Open();
  ASSERT_EQ(Acquire(lease, block).state, State::kReady);
  Compute(lease, block);
  Poll();
  EXPECT_EQ(port_.started(), 0u) << "nothing is spilled while the lease holds it";
  const BlockId device_block = lease.blocks()[1];
  lease.Release();
  EXPECT_EQ(port_.started(), 0u) << "Poll starts the transfers";
  Poll();
  ASSERT_EQ(port_.held().size(), 2u);
  EXPECT_EQ(port_.held()[0].key, KeyOf({1, 2})) << "the first block of a prefix goes first";
  const HeldTransfers::Held spill = port_.held()[1];
  EXPECT_EQ(spill.from, Tier::kDevice);
  EXPECT_EQ(spill.to, Tier::kHost);
  EXPECT_EQ(spill.from_block, device_block);
  EXPECT_LT(spill.to_block, 4u);
  EXPECT_EQ(spill.root, kTestRoot);
  EXPECT_EQ(spill.parent, KeyOf({1, 2}));
  EXPECT_EQ(spill.key, KeyOf(block));
  EXPECT_EQ(spill.check, KeysOf(block).check(1));
  EXPECT_THAT(spill.known_tokens, ElementsAre(3, 4));
  EXPECT_EQ(cache_->leased_blocks(), 2u) << "the sources stay";
  EXPECT_EQ(cache_->leased_blocks(Tier::kHost), 2u);

  End(block);
  EXPECT_EQ(Where(block), "device host");
  ASSERT_EQ(port_.held().size(), 2u);
  const HeldTransfers::Held record = port_.held()[1];
  EXPECT_EQ(record.from, Tier::kHost) << "each block leaves the device once";
  EXPECT_EQ(record.from_block, spill.to_block);
  EXPECT_EQ(record.to, Tier::kDisk);
  EXPECT_EQ(record.to_block, kNoBlock);
  EXPECT_THAT(record.known_tokens, ElementsAre(3, 4));
  End(block);
  EXPECT_EQ(Where(block), "device host disk");
  SpillAll();
  EXPECT_EQ(port_.started(), 4u) << "two for each block";
  EXPECT_EQ(spills(kOk), 4u);
  EXPECT_EQ(cache_->cached_blocks(), 2u);
  EXPECT_EQ(cache_->cached_blocks(Tier::kHost), 2u);
  Serve(block);
  Poll();
  EXPECT_EQ(port_.started(), 4u) << "every tier has it";
}

TEST_F(SpillsTest, WithoutAHostTheDeviceSpillsToTheDisk) {
  Make({.blocks = 2, .disk = true});
  Serve({1, 2});
  Poll();
  ASSERT_EQ(port_.held().size(), 1u);
  EXPECT_EQ(port_.held()[0].from, Tier::kDevice);
  EXPECT_EQ(port_.held()[0].to, Tier::kDisk);
  SpillAll();
  EXPECT_EQ(Where({1, 2}), "device disk");
  EXPECT_EQ(port_.started(), 1u);
}

TEST_F(SpillsTest, WithoutADiskTheHostIsTheLastTier) {
  Make({.blocks = 2, .host_blocks = 2});
  Serve({1, 2});
  SpillAll();
  EXPECT_EQ(Where({1, 2}), "device host");
  EXPECT_EQ(port_.started(), 1u);
}

// A block that is used often is in the queue often.
TEST_F(SpillsTest, ABlockIsSpilledOnceHoweverOftenItIsUsed) {
  Make({.blocks = 8, .disk = true});
  for (int use = 0; use < 5; ++use) Serve({1, 2});
  Poll();
  EXPECT_EQ(port_.started(), 1u);
  Serve({1, 2});
  Poll();
  EXPECT_EQ(port_.started(), 1u) << "its spill is running";
  SpillAll();
  EXPECT_EQ(port_.started(), 1u);
}

// A load brings back what the disk has as well; what it does not have would be computed again.
TEST_F(SpillsTest, ABlockWithACopyOnTheDiskIsEvictedFirst) {
  MakeAsAsked({.blocks = 2, .eviction = "adaptive", .disk = true});
  Serve({2, 2});
  Serve({1, 1});
  Serve({1, 1});
  SpillAll();
  ASSERT_EQ(Where({1, 1}), "device disk");
  ASSERT_EQ(Where({2, 2}), "device");
  EvictFromDevice(1);
  EXPECT_EQ(Where({1, 1}), "disk");
  EXPECT_EQ(Where({2, 2}), "device") << "the older one, but the only copy";
}

// So the queue is no longer than the tree, and no block is crowded out by the uses of another.
TEST_F(SpillsTest, ABlockIsInTheQueueOnce) {
  Make({.blocks = 3, .disk = true});
  for (int use = 0; use < 10; ++use) Serve({1, 2});
  Serve({3, 4});
  EXPECT_EQ(inside().spill_queue.size(), 2u);
  SpillAll();
  EXPECT_EQ(inside().spill_queue.size(), 0u);
  EXPECT_EQ(Where({3, 4}), "device disk");
}

// A host tier whose blocks are all in use does not keep a block from the disk.
TEST_F(SpillsTest, ABlockGoesToTheDiskWhenTheHostIsInUse) {
  Make({.blocks = 2, .host_blocks = 1, .disk = true, .max_transfers = 8});
  Serve({1, 1});
  Serve({2, 2});
  SpillAll();
  EXPECT_EQ(Where({1, 1}), "device host disk");
  EXPECT_EQ(Where({2, 2}), "device disk");
}

// The lease of the spill counts like that of a request: the block stays until the transfer has ended.
TEST_F(SpillsTest, ASourceIsNotEvictedBeforeTheSpillHasEnded) {
  Make({.blocks = 1, .host_blocks = 1});
  Serve({1, 2});
  Poll();
  Lease lease = Open();
  EXPECT_FALSE(cache_->Reserve(lease, 2));
  End({1, 2});
  EXPECT_TRUE(cache_->Reserve(lease, 2));
  EXPECT_EQ(Where({1, 2}), "host");
}

// The spill of a child keeps the child, and not its parent: what counts as cached can be evicted.
TEST_F(SpillsTest, TheParentOfASpillingBlockCanBeEvicted) {
  Make({.blocks = 2, .host_blocks = 2});
  Serve({1, 2, 3, 4});
  Poll();
  End({1, 2});
  EXPECT_EQ(cache_->cached_blocks(), 1u);
  EXPECT_EQ(cache_->free_blocks(), 0u);
  Lease lease = Open();
  EXPECT_TRUE(cache_->Reserve(lease, 2));
  cache_->CheckInvariants();
  EXPECT_EQ(Where({1, 2}), "host");
  EXPECT_EQ(Where({1, 2, 3, 4}), "device");
  SpillAll();
  EXPECT_EQ(Where({1, 2, 3, 4}), "device host");
}

TEST_F(SpillsTest, AFailedSpillLeavesItsSourceAndFreesItsTarget) {
  for (const TransferResult result : {kFailed, kMissing, kCorrupt}) {
    SCOPED_TRACE(static_cast<int>(result));
    port_.EndAll();
    Make({.blocks = 2, .host_blocks = 2, .disk = true});
    Serve({1, 2});
    Poll();
    End({1, 2}, result);
    EXPECT_EQ(Where({1, 2}), "device");
    EXPECT_EQ(cache_->free_blocks(Tier::kHost), 2u);
    EXPECT_EQ(cache_->cached_blocks(), 1u);
    EXPECT_EQ(spills(result), 1u);
    Poll();
    EXPECT_EQ(cache_->running_transfers(), 0u) << "it is not repeated by itself";
    EXPECT_EQ(Serve({1, 2})[0], 2);
    Poll();
    EXPECT_EQ(cache_->running_transfers(), 1u) << "the next use repeats it";
    End({1, 2});
    EXPECT_EQ(Where({1, 2}), "device host");
    End({1, 2}, result);
    EXPECT_EQ(Where({1, 2}), "device host") << "without a record";
    EXPECT_EQ(spills(result), 2u);
    EXPECT_EQ(spills(kOk), 1u);
    EXPECT_EQ(cache_->running_transfers(), 0u);
    cache_.reset();
  }
}

// Each block goes on to the disk before the host tier, which has one block, evicts it for the next.
TEST_F(SpillsTest, ABlockReachesTheDiskBeforeTheHostEvictsIt) {
  for (const uint32_t max_transfers : {1u, 2u, 3u}) {
    SCOPED_TRACE(max_transfers);
    Make({.blocks = 3, .host_blocks = 1, .disk = true, .max_transfers = max_transfers});
    const size_t before = port_.started();
    for (TokenId token = 1; token <= 3; ++token) Serve({token, token});
    SpillAll();
    EXPECT_EQ(stats().evicted_blocks[0], 0u);
    EXPECT_EQ(Where({1, 1}), "device disk");
    EXPECT_EQ(Where({2, 2}), "device disk");
    EXPECT_EQ(Where({3, 3}), "device host disk");
    EXPECT_EQ(port_.started() - before, 6u) << "two for each block";
    cache_.reset();
  }
}

TEST_F(SpillsTest, TheHostEvictsForTheNextBlock) {
  Make({.blocks = 2, .host_blocks = 1});
  Serve({1, 1});
  SpillAll();
  Serve({2, 2});
  SpillAll();
  EXPECT_EQ(Where({1, 1}), "device");
  EXPECT_EQ(Where({2, 2}), "device host");
  EXPECT_EQ(stats().evicted_blocks[1], 1u);
  EXPECT_EQ(stats().evicted_blocks[0], 0u);
}

// The only block of the host tier is the target of a spill, so the next spill has none.
TEST_F(SpillsTest, ASpillWithoutABlockOfTheHostIsLeftOut) {
  Make({.blocks = 2, .host_blocks = 1});
  Serve({1, 1});
  Serve({2, 2});
  Poll();
  EXPECT_EQ(port_.started(), 1u);
  SpillAll();
  EXPECT_EQ(Where({1, 1}), "device host");
  EXPECT_EQ(Where({2, 2}), "device");
  EXPECT_EQ(cache_->cached_blocks(), 2u);
}

// Half of the transfers are left for loads.
TEST_F(SpillsTest, SpillsTakeHalfOfTheTransfers) {
  Make({.blocks = 9, .disk = true, .max_transfers = 4});
  AddRecords({{9, 9}});
  for (TokenId token = 1; token <= 5; ++token) Serve({token, token});
  Poll();
  EXPECT_EQ(port_.held().size(), 2u);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, {9, 9}).state, State::kLoading);
  EXPECT_TRUE(port_.Holds(KeyOf({9, 9})));
  End({1, 1});
  EXPECT_EQ(port_.held().size(), 3u) << "the third spill takes the place of the first";
  End({9, 9});
  SpillAll();
  EXPECT_EQ(spills(kOk), 5u);
}

TEST_F(SpillsTest, SpillsWaitWhileLoadsTakeAllTransfers) {
  Make({.blocks = 9, .disk = true, .max_transfers = 2});
  AddRecords({{8, 8}, {9, 9}});
  Serve({1, 1});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, {8, 8}).state, State::kLoading);
  Lease other = Open();
  EXPECT_EQ(Acquire(other, {9, 9}).state, State::kLoading);
  Poll();
  EXPECT_EQ(port_.held().size(), 2u);
  End({8, 8});
  EXPECT_EQ(port_.held().size(), 2u);
  EXPECT_TRUE(port_.Holds(KeyOf({1, 1})));
}

// A block that was evicted from the device after its use is spilled from the host.
TEST_F(SpillsTest, TheHostSpillsWhatTheDeviceHasLost) {
  Make({.blocks = 1, .host_blocks = 1, .disk = true});
  Serve({1, 2});
  Poll();
  End({1, 2});           // to the host
  End({1, 2}, kFailed);  // to the disk
  EXPECT_EQ(Serve({1, 2})[0], 2);
  EvictFromDevice(1);
  EXPECT_EQ(Where({1, 2}), "host");
  Poll();
  ASSERT_EQ(port_.held().size(), 1u);
  EXPECT_EQ(port_.held()[0].from, Tier::kHost);
  EXPECT_EQ(port_.held()[0].from_block, inside().tree.block(Node({1, 2}), Tier::kHost));
  EXPECT_EQ(port_.held()[0].to, Tier::kDisk);
  EXPECT_THAT(port_.held()[0].known_tokens, ElementsAre(1, 2));
  // A lease that wants it need not wait until it is written: both transfers read the block of the host.
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, {1, 2}).state, State::kLoading);
  ASSERT_EQ(port_.held().size(), 2u);
  EXPECT_EQ(port_.held()[1].from, Tier::kHost);
  EXPECT_EQ(port_.held()[1].to, Tier::kDevice);
  End({1, 2});
  EXPECT_EQ(Where({1, 2}), "host disk");
  End({1, 2});
  EXPECT_EQ(Acquire(lease, {1, 2}).tier_tokens[1], 2);
}

// A load that finds damage while the block is being written leaves it to the write.
TEST_F(SpillsTest, ADamagedLoadKeepsTheSourceOfASpill) {
  Make({.blocks = 1, .host_blocks = 1, .disk = true});
  Serve({1, 2});
  Poll();
  End({1, 2});
  End({1, 2}, kFailed);
  Serve({1, 2});
  EvictFromDevice(1);
  Poll();
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, {1, 2}).state, State::kLoading);
  ASSERT_EQ(port_.held().size(), 2u);
  port_.Report({port_.held()[1].id, kCorrupt, {}});
  Poll();
  EXPECT_EQ(Acquire(lease, {1, 2}).state, State::kReady) << "it computes";
  EXPECT_EQ(lease.ready(), 0);
  End({1, 2});
  EXPECT_EQ(Where({1, 2}), "host disk");
}

// Spills lease their sources, so they leave enough blocks to a request.
TEST_F(SpillsTest, TheReserveOfTheDeviceIsLeftAlone) {
  Make({.blocks = 4, .disk = true, .spill_reserve = 2});
  Serve({1, 1, 2, 2, 3, 3, 4, 4});
  Poll();
  EXPECT_EQ(port_.held().size(), 2u);
  EXPECT_EQ(cache_->cached_blocks(), 2u);
  SpillAll();
  EXPECT_EQ(Where({1, 1}), "device disk");
  EXPECT_EQ(Where({1, 1, 2, 2, 3, 3, 4, 4}), "device disk");
}

// A load may fail and take the block of the host away, which a spill would be reading.
TEST_F(SpillsTest, ABlockIsNotSpilledWhileItIsLoaded) {
  Make({.blocks = 1, .host_blocks = 1, .disk = true});
  Serve({1, 2});
  Poll();
  End({1, 2});
  End({1, 2}, kFailed);
  Serve({1, 2});  // and is in the queue
  EvictFromDevice(1);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, {1, 2}).state, State::kLoading);
  Poll();
  EXPECT_EQ(port_.held().size(), 1u);
  End({1, 2}, kCorrupt);
  EXPECT_EQ(Where({1, 2}), "ghost");
}

// The id of a node that is gone may be in use for another one, which a lease still holds.
TEST_F(SpillsTest, AnotherNodeIsNotSpilledInPlaceOfOneThatIsGone) {
  Make({.blocks = 1, .disk = true});
  Serve({1, 1});
  const NodeId gone = Node({1, 1});
  Lease lease;
  for (TokenId token = 2; !lease.open() || Node({token - 1, token - 1}) != gone; ++token) {
    ASSERT_LT(token, 9);
    lease.Release();
    lease = Open();
    ASSERT_EQ(Acquire(lease, {token, token}).state, State::kReady);
    Compute(lease, {token, token});
  }
  Poll();
  EXPECT_EQ(port_.started(), 0u);
}

TEST_F(SpillsTest, WhatIsGoneBeforeItsTurnIsNotSpilled) {
  Make({.blocks = 1, .disk = true});
  Serve({1, 1});
  EvictFromDevice(1);
  Poll();
  EXPECT_EQ(port_.started(), 0u);
  EXPECT_EQ(Where({1, 1}), "ghost");
}

// Only nodes with KV in memory know their tokens, so the memory for tokens is bounded.
TEST_F(SpillsTest, NodesKnowTheirTokensWhileTheirKvIsInMemory) {
  Make({.blocks = 4, .host_blocks = 2, .disk = true});
  for (TokenId token = 1; token <= 20; ++token) {
    Serve({token, 1, token, 2, token, 3, token, 4});
    SpillAll();
    size_t on_disk_alone = 0;
    const RadixTree& tree = inside().tree;
    for (NodeId node = 0; node < tree.end(); ++node) {
      if (!tree.Contains(node)) continue;
      ASSERT_EQ(tree.HasTokens(node), tree.InMemory(node)) << node;
      on_disk_alone += !tree.InMemory(node) && port_.OnDisk(tree.key(node)) ? 1 : 0;
    }
    EXPECT_EQ(port_.records.size(), 4 * static_cast<size_t>(token));
    EXPECT_GE(on_disk_alone, token == 1 ? 0u : 2u) << "the test is about nodes on disk alone";
  }
}

TEST_F(SpillsTest, WithoutLowerTiersPollDoesNothing) {
  PrefixCache cache({.block_tokens = 2, .blocks = 2}, &copier_);
  cache.Poll();
  EXPECT_EQ(cache.running_transfers(), 0u);
}

using SpillsDeathTest = SpillsTest;

TEST_F(SpillsDeathTest, RefusesTiersWithoutAPort) {
  EXPECT_DEATH(PrefixCache({.blocks = 2, .host_blocks = 1}, &copier_), "lower tiers need a port");
  EXPECT_DEATH(PrefixCache({.blocks = 2, .disk = true}, &copier_), "lower tiers need a port");
  EXPECT_DEATH(PrefixCache({.blocks = 2, .disk = true, .max_transfers = 0}, &copier_, &port_),
               "max_transfers > 0");
}

TEST_F(SpillsDeathTest, RefusesAnEndThatIsReportedTwice) {
  Make({.blocks = 2, .disk = true});
  Serve({1, 2});
  Poll();
  const uint64_t id = port_.held()[0].id;
  End({1, 2});
  port_.Report({.id = id, .result = kOk, .tokens = {}});
  EXPECT_DEATH(cache_->Poll(), "reported twice, or never started");
}

// --- The wear filter ---

TEST_F(SpillsTest, ABlockGoesToTheDiskWhenItIsUsedASecondTime) {
  MakeAsAsked({.blocks = 4, .disk = true});
  Serve({1, 2});
  Poll();
  EXPECT_EQ(port_.started(), 0u);
  EXPECT_EQ(cache_->pending_disk_blocks(), 0u);
  Serve({1, 2, 3, 4});
  EXPECT_EQ(cache_->pending_disk_blocks(), 1u) << "the second block was used once";
  Poll();
  EXPECT_EQ(cache_->pending_disk_blocks(), 1u);
  ASSERT_EQ(port_.held().size(), 1u);
  EXPECT_EQ(port_.held()[0].key, KeyOf({1, 2}));
  End({1, 2});
  EXPECT_EQ(Where({1, 2}), "device disk");
  EXPECT_EQ(cache_->pending_disk_blocks(), 0u);
}

TEST_F(SpillsTest, ABlockGoesToTheDiskWhenItIsComputedAgainAfterAnEviction) {
  MakeAsAsked({.blocks = 4, .disk = true});
  Serve({1, 2});
  EvictFromDevice(4);
  Poll();
  EXPECT_EQ(port_.started(), 0u) << "what was used once is evicted without a spill";
  Serve({1, 2});
  Poll();
  ASSERT_EQ(port_.held().size(), 1u);
  EXPECT_EQ(port_.held()[0].key, KeyOf({1, 2}));
}

TEST_F(SpillsTest, TheHostTakesAllAndTheDiskWhatIsUsedTwice) {
  MakeAsAsked({.blocks = 4, .host_blocks = 4, .disk = true});
  Serve({1, 2});
  EXPECT_EQ(cache_->pending_disk_blocks(), 0u);
  SpillAll();
  EXPECT_EQ(Where({1, 2}), "device host");
  Serve({1, 2});
  EXPECT_EQ(cache_->pending_disk_blocks(), 1u);
  SpillAll();
  EXPECT_EQ(Where({1, 2}), "device host disk");
  EXPECT_EQ(cache_->pending_disk_blocks(), 0u);
}

TEST_F(SpillsTest, AtTheEndTheBlocksUsedLastAreSpilledFirst) {
  MakeAsAsked({.blocks = 8, .disk = true});
  Serve({1, 2});
  Serve({3, 4, 5, 6});
  Serve({7, 8});
  cache_->SpillAll(3);
  EXPECT_EQ(cache_->pending_disk_blocks(), 3u);
  SpillAll();
  EXPECT_EQ(Where({7, 8}), "device disk");
  EXPECT_EQ(Where({3, 4}), "device disk") << "before what follows it";
  EXPECT_EQ(Where({3, 4, 5, 6}), "device disk");
  EXPECT_EQ(Where({1, 2}), "device") << "the limit";
  EXPECT_EQ(cache_->pending_disk_blocks(), 0u);
}

// However slow the disk is, the queue of spills has no more entries than the tiers in memory have blocks.
TEST_F(SpillsTest, TheQueueOfSpillsIsBounded) {
  Make({.blocks = 8, .disk = true, .max_transfers = 2});
  for (TokenId i = 100; i < 400; ++i) {
    Serve({i, i, i + 1, i + 1});
    Poll();
    ASSERT_LE(inside().spill_queue.size(), 16u) << "twice the blocks of the cache";
    ASSERT_LE(cache_->pending_disk_blocks(), 17u);
  }
  EXPECT_EQ(port_.held().size(), 1u) << "the disk does nothing";
  SpillAll();
  EXPECT_EQ(cache_->pending_disk_blocks(), 0u);
  EXPECT_EQ(cache_->leased_blocks(), 0u);
  EXPECT_GE(port_.records.size(), 7u) << "what was still there when the disk went on has been written";
}

}  // namespace
}  // namespace prefixd
