// What the cache makes of the results of loads, and of records that are not what they seem to be.
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

// Gives the blocks 2 2 and 7 7 one key, after the same parent.
BlockKey CollidingKey(const BlockKey& parent, std::span<const TokenId> tokens) {
  const bool collides = std::ranges::equal(tokens, Tokens{7, 7});
  return ChildKey(parent, collides ? Tokens{2, 2} : Tokens(tokens.begin(), tokens.end()));
}

class LoadResultsTest : public TiersTest {
 protected:
  // A lease whose keys are CollidingKey's.
  Lease OpenColliding() { return cache_->Open(&keys_.emplace_back(kTestRoot, 2, CollidingKey)); }
  // Makes a cache whose only record is `kFirst`, and a lease that waits for it.
  Lease LoadRecord() {
    Make({.blocks = 4, .disk = true});
    AddRecords({kFirst});
    Lease lease = Open();
    EXPECT_EQ(Acquire(lease, kFirst).state, State::kLoading);
    return lease;
  }
  // Expects that the load has left nothing, and that the lease computes its block for `reason`.
  void ExpectLost(Lease& lease, MissReason reason) {
    EXPECT_EQ(Where(kFirst), "ghost");
    EXPECT_EQ(cache_->free_blocks(), 4u);
    EXPECT_EQ(Acquire(lease, kFirst).state, State::kReady);
    EXPECT_EQ(lease.ready(), 0);
    EXPECT_THAT(cache_->ExplainMisses(lease, kFirst), ElementsAre(Miss{reason, 2}));
    EXPECT_EQ(port_.started(), 1u) << "it is not tried again";
    Compute(lease, kFirst);
    EXPECT_EQ(Where(kFirst), "device");
    lease.Release();
    SpillAll();
    EXPECT_EQ(Where(kFirst), "device disk") << "the new record";
  }
};

TEST_F(LoadResultsTest, ARecordThatIsMissingWasEvicted) {
  Lease lease = LoadRecord();
  End(kFirst, kMissing);
  EXPECT_EQ(loads(kMissing), 1u);
  ExpectLost(lease, MissReason::kEvictedDisk);
}

// The read failed, and not the record: the lease computes, and another one tries again.
TEST_F(LoadResultsTest, ARecordThatCannotBeReadStays) {
  Lease lease = LoadRecord();
  End(kFirst, kFailed);
  EXPECT_EQ(loads(kFailed), 1u);
  EXPECT_EQ(Where(kFirst), "disk");
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kReady);
  EXPECT_EQ(lease.ready(), 0);
  EXPECT_THAT(cache_->ExplainMisses(lease, kFirst), ElementsAre(Miss{MissReason::kLoadSlower, 2}));
  EXPECT_EQ(port_.started(), 1u) << "it is not tried again";
  Lease other = Open();
  EXPECT_EQ(Acquire(other, Tokens{1, 1, 9}).state, State::kLoading);
  End(kFirst);
  EXPECT_EQ(Acquire(other, Tokens{1, 1, 9}).tier_tokens[2], 2);
}

// What follows a block that was lost is missing for the same reason, though it has come.
TEST_F(LoadResultsTest, ALostBlockTakesWhatFollowsWithIt) {
  Make({.blocks = 4, .disk = true});
  AddRecords({kFirst, kSecond});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kLoading);
  End(kSecond);
  End(kFirst, kCorrupt);
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kReady);
  EXPECT_THAT(cache_->ExplainMisses(lease, kSecond), ElementsAre(Miss{MissReason::kCorrupt, 4}));
}

TEST_F(LoadResultsTest, ADamagedRecordIsLost) {
  Lease lease = LoadRecord();
  End(kFirst, kCorrupt);
  EXPECT_EQ(loads(kCorrupt), 1u);
  EXPECT_EQ(stats().key_collisions, 0u);
  ExpectLost(lease, MissReason::kCorrupt);
}

