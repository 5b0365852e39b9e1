// Blocks that Commit replaces by equal ones of the tree while a step in flight reads the block table.
#include <gtest/gtest.h>

#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include "cache/prefix_cache.h"

namespace prefixd {
namespace {

using TableInUse = PrefixCache::TableInUse;

class NoCopies final : public DeviceCopier {
 public:
  void CopyBlock(BlockId, BlockId) override { FAIL(); }
};

class ReplacedBlocks : public testing::Test {
 protected:
  ReplacedBlocks() { std::iota(tokens_.begin(), tokens_.end(), 0); }
  std::span<const TokenId> First(size_t count) const { return std::span(tokens_).first(count); }
  // A lease that takes nothing from the cache, with room for 6 tokens.
  Lease Open(BlockKeys* keys) {
    Lease lease = cache_.Open(keys, PrefixCache::Reads::kNo);
    EXPECT_EQ(cache_.Acquire(lease, First(6), 5).state, PrefixCache::AcquireState::kReady);
    EXPECT_TRUE(cache_.Reserve(lease, 6));
    cache_.EndStep(true);
    return lease;
  }

  std::vector<TokenId> tokens_ = std::vector<TokenId>(6);
  NoCopies copier_;
  PrefixCache cache_{{.block_tokens = 4, .blocks = 8}, &copier_};
  BlockKeys keys_{BlockKey{1, 2}, 4}, other_keys_{BlockKey{1, 2}, 4};
};

TEST_F(ReplacedBlocks, StayWithTheLeaseUntilItsNextCommit) {
  Lease first = Open(&keys_), second = Open(&other_keys_);
  cache_.Commit(first, First(5));
  EXPECT_EQ(cache_.leased_blocks(), 4u);
  const BlockId own = second.blocks()[0];
  cache_.Commit(second, First(5), TableInUse::kByStep);
  cache_.CheckInvariants();
  EXPECT_EQ(second.blocks()[0], first.blocks()[0]);
  EXPECT_NE(second.blocks()[0], own);
  EXPECT_EQ(cache_.leased_blocks(), 4u) << "a step reads all of them";
  cache_.Commit(second, First(6), TableInUse::kByStep);
  cache_.CheckInvariants();
  EXPECT_EQ(cache_.leased_blocks(), 3u) << "that step has ended";
}

TEST_F(ReplacedBlocks, GoWithTheLease) {
  Lease first = Open(&keys_), second = Open(&other_keys_);
  cache_.Commit(first, First(5));
  cache_.Commit(second, First(5), TableInUse::kByStep);
  second.Release();
  cache_.CheckInvariants();
  EXPECT_EQ(cache_.leased_blocks(), 2u) << "those of the first";
}

TEST_F(ReplacedBlocks, AreFreeAtOnceWhenNoStepReadsThem) {
  Lease first = Open(&keys_), second = Open(&other_keys_);
  cache_.Commit(first, First(5));
  cache_.Commit(second, First(5));
  EXPECT_EQ(cache_.leased_blocks(), 3u);
}

}  // namespace
}  // namespace prefixd
