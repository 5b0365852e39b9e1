// The records of the disk tier, of which only the port knows: for which of them the cache has nodes, and
// which blocks are spilled.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/cache/tiers_fixture.h"

namespace prefixd {
namespace {

using testing::ElementsAre;
using Miss = PrefixCache::MissRun;
using enum TransferResult;

const Tokens kFirst{1, 1};
const Tokens kSecond{1, 1, 2, 2};

using DiskRecordsTest = TiersTest;

TEST_F(DiskRecordsTest, ANodeIsMadeForARecordThatALeaseWants) {
  const Tokens third{1, 1, 2, 2, 3, 3};
  Make({.blocks = 8, .disk = true});
  AddRecords({kFirst, kSecond, third, {1, 1, 4, 4}, {8, 8}});
  EXPECT_EQ(cache_->nodes(), 0u);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, third, 4).state, State::kLoading);
  EXPECT_EQ(cache_->nodes(), 2u) << "as many as the limit allows";
  EXPECT_EQ(inside().tree.check(Node(kSecond)), KeysOf(third).check(1));
  EXPECT_EQ(inside().tree.parent(Node(kSecond)), Node(kFirst));
  End(kFirst);
  End(kSecond);
  EXPECT_EQ(Acquire(lease, third, 4).tier_tokens[2], 4);
  EXPECT_EQ(cache_->nodes(), 2u);
}

// The second block has a record, and the first has none: the first is computed while the second is loaded.
TEST_F(DiskRecordsTest, ARecordAfterOneThatIsLostIsUsed) {
  Make({.blocks = 4, .disk = true});
  AddRecords({kSecond});
  Lease lease = Open();
  const auto acquired = Acquire(lease, kSecond);
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.until, 2);
  EXPECT_EQ(port_.started(), 1u);
  EXPECT_THAT(cache_->ExplainMisses(lease, kFirst), ElementsAre(Miss{MissReason::kNeverSeen, 2}));
  Compute(lease, kFirst);
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kLoading);
  End(kSecond);
  EXPECT_EQ(Acquire(lease, kSecond).tier_tokens[2], 2);
}

// Behind many blocks without a record nothing is looked for: a new prompt would be asked for block by block.
TEST_F(DiskRecordsTest, ARecordFarBehindMakesNoNode) {
  Make({.blocks = 16, .disk = true});
  const Tokens prompt(14, 1);
  AddRecords({Tokens(12, 1)});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, prompt).until, 14);
  EXPECT_EQ(port_.started(), 0u);
  EXPECT_EQ(cache_->nodes(), 0u);
}

// In the namespace of another tenant the same tokens have other keys.
TEST_F(DiskRecordsTest, ARecordOfAnotherNamespaceMakesNoNode) {
  Make({.blocks = 4, .disk = true});
  port_.records.insert(KeyOf(kFirst, {5, 6}));
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kReady);
  EXPECT_EQ(cache_->nodes(), 0u);
}

TEST_F(DiskRecordsTest, WithoutADiskTierNoRecordIsAskedFor) {
  Make({.blocks = 4, .host_blocks = 4});
  AddRecords({kFirst});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kReady);
  EXPECT_THAT(cache_->ExplainMisses(lease, kFirst), ElementsAre(Miss{MissReason::kNeverSeen, 2}));
}

// A block that waits for its load has a node for as long as a lease wants it.
TEST_F(DiskRecordsTest, ANodeWhoseLoadCannotStartLeavesWithItsLease) {
  Make({.blocks = 2, .disk = true, .max_transfers = 1});
  AddRecords({kFirst, kSecond, {8, 8}});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kLoading);
  EXPECT_EQ(port_.started(), 1u) << "one transfer runs";
  Lease other = Open();
  EXPECT_EQ(Acquire(other, {8, 8}).state, State::kLoading) << "it waits for the transfer to end";
  EXPECT_EQ(cache_->nodes(), 3u);
  ASSERT_TRUE(cache_->Reserve(other, 2));
  End(kSecond);
  EXPECT_EQ(Acquire(lease, kSecond).until, 2) << "every block of the device is in use";
  EXPECT_EQ(Acquire(other, {8, 8}).state, State::kReady);
  EXPECT_EQ(cache_->nodes(), 2u);
  lease.Release();
  EvictFromDevice(1);
  EXPECT_EQ(Where(kFirst), "disk");
  EXPECT_EQ(Where(kSecond), "disk");
}

