// The blocks that a lease gets on a full tree: memory gives those with consecutive ids faster.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <numeric>
#include <vector>

#include "cache/prefix_cache.h"

namespace prefixd {
namespace {

using testing::ElementsAre;

class NoCopies final : public DeviceCopier {
 public:
  void CopyBlock(BlockId, BlockId) override { FAIL(); }
};

class BlockRuns : public testing::Test {
 protected:
  // Fills the tree with three sequences of eight blocks, from the oldest to the youngest.
  BlockRuns() {
    for (const TokenId first : {0, 100, 200}) {
      std::vector<TokenId> tokens(32);
      std::iota(tokens.begin(), tokens.end(), first);
      Lease lease = Open();
      EXPECT_EQ(cache_.Acquire(lease, tokens, 31).state, PrefixCache::AcquireState::kReady);
      EXPECT_TRUE(cache_.Reserve(lease, 32));
      cache_.EndStep(true);
      cache_.Commit(lease, tokens);
    }
    EXPECT_EQ(cache_.free_blocks(), 0u);
  }
  void TearDown() override { cache_.CheckInvariants(); }

  Lease Open() { return cache_.Open(&keys_.emplace_back(BlockKey{1, 2}, 4), PrefixCache::Reads::kNo); }
  uint64_t evicted() const { return cache_.stats().evicted_blocks[0]; }

  NoCopies copier_;
  std::deque<BlockKeys> keys_;
  PrefixCache cache_{{.block_tokens = 4, .blocks = 24, .eviction = "lru"}, &copier_};
};

// The last block of a sequence is evicted first, and what a chunk needs is evicted together.
TEST_F(BlockRuns, AChunkGetsWhatTheTailOfASequenceLeaves) {
  Lease lease = Open();
  ASSERT_TRUE(cache_.Reserve(lease, 16));
  ASSERT_TRUE(cache_.Reserve(lease, 32));
  EXPECT_THAT(lease.blocks(), ElementsAre(4, 5, 6, 7, 0, 1, 2, 3));
  EXPECT_EQ(evicted(), 8u);
}

TEST_F(BlockRuns, WhatIsFreeIsTakenFirst) {
  Lease lease = Open(), other = Open();
  ASSERT_TRUE(cache_.Reserve(lease, 32));
  ASSERT_TRUE(cache_.Reserve(other, 12));
  EXPECT_THAT(other.blocks(), ElementsAre(13, 14, 15));
  other.Release();
  ASSERT_TRUE(cache_.Reserve(lease, 40));
  EXPECT_THAT(lease.blocks(), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 13, 14));
  EXPECT_EQ(evicted(), 11u);
}

}  // namespace
}  // namespace prefixd