// The record has the key of the block and other tokens.
TEST_F(LoadResultsTest, ARecordWithOtherTokensIsACollision) {
  Lease lease = LoadRecord();
  End(kFirst, kOk, {1, 7});
  EXPECT_EQ(loads(kOk), 0u);
  EXPECT_EQ(loads(kCorrupt), 1u);
  EXPECT_EQ(stats().key_collisions, 1u);
  EXPECT_EQ(stats().hit_tokens, 0u);
  EXPECT_EQ(port_.drops, 1);
  ExpectLost(lease, MissReason::kCorrupt);
}

TEST_F(LoadResultsTest, ARecordWithAnotherNumberOfTokensIsDamaged) {
  for (const Tokens& record : {Tokens{}, Tokens{1}, Tokens{1, 1, 1}}) {
    SCOPED_TRACE(record.size());
    port_.drops = 0;
    Make({.blocks = 4, .disk = true});
    AddRecords({kFirst});
    Lease lease = Open();
    ASSERT_EQ(Acquire(lease, kFirst).state, State::kLoading);
    End(kFirst, kOk, record);
    EXPECT_EQ(loads(kCorrupt), 1u);
    EXPECT_EQ(stats().key_collisions, 0u);
    EXPECT_EQ(port_.drops, 1);
    EXPECT_EQ(Where(kFirst), "ghost");
    lease.Release();
    cache_.reset();
  }
}

// The second block has the key of a node that is being loaded, and other tokens. Its check tells that from
// the first: the lease neither loads it nor waits for it, and keeps its own block private.
TEST_F(LoadResultsTest, ANodeOfOtherTokensIsNotWaitedFor) {
  Make({.blocks = 4, .disk = true, .key = CollidingKey});
  AddRecords({kFirst, kSecond, {1, 1, 2, 2, 3, 3}});
  Lease other = OpenColliding();
  EXPECT_EQ(Acquire(other, {1, 1, 7, 7}).state, State::kLoading);
  End(kFirst);
  Lease lease = OpenColliding();
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kReady);
  EXPECT_EQ(port_.started(), 2u);
  EXPECT_EQ(lease.ready(), 2);
  EXPECT_EQ(stats().key_collisions, 1u);
  EXPECT_THAT(cache_->ExplainMisses(lease, Tokens{1, 1, 2, 2, 3, 3}),
              ElementsAre(Miss{MissReason::kNeverSeen, 4}));
  Compute(lease, kSecond);
  lease.Release();
  EXPECT_EQ(cache_->cached_blocks(), 0u) << "the other lease has the first block";
  EXPECT_EQ(cache_->free_blocks(), 2u);
  EXPECT_EQ(port_.started(), 2u);
}

// As above, but the limit keeps Acquire from looking at the block. So Commit is the first to see it.
TEST_F(LoadResultsTest, ANodeOfOtherTokensIsNotReplaced) {
  Make({.blocks = 4, .disk = true, .key = CollidingKey});
  AddRecords({{2, 2}, {2, 2, 3, 3}});
  Lease other = OpenColliding();
  EXPECT_EQ(Acquire(other, {7, 7}).state, State::kLoading);
  Lease lease = OpenColliding();
  EXPECT_EQ(Acquire(lease, {2, 2}, 0).state, State::kReady);
  EXPECT_EQ(stats().key_collisions, 0u);
  EXPECT_THAT(cache_->ExplainMisses(lease, Tokens{2, 2, 3, 3}), ElementsAre(Miss{MissReason::kNeverSeen, 4}))
      << "what follows a collision was never cached, whatever the disk has under its key";
  EXPECT_EQ(inside().claims.size(), 0u) << "its block cannot enter the tree";
  Compute(lease, {2, 2});
  EXPECT_EQ(stats().key_collisions, 1u);
  EXPECT_EQ(Where({2, 2}), "disk");
  EXPECT_EQ(inside().tree.check(Node({2, 2})), KeysOf({7, 7}).check(0));
  lease.Release();
  EXPECT_EQ(cache_->free_blocks(), 3u) << "the fourth is the target of the load";
}