// While it waits for a transfer to end, the record is dropped by the store.
TEST_F(DiskRecordsTest, ALeaseThatWaitsForATransferComputesWhenTheRecordIsGone) {
  Make({.blocks = 4, .disk = true, .max_transfers = 1});
  AddRecords({kFirst, {8, 8}});
  Lease first = Open();
  Lease second = Open();
  EXPECT_EQ(Acquire(first, kFirst).state, State::kLoading);
  EXPECT_EQ(Acquire(second, {8, 8}).state, State::kLoading);
  port_.records.erase(KeyOf({8, 8}));
  EXPECT_EQ(Acquire(second, {8, 8}).state, State::kReady);
  EXPECT_EQ(port_.started(), 1u);
}

TEST_F(DiskRecordsTest, AFailedLoadLeavesNoNodeButTheRecord) {
  Make({.blocks = 4, .disk = true});
  AddRecords({kFirst, kSecond});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kLoading);
  End(kFirst, kFailed);
  End(kSecond, kFailed);
  EXPECT_EQ(cache_->nodes(), 2u) << "the lease refers to them";
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kReady);
  EXPECT_EQ(cache_->nodes(), 0u);
  EXPECT_EQ(Where(kSecond), "disk");
  EXPECT_THAT(cache_->ExplainMisses(lease, kSecond), ElementsAre(Miss{MissReason::kLoadSlower, 4}));
}

// The lease settles while the second block is being loaded; the load goes on.
TEST_F(DiskRecordsTest, ANodeStaysForItsLoad) {
  for (const TransferResult result : {kOk, kFailed, kMissing}) {
    SCOPED_TRACE(static_cast<int>(result));
    Make({.blocks = 4, .disk = true});
    AddRecords({kFirst, kSecond});
    Lease lease = Open();
    EXPECT_EQ(Acquire(lease, kSecond).state, State::kLoading);
    End(kFirst, kFailed);
    EXPECT_EQ(Acquire(lease, kSecond).state, State::kReady);
    EXPECT_EQ(cache_->nodes(), 2u);
    lease.Release();
    EXPECT_EQ(cache_->nodes(), 2u);
    End(kSecond, result);
    EXPECT_EQ(Where(kSecond), result == kOk ? "device disk" : result == kFailed ? "disk" : "ghost");
    EXPECT_EQ(cache_->nodes(), result == kFailed ? 0u : 2u);
    cache_.reset();
  }
}

// 100 chains on disk, and a cache that remembers 16 ghosts.
TEST_F(DiskRecordsTest, TheTreeIsBoundedWhateverTheDiskHas) {
  Make({.blocks = 4, .disk = true});
  const auto chain = [](TokenId token) { return Tokens{token, token, 9, 9}; };
  for (TokenId token = 1; token <= 100; ++token) AddRecords({{token, token}, chain(token)});
  const size_t bound = (1 + kGhostsPerBlock) * 4;
  size_t most = 0;
  for (int round = 0; round < 2; ++round) {
    for (TokenId token = 1; token <= 100; ++token) {
      SCOPED_TRACE(token);
      EXPECT_EQ(Node({token, token}), kNoNode) << "nobody remembers it";
      Lease lease = Open();
      ASSERT_EQ(Acquire(lease, chain(token)).state, State::kLoading);
      End({token, token});
      End(chain(token));
      EXPECT_EQ(Acquire(lease, chain(token)).tier_tokens[2], 4) << "found however long ago that was";
      EXPECT_LE(cache_->nodes(), bound);
      most = std::max(most, cache_->nodes());
    }
  }
  EXPECT_EQ(most, bound);
  EXPECT_EQ(port_.started(), 400u) << "every block is on disk already";
  EXPECT_LE(cache_->memory_bytes(),
            PrefixCache::MaxMemoryBytes({.block_tokens = 2, .blocks = 4, .disk = true}));
}

// The index of the store is read while requests are served.
TEST_F(DiskRecordsTest, ARecordThatIsFoundLaterIsLoadedThen) {
  Make({.blocks = 4, .disk = true});
  Lease early = Open();
  EXPECT_EQ(Acquire(early, kSecond).state, State::kReady);
  AddRecords({kFirst, kSecond});
  Lease late = Open();
  EXPECT_EQ(Acquire(late, kSecond).state, State::kLoading) << "though another lease computes it";
  Compute(early, kSecond);
  EXPECT_EQ(Acquire(late, kSecond).tokens(), 4) << "whichever is first";
  End(kFirst);
  End(kSecond);
  EXPECT_EQ(cache_->nodes(), 2u);
  EXPECT_EQ(cache_->leased_blocks(), 2u);
}

