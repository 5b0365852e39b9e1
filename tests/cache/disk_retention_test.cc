// What requests ask to keep, and the disk tier: it keeps the record for as long as memory does, and what
// comes back from it is kept in memory, too.
#include <gtest/gtest.h>

#include "tests/cache/tiers_fixture.h"

namespace prefixd {
namespace {

class DiskRetentionTest : public TiersTest {
 protected:
  // Returns how many tokens are kept.
  int Serve(const Tokens& tokens, const PrefixUse& use = {}) {
    Lease lease = cache_->Open(&keys_.emplace_back(kTestRoot, 2), PrefixCache::Reads::kYes, use);
    auto acquired = Acquire(lease, tokens);
    for (size_t end = 2; end <= tokens.size() && acquired.state == State::kLoading; end += 2) {
      const Tokens block(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(end));
      if (port_.Holds(KeyOf(block)))
        port_.End(KeyOf(block), TransferResult::kOk, {block.end() - 2, block.end()});
      cache_->Poll(now_);
      acquired = Acquire(lease, tokens);
    }
    EXPECT_EQ(acquired.state, State::kReady);
    Compute(lease, tokens);
    return lease.Release();
  }
  void At(double seconds) {
    now_ = seconds;
    for (int poll = 0; poll < 100; ++poll) {
      cache_->Poll(seconds);
      cache_->CheckInvariants();
      if (cache_->running_transfers() == 0) return;
      port_.EndAll();
    }
    FAIL() << "the spills come to no end";
  }
  static PrefixUse Keep(int tokens, double seconds) { return {.breakpoints = {{tokens, seconds}}}; }
  // How long the disk keeps the block, from now on; 0: it does not.
  double Left(const Tokens& block) {
    const auto kept = port_.KeptOnDisk(KeyOf(block));
    return kept ? kept->left : 0;
  }

  double now_ = 0;
};

TEST_F(DiskRetentionTest, WhatIsKeptIsKeptOnTheDiskOnceItIsThereAndAUseRefreshesIt) {
  MakeAsAsked({.blocks = 16, .disk = true});
  EXPECT_EQ(Serve({1, 2, 3, 4, 5, 6}, Keep(4, 300)), 4);
  Serve({7, 8});
  At(10);
  EXPECT_EQ(Left({1, 2}), 290);
  EXPECT_EQ(Left({1, 2, 3, 4}), 290);
  EXPECT_EQ(Left({1, 2, 3, 4, 5, 6}), 0);
  EXPECT_EQ(Where({7, 8}), "device") << "what was used once and is not kept is not written";
  At(100);
  Serve({1, 2, 9, 9});
  EXPECT_EQ(Left({1, 2}), 300) << "it was used";
  EXPECT_EQ(Left({1, 2, 3, 4}), 290);
  At(500);
  const size_t kept = port_.kept.size();
  port_.kept.clear();
  Serve({1, 2, 9, 9});
  EXPECT_EQ(kept, 2u);
  EXPECT_TRUE(port_.kept.empty()) << "its time had come";
}

TEST_F(DiskRetentionTest, WhatComesFromTheDiskIsKeptInMemory) {
  MakeAsAsked({.blocks = 8, .retained_percent = 50, .disk = true, .load_policy = LoadPolicy::kLoad});
  AddRecords({{1, 2}, {1, 2, 3, 4}});
  port_.kept[KeyOf({1, 2})] = {.left = 70, .seconds = 300, .owner = 5};
  At(1000);
  Serve({1, 2, 3, 4, 5, 6});
  EXPECT_EQ(cache_->kept_blocks(), 1u);
  EXPECT_EQ(Left({1, 2}), 300) << "the load was a use";
  EvictFromDevice(7);
  EXPECT_EQ(Where({1, 2}), "device disk");
  EXPECT_EQ(Where({1, 2, 3, 4}), "disk");
  At(1299);
  EXPECT_EQ(cache_->kept_blocks(), 1u);
  At(1300);
  EXPECT_EQ(cache_->kept_blocks(), 0u);
}

TEST_F(DiskRetentionTest, WhatIsComputedAlthoughTheDiskKeepsItIsUsed) {
  MakeAsAsked({.blocks = 8, .retained_percent = 50, .disk = true, .load_policy = LoadPolicy::kRecompute});
  AddRecords({{1, 2}});
  port_.kept[KeyOf({1, 2})] = {.left = 70, .seconds = 300, .owner = 5};
  Serve({1, 2, 3, 4});
  EXPECT_EQ(cache_->kept_blocks(), 1u);
  EXPECT_EQ(Left({1, 2}), 300);
}

TEST_F(DiskRetentionTest, TheDiskKeepsWhatMemoryHasNoRoomFor) {
  MakeAsAsked({.blocks = 16, .retained_percent = 0, .disk = true});
  port_.most_kept = 3;
  EXPECT_EQ(Serve({1, 2, 3, 4}, Keep(4, 300)), 0) << "nobody keeps it yet";
  At(1);
  EXPECT_EQ(port_.kept.size(), 2u);
  EXPECT_EQ(Serve({1, 2, 3, 4}, Keep(4, 300)), 4);
  Serve({11, 12, 13, 14}, Keep(4, 300));
  At(2);
  EXPECT_EQ(port_.kept.size(), 3u);
  Serve({21, 22}, Keep(2, 300));
  At(3);
  EXPECT_EQ(Where({21, 22}), "device") << "there is no room: it is written when it is used twice";
  EXPECT_EQ(Serve({21, 22}, Keep(2, 300)), 0);
}

}  // namespace
}  // namespace prefixd