// The disk has a record of another block with the same key. It keeps the block from the disk only until
// somebody reads it.
TEST_F(LoadResultsTest, ARecordOfAnotherBlockIsReplacedOnceItWasRead) {
  Make({.blocks = 4, .disk = true, .key = CollidingKey});
  const auto serve = [&] {
    Lease lease = OpenColliding();
    EXPECT_EQ(Acquire(lease, {7, 7}).state, State::kReady);
    Compute(lease, {7, 7});
  };
  serve();
  AddRecords({{2, 2}});
  SpillAll();
  EXPECT_EQ(port_.started(), 0u) << "as far as is known, the disk has it";
  EvictFromDevice(4);
  Lease lease = OpenColliding();
  EXPECT_EQ(Acquire(lease, {7, 7}).state, State::kLoading);
  End({2, 2}, kCorrupt);
  lease.Release();
  serve();
  SpillAll();
  EXPECT_EQ(spills(kOk), 1u);
  EXPECT_EQ(Where({2, 2}), "device disk");
}

// A damaged copy in the host tier is given up. A record of the same block is the next to be tried.
TEST_F(LoadResultsTest, AfterTheHostTheDiskIsTried) {
  for (const TransferResult result : {kMissing, kCorrupt}) {
    SCOPED_TRACE(static_cast<int>(result));
    Make({.blocks = 2, .host_blocks = 2, .disk = true});
    Serve(kFirst);
    SpillAll();
    EvictFromDevice(2);
    Lease lease = Open();
    EXPECT_EQ(Acquire(lease, kFirst).state, State::kLoading);
    EXPECT_EQ(port_.held()[0].from, Tier::kHost);
    End(kFirst, result);
    EXPECT_EQ(Where(kFirst), "disk");
    EXPECT_EQ(cache_->free_blocks(Tier::kHost), 2u);
    EXPECT_EQ(Acquire(lease, kFirst).state, State::kLoading);
    ASSERT_EQ(port_.held().size(), 1u);
    EXPECT_EQ(port_.held()[0].from, Tier::kDisk);
    EXPECT_TRUE(port_.held()[0].known_tokens.empty()) << "they went with the last block in memory";
    End(kFirst);
    EXPECT_EQ(loads(result), 1u);
    EXPECT_EQ(loads(kOk), 1u);
    lease.Release();
    cache_.reset();
  }
}

// The device took no copy. That says nothing of the one in the host tier: the next lease tries it again.
TEST_F(LoadResultsTest, ACopyToTheDeviceThatFailsLeavesTheHost) {
  Make({.blocks = 2, .host_blocks = 2});
  Serve(kFirst);
  SpillAll();
  EvictFromDevice(2);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kLoading);
  End(kFirst, kFailed);
  EXPECT_EQ(loads(kFailed), 1u);
  EXPECT_EQ(Where(kFirst), "host");
  EXPECT_EQ(cache_->free_blocks(), 2u);
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kReady);
  EXPECT_EQ(lease.ready(), 0);
  EXPECT_THAT(cache_->ExplainMisses(lease, kFirst), ElementsAre(Miss{MissReason::kLoadSlower, 2}));
  EXPECT_EQ(port_.held().size(), 0u) << "it is not tried again";
  Lease other = Open();
  EXPECT_EQ(Acquire(other, Tokens{1, 1, 9}).state, State::kLoading);
  End(kFirst);
  EXPECT_EQ(Acquire(other, Tokens{1, 1, 9}).tier_tokens[1], 2);
}

TEST_F(LoadResultsTest, ADamagedCopyInTheHostWasTheLast) {
  Make({.blocks = 4, .host_blocks = 2});
  Serve(kFirst);
  SpillAll();
  EvictFromDevice(4);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kLoading);
  End(kFirst, kCorrupt);
  EXPECT_EQ(Where(kFirst), "ghost");
  EXPECT_EQ(cache_->free_blocks(Tier::kHost), 2u);
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kReady);
  EXPECT_THAT(cache_->ExplainMisses(lease, kFirst), ElementsAre(Miss{MissReason::kCorrupt, 2}));
}

