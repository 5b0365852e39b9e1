// Retention: what requests ask to keep survives what evicts everything else, within the budget, and until its
// time.
#include "cache/retention.h"

#include <gtest/gtest.h>

#include <deque>
#include <numeric>
#include <optional>
#include <vector>

#include "base/prng.h"
#include "cache/prefix_cache.h"
#include "tests/cache/token_memory.h"

namespace prefixd {
namespace {

using Tokens = std::vector<TokenId>;
constexpr int kBlock = 4;
constexpr BlockKey kRoot{1, 2};

// `size` tokens that begin with `first`.
Tokens Sequence(TokenId first, int size) {
  Tokens tokens(static_cast<size_t>(size));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

class RetentionTest : public testing::TestWithParam<const char*> {
 protected:
  void Make(uint32_t blocks, int percent = 25) {
    memory_.emplace(kBlock, blocks);
    cache_ = std::make_unique<PrefixCache>(
        PrefixCache::Options{
            .block_tokens = kBlock, .blocks = blocks, .eviction = GetParam(), .retained_percent = percent},
        &*memory_);
    At(0);
  }
  void At(double seconds) {
    now_ = seconds;
    cache_->Poll(seconds);
    cache_->CheckInvariants();
  }
  struct Served {
    int cached = 0, kept = 0;
  };
  Served Serve(const Tokens& tokens, PrefixUse use = {}) {
    Lease lease = cache_->Open(&keys_.emplace_back(kRoot, kBlock), PrefixCache::Reads::kYes, std::move(use));
    const int size = static_cast<int>(tokens.size());
    Served served{.cached = cache_->Acquire(lease, tokens, size - 1).tokens()};
    EXPECT_TRUE(cache_->Reserve(lease, size));
    cache_->EndStep(true);
    memory_->Compute(lease, tokens, size);
    cache_->Commit(lease, tokens);
    cache_->CheckInvariants();
    served.kept = lease.Release();
    cache_->CheckInvariants();
    return served;
  }
  // Requests that never return: they evict everything that may be.
  void Flood() {
    for (int i = 0; i < 40; ++i) Serve(Sequence(next_ += 1000, 2 * kBlock));
  }
  static PrefixUse Keep(int tokens, double seconds, uint64_t owner = 0) {
    return {.breakpoints = {{tokens, seconds}}, .owner = owner};
  }

  double now_ = 0;
  TokenId next_ = 1'000'000;
  std::deque<BlockKeys> keys_;
  std::optional<TokenMemory> memory_;
  std::unique_ptr<PrefixCache> cache_;
};

TEST_P(RetentionTest, KeptTokensSurviveAFloodAndOthersDoNot) {
  Make(32);
  const Tokens kept = Sequence(0, 16), other = Sequence(100, 16);
  EXPECT_EQ(Serve(kept, Keep(16, 300)).kept, 16);
  Serve(other);
  Flood();
  EXPECT_EQ(Serve(other).cached, 0);
  EXPECT_EQ(Serve(kept).cached, 15);
}

TEST_P(RetentionTest, ItExpiresOnTimeAndAUseRefreshesIt) {
  Make(32);
  const Tokens kept = Sequence(0, 16);
  Serve(kept, Keep(16, 300));
  At(299);
  EXPECT_EQ(Serve(kept).cached, 15) << "a use without a breakpoint";
  At(598);
  EXPECT_EQ(cache_->kept_blocks(), 4u) << "the use took three blocks, and a part of the last";
  Flood();
  EXPECT_EQ(Serve(kept).cached, 15);
  At(897.9);
  EXPECT_EQ(cache_->kept_blocks(), 4u);
  At(898);
  EXPECT_EQ(cache_->kept_blocks(), 0u);
  EXPECT_EQ(cache_->stats().retention_evicted[0], 0u);
  Serve(Sequence(50'000, 32 * kBlock));  // takes all blocks
  EXPECT_EQ(cache_->stats().retention_evicted[0], 0u);
  EXPECT_EQ(Serve(kept).cached, 0);
  EXPECT_EQ(cache_->stats().retention_expired[0], 4u);
}

TEST_P(RetentionTest, ManyThatExpireAtOnceEndInSeveralTurns) {
  Make(4000, 50);
  const int tokens = 1500 * kBlock;
  EXPECT_EQ(Serve(Sequence(1, tokens), Keep(tokens, 10)).kept, tokens);
  ASSERT_EQ(cache_->kept_blocks(Tier::kDevice), 1500u);
  At(11);
  const uint32_t left = cache_->kept_blocks(Tier::kDevice);
  EXPECT_GT(left, 700u) << "a turn ends a part of them";
  EXPECT_LT(left, 1500u);
  for (int turn = 0; turn < 5; ++turn) At(11);
  EXPECT_EQ(cache_->kept_blocks(Tier::kDevice), 0u);
}

TEST_P(RetentionTest, WhoKeepsEverythingGetsTheBudgetAlone) {
  Make(32);
  int kept = 0;
  for (int i = 0; i < 20; ++i) {
    const Served served = Serve(Sequence(1000 * i, 16), Keep(16, 3600));
    kept += served.kept;
    EXPECT_LE(cache_->kept_blocks(), 8u);
  }
  EXPECT_EQ(kept, 32) << "8 of 32 blocks";
  EXPECT_EQ(cache_->stats().kept_tokens, 32u);
  EXPECT_EQ(cache_->stats().refused_tokens, 20u * 16 - 32);
  EXPECT_GT(cache_->stats().retention_refused[0], 0u);
  EXPECT_EQ(Serve(Sequence(0, 16)).cached, 15) << "the first ones are kept";
}

TEST_P(RetentionTest, TenantsHaveEqualPartsWhenAllWantMore) {
  Make(48);  // 12 may be kept
  for (int i = 0; i < 3; ++i) {
    At(i);
    EXPECT_EQ(Serve(Sequence(1000 * i, 16), Keep(16, 3600, /*owner=*/1)).kept, 16);
  }
  EXPECT_EQ(Serve(Sequence(3000, 16), Keep(16, 3600, /*owner=*/1)).kept, 0);
  EXPECT_EQ(cache_->kept_blocks(), 12u) << "one alone has all of it";
  for (int i = 10; i < 15; ++i) Serve(Sequence(1000 * i, 12), Keep(12, 60, /*owner=*/2));
  EXPECT_EQ(cache_->stats().retention_displaced[0], 6u);
  EXPECT_EQ(Serve(Sequence(20'000, 16), Keep(16, 3600, /*owner=*/3)).kept, 16) << "a part of 4";
  EXPECT_EQ(Serve(Sequence(21'000, 16), Keep(16, 3600, /*owner=*/3)).kept, 0);
  EXPECT_EQ(Serve(Sequence(22'000, 16), Keep(16, 3600, /*owner=*/1)).kept, 0);
  EXPECT_EQ(cache_->kept_blocks(), 12u);
  EXPECT_EQ(cache_->stats().retention_displaced[0], 10u);
  Flood();
  EXPECT_EQ(Serve(Sequence(2000, 16)).cached, 15) << "what would be kept the longest is left";
  EXPECT_EQ(Serve(Sequence(20'000, 16)).cached, 15);
}

TEST_P(RetentionTest, TenTurnsThatEndWithinBlocksKeepNoBlockTwice) {
  Make(64);
  Tokens conversation;
  for (int turn = 1; turn <= 10; ++turn) {
    for (const TokenId token : Sequence(100 * turn, 5)) conversation.push_back(token);
    const int size = static_cast<int>(conversation.size());
    const Served served = Serve(conversation, Keep(size, 300));
    EXPECT_EQ(served.kept, size);
    EXPECT_EQ(served.cached, turn == 1 ? 0 : size - 5);
    EXPECT_EQ(cache_->kept_blocks(), static_cast<uint32_t>((size + kBlock - 1) / kBlock));
    Flood();
  }
}

TEST_P(RetentionTest, ABreakpointWithinABlockIsKeptExactly) {
  Make(32);
  EXPECT_EQ(Serve(Sequence(0, 10), Keep(10, 300)).kept, 10);
  Flood();
  Tokens longer = Sequence(0, 10);
  for (const TokenId token : Sequence(500, 10)) longer.push_back(token);
  EXPECT_EQ(Serve(longer).cached, 10);
  // The block of the breakpoint is filled by what follows it.
  Tokens filled = Sequence(2000, 10), other = filled;
  for (const TokenId token : Sequence(600, 6)) filled.push_back(token);
  for (const TokenId token : Sequence(700, 6)) other.push_back(token);
  EXPECT_EQ(Serve(filled, Keep(10, 300)).kept, 10);
  Flood();
  EXPECT_EQ(Serve(other).cached, 10);
}

TEST_P(RetentionTest, NothingBehindTheWriteLimitEntersTheCache) {
  Make(32);
  const Tokens tokens = Sequence(0, 16);
  PrefixUse use = Keep(10, 300);
  use.write_limit = 10;
  EXPECT_EQ(Serve(tokens, use).kept, 10);
  EXPECT_EQ(Serve(tokens, {.write_limit = 0}).cached, 10);
  EXPECT_EQ(Serve(tokens, {.write_limit = 0}).cached, 10);
  const Tokens never = Sequence(300, 16);
  Serve(never, {.write_limit = 0});
  EXPECT_EQ(Serve(never, {.write_limit = 0}).cached, 0);
}

TEST_P(RetentionTest, RequestsThatRunComeBeforeWhatIsKept) {
  Make(16, 100);
  Serve(Sequence(0, 32), Keep(32, 300));
  Serve(Sequence(100, 32), Keep(32, 600));
  EXPECT_EQ(Serve(Sequence(1000, 40)).cached, 0) << "10 of 16 blocks, of which 16 are kept";
  EXPECT_EQ(cache_->stats().retention_evicted[0], 10u);
  EXPECT_EQ(Serve(Sequence(100, 32)).cached, 24) << "the one that is kept longer has lost the fewer blocks";
}

TEST_P(RetentionTest, RandomRequestsKeepTheInvariants) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Prng random(seed);
    Make(24, static_cast<int>(random.Below(101)));
    for (int event = 0; event < 60; ++event) {
      PrefixUse use;
      int end = 0;
      for (uint64_t i = random.Below(3); i-- > 0;) {
        end += 1 + static_cast<int>(random.Below(8));
        use.breakpoints.push_back({end, 1.0 + static_cast<double>(random.Below(50))});
      }
      if (random.Below(4) == 0) use.write_limit = end;
      use.owner = random.Below(3);
      const int size = std::max(1, end) + static_cast<int>(random.Below(12));
      Serve(Sequence(static_cast<TokenId>(100 * random.Below(4)), size), std::move(use));
      At(now_ + static_cast<double>(random.Below(10)));
      ASSERT_LE(cache_->kept_blocks(), cache_->most_kept_blocks());
    }
    At(now_ + 100);
    EXPECT_EQ(cache_->kept_blocks(), 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, RetentionTest, testing::Values("adaptive", "2q", "lru"));

}  // namespace
}  // namespace prefixd
