// What clients say of their sessions: it lowers or raises what prefixes are worth, and is scored.
#include <gtest/gtest.h>

#include <utility>

#include "tests/cache/tiers_fixture.h"

namespace prefixd {
namespace {

using enum SessionHint;

class SessionHintsTest : public TiersTest {
 protected:
  // Returns how many tokens were cached.
  int Serve(const Tokens& tokens, SessionHint hint = kNone, bool is_over = true) {
    Lease lease = cache_->Open(&keys_.emplace_back(kTestRoot, 2), PrefixCache::Reads::kYes, {.hint = hint});
    const int cached = Acquire(lease, tokens, static_cast<int>(tokens.size()) - 1).tokens();
    Compute(lease, tokens);
    lease.Release(is_over);
    cache_->CheckInvariants();
    return cached;
  }
  void At(double seconds) {
    cache_->Poll(seconds);
    cache_->CheckInvariants();
  }
  std::pair<uint64_t, uint64_t> RightAndWrong(SessionHint hint) const {
    const auto& blocks = stats().hints.blocks[static_cast<size_t>(hint)];
    return {blocks[0], blocks[1]};
  }
};

TEST_F(SessionHintsTest, WhatAOneShotRequestHasAddedGoesFirstAndItsPrefixStays) {
  Make({.blocks = 8});
  Serve({1, 2, 3, 4});
  Serve({1, 2, 7, 8, 9, 9}, kOneShot);
  EvictFromDevice(6);  // 4 are cached
  EXPECT_EQ(Where({1, 2, 3, 4}), "device") << "it is older, and worth more";
  EXPECT_NE(Where({1, 2, 7, 8}), "device");
  EXPECT_EQ(RightAndWrong(kOneShot), std::pair(uint64_t{2}, uint64_t{0}));
}

TEST_F(SessionHintsTest, WhatEndedIsFoundAllTheSameAndIsThenWorthWhatItWas) {
  Make({.blocks = 12});
  Serve({1, 2, 3, 4});
  Serve({1, 2, 3, 4, 5, 6}, kEnded);
  EXPECT_GE(Serve({1, 2, 3, 4, 5, 6}), 4) << "nothing was deleted";
  EXPECT_EQ(RightAndWrong(kEnded), std::pair(uint64_t{0}, uint64_t{3}));
  Serve({11, 12});
  EvictFromDevice(9);
  EXPECT_EQ(Where({1, 2, 3, 4}), "device");
}

TEST_F(SessionHintsTest, ASessionEndsWhereAnotherOnePartsFromIt) {
  Make({.blocks = 12});
  Serve({1, 2, 3, 4, 5, 6});
  Serve({1, 2, 8, 8});
  Serve({1, 2, 3, 4, 5, 6, 7, 7}, kEnded);
  Serve({11, 12});
  EvictFromDevice(9);  // 6 are cached, 6 are free
  EXPECT_EQ(Where({1, 2, 8, 8}), "device");
  EXPECT_EQ(Where({11, 12}), "device");
  EXPECT_NE(Where({1, 2, 3, 4}), "device");
  EXPECT_EQ(RightAndWrong(kEnded), std::pair(uint64_t{3}, uint64_t{0}));
}

TEST_F(SessionHintsTest, WhatWaitsForAToolIsKeptForATime) {
  Make({.blocks = 12, .retained_percent = 50});
  At(0);
  Serve({1, 2, 3, 4}, kToolPending);
  EXPECT_EQ(cache_->kept_blocks(), 2u);
  for (TokenId i = 10; i < 20; ++i) Serve({i, i, i, i, i, i});
  At(100);
  EXPECT_EQ(Serve({1, 2, 3, 4, 5, 6}, kToolPending), 4);
  EXPECT_EQ(cache_->kept_blocks(), 3u);
  EXPECT_EQ(RightAndWrong(kToolPending), std::pair(uint64_t{2}, uint64_t{0}));
  At(100 + SessionHints::kToolSeconds);
  EXPECT_EQ(cache_->kept_blocks(), 0u);
  EXPECT_EQ(RightAndWrong(kToolPending), std::pair(uint64_t{2}, uint64_t{3})) << "nobody came";
}

TEST_F(SessionHintsTest, AHintToKeepEndsWithTheTurnThatItIsAbout) {
  Make({.blocks = 12, .retained_percent = 50});
  At(0);
  Serve({1, 2, 3, 4}, kToolPending);
  Serve({1, 2, 3, 4, 5, 6}, kEnded);
  EXPECT_EQ(cache_->kept_blocks(), 0u);
  Serve({11, 12});
  EvictFromDevice(11);
  EXPECT_EQ(Where({11, 12}), "device");
  EXPECT_EQ(RightAndWrong(kToolPending), std::pair(uint64_t{2}, uint64_t{0}));
  EXPECT_EQ(RightAndWrong(kEnded), std::pair(uint64_t{3}, uint64_t{0}));
}

TEST_F(SessionHintsTest, WhatAnotherRequestKeepsLongerStaysKept) {
  Make({.blocks = 8, .retained_percent = 50});
  At(0);
  Serve({1, 2, 3, 4}, kToolPending);
  {
    const PrefixUse use{.breakpoints = {{2, 300}}};
    Lease lease = cache_->Open(&keys_.emplace_back(kTestRoot, 2), PrefixCache::Reads::kYes, use);
    Acquire(lease, {1, 2, 9});
    Compute(lease, {1, 2, 9});
  }
  At(200);
  EXPECT_EQ(cache_->kept_blocks(), 1u);
  Serve({1, 2, 3, 4}, kEnded);
  EXPECT_EQ(cache_->kept_blocks(), 1u) << "a hint deletes nothing, and ends nobody's breakpoint";
}

TEST_F(SessionHintsTest, APurgeIsNoOutcomeOfAHint) {
  Make({.blocks = 12, .retained_percent = 50});
  At(0);
  Serve({1, 2, 3, 4}, kEnded);
  Serve({5, 6}, kToolPending);
  ASSERT_TRUE(cache_->BeginPurge({}));
  while (!cache_->ContinuePurge(100)) continue;
  cache_->EndPurge();
  cache_->CheckInvariants();
  At(500);
  for (const SessionHint hint : {kEnded, kToolPending})
    EXPECT_EQ(RightAndWrong(hint), std::pair(uint64_t{0}, uint64_t{0}));
}

TEST_F(SessionHintsTest, WhatEndedGoesFirstInTheHostToo) {
  Make({.blocks = 6, .host_blocks = 3});
  Serve({1, 2});
  Serve({3, 4, 5, 6}, kEnded);
  SpillAll();
  EXPECT_EQ(Where({1, 2}), "device host");
  EvictFromDevice(6);
  Serve({7, 8});
  SpillAll();
  EXPECT_EQ(Where({1, 2}), "host") << "it is older, and worth more";
  EXPECT_EQ(Where({3, 4, 5, 6}), "ghost");
  EXPECT_EQ(RightAndWrong(kEnded), std::pair(uint64_t{1}, uint64_t{0})) << "the other one is in memory";
}

TEST_F(SessionHintsTest, HintsBeyondTheirLimitsAreIgnoredAndCounted) {
  Make({.blocks = 16, .retained_percent = 12});
  At(0);
  Serve({1, 2, 3, 4, 5, 6}, kToolPending);
  EXPECT_EQ(cache_->kept_blocks(), 1u);
  Serve({11, 12, 13, 14, 15, 16, 17, 18, 19, 20}, kEnded);
  const auto ignored = [this](SessionHint hint) {
    return stats().hints.blocks[static_cast<size_t>(hint)][2];
  };
  EXPECT_EQ(ignored(kToolPending), 2u) << "the budget is one block";
  EXPECT_EQ(ignored(kEnded), 2u) << "four of 16 blocks have a hint";
  EvictFromDevice(16);
  EXPECT_EQ(RightAndWrong(kEnded), std::pair(uint64_t{3}, uint64_t{0}));
}

TEST_F(SessionHintsTest, ARequestThatGoesOnLaterIsNotOver) {
  Make({.blocks = 8});
  Serve({1, 2, 3, 4}, kOneShot, /*is_over=*/false);
  Serve({5, 6});
  EvictFromDevice(6);
  EXPECT_EQ(RightAndWrong(kOneShot), std::pair(uint64_t{0}, uint64_t{0}));
}

}  // namespace
}  // namespace prefixd