TEST_F(LoadResultsTest, WhatTheHostEvictsLastIsExplainedByIt) {
  Make({.blocks = 2, .host_blocks = 1});
  Serve(kFirst);
  SpillAll();
  EvictFromDevice(2);
  Serve({8, 8});
  SpillAll();  // evicts the first from the host
  Serve({9, 9});
  EvictFromDevice(2);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kReady);
  EXPECT_THAT(cache_->ExplainMisses(lease, kFirst), ElementsAre(Miss{MissReason::kEvictedHost, 2}));
  Lease other = Open();
  EXPECT_EQ(Acquire(other, {9, 9}).state, State::kReady);
  EXPECT_THAT(cache_->ExplainMisses(other, Tokens{9, 9}), ElementsAre(Miss{MissReason::kEvictedDevice, 2}));
}

// A record that was there before says nothing of a block that was lost when there was none.
TEST_F(LoadResultsTest, AnOlderRecordIsNotWhyABlockIsLost) {
  Make({.blocks = 2, .disk = true});
  Serve(kFirst);
  SpillAll();
  port_.LoseRecord(KeyOf(kFirst), DropReason::kExpired);
  cache_->Poll();
  EvictFromDevice(2);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kReady);
  EXPECT_THAT(cache_->ExplainMisses(lease, kFirst), ElementsAre(Miss{MissReason::kEvictedDevice, 2}));
}

// Acquire has seen fewer tokens than are to be explained.
TEST_F(LoadResultsTest, ExplainsMoreTokensThanAcquireHasSeen) {
  Make({.blocks = 8, .disk = true});
  AddRecords({kFirst, kSecond});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, {1}).state, State::kReady);
  EXPECT_THAT(cache_->ExplainMisses(lease, Tokens{1, 1, 2, 2, 3, 3, 4}),
              ElementsAre(Miss{MissReason::kLoadSlower, 4}, Miss{MissReason::kNeverSeen, 2},
                          Miss{MissReason::kBlockTail, 1}));
}

// The ghosts of 12 records are more than the index of a cache with 2 blocks holds. Those that are forgotten
// leave the tree, with the ancestors that only they needed.
TEST_F(LoadResultsTest, WhatTheGhostIndexForgetsLeavesTheTree) {
  Make({.blocks = 2, .disk = true});
  std::vector<Tokens> blocks;
  for (TokenId token = 1; token <= 6; ++token) {
    blocks.push_back({token, token});
    blocks.push_back({token, token, 9, 9});
  }
  AddRecords(blocks);
  for (size_t i = 1; i < blocks.size(); i += 2) {
    Lease lease = Open();
    EXPECT_EQ(Acquire(lease, blocks[i]).state, State::kLoading);
    End(blocks[i - 1], kMissing);  // the parent is the first to be forgotten, and stays for its child
    End(blocks[i], kMissing);
  }
  EXPECT_EQ(cache_->nodes(), kGhostsPerBlock * 2);
  EXPECT_EQ(Where(blocks[3]), "no node");
  EXPECT_EQ(Where(blocks[5]), "ghost");
  EXPECT_EQ(Where(blocks[11]), "ghost");
  EXPECT_EQ(cache_->free_blocks(), 2u);
}

// The ghost is forgotten while a lease refers to it. It leaves the tree with the lease.
TEST_F(LoadResultsTest, AForgottenGhostStaysForItsLease) {
  Make({.blocks = 1, .disk = true});
  AddRecords({kFirst, {2, 2}, {3, 3}, {4, 4}, {5, 5}});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kLoading);
  End(kFirst, kMissing);
  for (TokenId token = 2; token <= 5; ++token) {
    Lease other = Open();
    EXPECT_EQ(Acquire(other, {token, token}).state, State::kLoading);
    End({token, token}, kMissing);
  }
  EXPECT_EQ(cache_->nodes(), 5u);
  EXPECT_EQ(Where(kFirst), "") << "neither KV nor a ghost";
  lease.Release();
  EXPECT_EQ(Where(kFirst), "no node");
  EXPECT_EQ(cache_->nodes(), 4u);
}

}  // namespace
}  // namespace prefixd
