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
  Make({.blocks = 8});
  Serve({1, 2, 3, 4});
  Serve({1, 2, 3, 4, 5, 6}, kEnded);
  EXPECT_GE(Serve({1, 2, 3, 4, 5, 6}), 4) << "nothing was deleted";
  EXPECT_EQ(RightAndWrong(kEnded), std::pair(uint64_t{0}, uint64_t{3}));
  Serve({11, 12});
  EvictFromDevice(5);
  EXPECT_EQ(Where({1, 2, 3, 4}), "device");
}

TEST_F(SessionHintsTest, ASessionEndsWhereAnotherOnePartsFromIt) {
  Make({.blocks = 8});
  Serve({1, 2, 3, 4, 5, 6});
  Serve({1, 2, 8, 8});
  Serve({1, 2, 3, 4, 5, 6, 7, 7}, kEnded);
  Serve({11, 12});
  EvictFromDevice(5);  // 6 are cached, 2 are free
  EXPECT_EQ(Where({1, 2, 8, 8}), "device");
  EXPECT_EQ(Where({11, 12}), "device");
  EXPECT_NE(Where({1, 2, 3, 4}), "device");
  EXPECT_EQ(RightAndWrong(kEnded), std::pair(uint64_t{3}, uint64_t{0}));
}

TEST_F(SessionHintsTest, WhatWaitsForAToolIsKeptForATime) {
  Make({.blocks = 8, .retained_percent = 50});
  At(0);
  Serve({1, 2, 3, 4}, kToolPending);
  EXPECT_EQ(cache_->kept_blocks(), 2u);
  for (TokenId i = 10; i < 20; ++i) Serve({i, i, i, i, i, i});
  At(100);
  EXPECT_EQ(Serve({1, 2, 3, 4, 5, 6}, kToolPending), 4);
  EXPECT_EQ(RightAndWrong(kToolPending), std::pair(uint64_t{2}, uint64_t{0}));
  At(100 + SessionHints::kToolSeconds);
  EXPECT_EQ(cache_->kept_blocks(), 0u);
  EXPECT_EQ(RightAndWrong(kToolPending), std::pair(uint64_t{2}, uint64_t{1})) << "the third block came not";
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
