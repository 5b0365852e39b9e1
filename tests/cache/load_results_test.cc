// What the cache makes of the results of loads, of records that are not what they seem to be, and of the
// records that a scan of the disk tier has found.
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

class LoadResultsTest : public TiersTest {
 protected:
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
  ExpectLost(lease, MissReason::kCorrupt);
}

TEST_F(LoadResultsTest, ARecordWithAnotherNumberOfTokensIsDamaged) {
  for (const Tokens& record : {Tokens{}, Tokens{1}, Tokens{1, 1, 1}}) {
    SCOPED_TRACE(record.size());
    Make({.blocks = 4, .disk = true});
    AddRecords({kFirst});
    Lease lease = Open();
    ASSERT_EQ(Acquire(lease, kFirst).state, State::kLoading);
    End(kFirst, kOk, record);
    EXPECT_EQ(loads(kCorrupt), 1u);
    EXPECT_EQ(stats().key_collisions, 0u);
    EXPECT_EQ(Where(kFirst), "ghost");
    lease.Release();
    cache_.reset();
  }
}

// The tokens of the second record are right, but they follow others. Its check tells that from the first: the
// lease neither loads it nor waits for it, and keeps its own block private.
TEST_F(LoadResultsTest, ARecordAfterOtherTokensIsNotLoaded) {
  Make({.blocks = 4, .disk = true});
  PrefixCache::FoundRecord records[] = {RecordOf(kFirst), RecordOf(kSecond)};
  records[1].check = ChildCheck(KeysOf({7, 7}).check(0), Tokens{2, 2});
  ASSERT_EQ(cache_->AddRecords(records), 2u);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kLoading);
  EXPECT_EQ(port_.started(), 1u);
  End(kFirst);
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kReady);
  EXPECT_EQ(lease.ready(), 2);
  EXPECT_EQ(stats().key_collisions, 1u);
  EXPECT_THAT(cache_->ExplainMisses(lease, kSecond), ElementsAre(Miss{MissReason::kNeverSeen, 2}));
  Compute(lease, kSecond);
  EXPECT_EQ(Where(kSecond), "disk");
  lease.Release();
  EXPECT_EQ(cache_->cached_blocks(), 1u);
  EXPECT_EQ(port_.started(), 1u);
}

// As above, but the limit keeps Acquire from looking at the block. So Commit is the first to see it.
TEST_F(LoadResultsTest, ARecordAfterOtherTokensIsNotReplaced) {
  Make({.blocks = 4, .disk = true});
  PrefixCache::FoundRecord record = RecordOf(kFirst);
  record.check += 1;
  ASSERT_EQ(cache_->AddRecords({&record, 1}), 1u);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst, 0).state, State::kReady);
  EXPECT_EQ(stats().key_collisions, 0u);
  EXPECT_THAT(cache_->ExplainMisses(lease, kFirst), ElementsAre(Miss{MissReason::kNeverSeen, 2}));
  EXPECT_EQ(inside().claims.size(), 0u) << "its block cannot enter the tree";
  Compute(lease, kFirst);
  EXPECT_EQ(stats().key_collisions, 1u);
  EXPECT_EQ(Where(kFirst), "disk");
  EXPECT_EQ(inside().tree.check(Node(kFirst)), record.check);
  lease.Release();
  EXPECT_EQ(cache_->free_blocks(), 4u);
}