TEST_F(DiskRecordsTest, WhatTheDiskDropsIsExplainedByIt) {
  Make({.blocks = 2, .disk = true});
  Serve(kFirst);
  SpillAll();
  EvictFromDevice(2);
  EXPECT_EQ(Where(kFirst), "disk");
  port_.LoseRecord(KeyOf(kFirst), DropReason::kEvicted);
  EXPECT_EQ(Where(kFirst), "ghost");
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kReady);
  EXPECT_THAT(cache_->ExplainMisses(lease, kFirst), ElementsAre(Miss{MissReason::kEvictedDisk, 2}));
}

// A ghost whose record is lost is explained anew, and keeps its place in the index.
TEST_F(DiskRecordsTest, AGhostMayLoseItsRecord) {
  Make({.blocks = 2, .disk = true});
  Serve(kFirst);
  SpillAll();
  EvictFromDevice(2);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kLoading);
  EXPECT_TRUE(inside().tree.IsGhost(Node(kFirst)));
  End(kFirst, kCorrupt);
  EXPECT_EQ(Where(kFirst), "ghost");
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kReady);
  EXPECT_THAT(cache_->ExplainMisses(lease, kFirst), ElementsAre(Miss{MissReason::kCorrupt, 2}));
  EXPECT_EQ(inside().ghosts.size(), 1u);
}

// --- Spills ---

TEST_F(DiskRecordsTest, WhenTheHostIsInUseABlockThatTheDiskHasStays) {
  Make({.blocks = 2, .host_blocks = 1, .disk = true, .max_transfers = 8});
  Serve({1, 1});
  Serve({2, 2});
  AddRecords({{2, 2}});
  Poll();
  EXPECT_EQ(port_.started(), 1u) << "the first block, to the host";
  EXPECT_EQ(Where({2, 2}), "device disk");
}

// The store may drop a record to make room for the next. If each of the two were spilled again by itself, the
// disk would be written to without end.
TEST_F(DiskRecordsTest, ARecordThatTheStoreDropsIsWrittenAgainAfterTheNextUse) {
  Make({.blocks = 2, .disk = true});
  Serve({1, 2});
  Poll();
  port_.End(KeyOf({1, 2}));
  port_.records.clear();
  Poll();
  EXPECT_EQ(spills(kOk), 1u);
  EXPECT_EQ(port_.started(), 1u);
  EXPECT_EQ(Where({1, 2}), "device");
  Serve({1, 2});
  SpillAll();
  EXPECT_EQ(port_.started(), 2u);
  EXPECT_EQ(Where({1, 2}), "device disk");
}

TEST_F(DiskRecordsTest, ABlockOfWhichThereIsARecordIsNotSpilled) {
  Make({.blocks = 2, .disk = true});
  Serve({1, 2});
  AddRecords({{1, 2}});  // of an earlier process; the index has been read only now
  Poll();
  EXPECT_EQ(port_.started(), 0u);
}

// No block of a lost device is read: what the host has goes to the disk, and keeps its place there.
TEST_F(DiskRecordsTest, ALostDeviceLeavesTheHostToTheDisk) {
  MakeAsAsked({.blocks = 4, .host_blocks = 2, .disk = true});
  Serve({1, 2});
  Serve({3, 4});
  SpillAll();
  Serve({5, 6});  // and is in the queue
  ASSERT_EQ(Where({1, 2}), "device host");
  ASSERT_EQ(Where({3, 4}), "device host");
  const size_t before = port_.started();
  cache_->LoseDevice();
  Poll();
  EXPECT_EQ(port_.started(), before) << "to the host";
  cache_->SpillAll(8);
  EXPECT_EQ(cache_->pending_disk_blocks(), 2u);
  Poll();
  ASSERT_EQ(port_.held().size(), 2u);
  for (const HeldTransfers::Held& held : port_.held()) {
    EXPECT_EQ(held.from, Tier::kHost);
    EXPECT_EQ(held.to, Tier::kDisk);
  }
  SpillAll();
  EXPECT_EQ(Where({1, 2}), "device host disk");
  EXPECT_EQ(Where({3, 4}), "device host disk");
  EXPECT_EQ(Where({5, 6}), "device");
  EXPECT_EQ(cache_->pending_disk_blocks(), 0u);
  EXPECT_EQ(port_.started(), before + 2);
}

}  // namespace
}  // namespace prefixd