// A copy in the host tier that fails is given up. A record of the same block is the next to be tried.
TEST_F(LoadResultsTest, AfterTheHostTheDiskIsTried) {
  for (const TransferResult result : {kFailed, kMissing, kCorrupt}) {
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

TEST_F(LoadResultsTest, ACopyInTheHostThatFailsWasTheLast) {
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
  EXPECT_EQ(cache_->nodes(), 12u);
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

// --- AddRecords ---

TEST_F(LoadResultsTest, RecordsAreAddedInAnyOrder) {
  const BlockKey other{5, 6};
  const Tokens third{1, 1, 2, 2, 3, 3};
  std::vector<PrefixCache::FoundRecord> records{RecordOf(kFirst), RecordOf(kSecond), RecordOf(third),
                                                RecordOf({1, 1, 4, 4}), RecordOf(kFirst, other)};
  std::ranges::sort(records, {}, &PrefixCache::FoundRecord::key);
  do {
    Make({.blocks = 2, .disk = true});
    ASSERT_EQ(cache_->AddRecords(records), 5u);
    cache_->CheckInvariants();
    EXPECT_EQ(cache_->nodes(), 5u);
    for (const Tokens& block : {kFirst, kSecond, third, Tokens{1, 1, 4, 4}}) EXPECT_EQ(Where(block), "disk");
    EXPECT_EQ(inside().tree.check(Node(third)), KeysOf(third).check(2));
    EXPECT_EQ(inside().tree.roots(), 2u);
  } while (std::ranges::next_permutation(records, {}, &PrefixCache::FoundRecord::key).found);
}

TEST_F(LoadResultsTest, RecordsWithoutTheirAncestorsAreLeftOut) {
  Make({.blocks = 2, .disk = true});
  PrefixCache::FoundRecord other_root = RecordOf(kSecond);
  other_root.root = {5, 6};  // its parent is in another namespace
  const PrefixCache::FoundRecord records[] = {RecordOf(kFirst), RecordOf({1, 1, 2, 2, 3, 3}),
                                              RecordOf({8, 8, 9, 9}), other_root};
  EXPECT_EQ(cache_->AddRecords(records), 1u);
  EXPECT_EQ(cache_->nodes(), 1u);
  EXPECT_EQ(inside().tree.roots(), 1u) << "a namespace without nodes has no root";
}

TEST_F(LoadResultsTest, ARecordThatIsFoundTwiceIsAddedOnce) {
  Make({.blocks = 2, .disk = true});
  const PrefixCache::FoundRecord records[] = {RecordOf(kFirst), RecordOf(kFirst), RecordOf(kSecond),
                                              RecordOf(kSecond)};
  EXPECT_EQ(cache_->AddRecords(records), 2u);
  EXPECT_EQ(cache_->nodes(), 2u);
}

// Keys that are their own ancestors come from damage or collisions. Each record is added once at most.
TEST_F(LoadResultsTest, RecordsInACircleComeToAnEnd) {
  const BlockKey a{1, 0};
  const BlockKey b{2, 0};
  const auto record = [](const BlockKey& parent, const BlockKey& key) {
    return PrefixCache::FoundRecord{.root = kTestRoot, .parent = parent, .key = key, .check = 0};
  };
  const auto add = [&](const std::vector<PrefixCache::FoundRecord>& records) {
    Make({.blocks = 2, .disk = true});
    const size_t added = cache_->AddRecords(records);
    cache_->CheckInvariants();
    EXPECT_EQ(cache_->nodes(), added);
    return added;
  };
  EXPECT_EQ(add({record(a, b), record(b, a)}), 0u) << "no root";
  EXPECT_LE(add({record(kTestRoot, a), record(a, b), record(b, a)}), 3u);
  EXPECT_LE(add({record(kTestRoot, a), record(a, a)}), 2u);
  EXPECT_EQ(add({record(kTestRoot, kTestRoot)}), 1u);
}

using LoadResultsDeathTest = LoadResultsTest;

TEST_F(LoadResultsDeathTest, RecordsComeBeforeTheFirstLease) {
  constexpr char kOrder[] = "AddRecords comes before the first Open";
  Make({.blocks = 2, .host_blocks = 2});
  EXPECT_DEATH(cache_->AddRecords({}), kOrder) << "there is no disk tier";
  Make({.blocks = 2, .disk = true});
  Lease lease = Open();
  EXPECT_DEATH(cache_->AddRecords({}), kOrder);
  lease.Release();
  EXPECT_EQ(cache_->AddRecords({}), 0u);
  AddRecords({kFirst});
  EXPECT_DEATH(cache_->AddRecords({}), kOrder);
}

}  // namespace
}  // namespace prefixd
