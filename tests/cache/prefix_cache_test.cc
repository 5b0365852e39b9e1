#include "cache/prefix_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <optional>

#include "tests/cache/token_memory.h"

namespace prefixd {

bool operator==(const PrefixCache::MissRun& a, const PrefixCache::MissRun& b) {
  return a.reason == b.reason && a.tokens == b.tokens;
}
void PrintTo(const PrefixCache::MissRun& run, std::ostream* out) {
  *out << MissReasonName(run.reason) << ":" << run.tokens;
}

namespace {

using State = PrefixCache::AcquireState;
using Tokens = std::vector<TokenId>;
using testing::ElementsAre;

constexpr BlockKey kRoot{1, 2};

// `count` tokens from `first` on.
Tokens Range(TokenId first, int count) {
  Tokens tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

Tokens operator+(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// A cache of blocks of four tokens, and the engine's side of it.
class PrefixCacheTest : public testing::Test {
 protected:
  void Make(uint32_t blocks, bool reuse = true, PrefixCache::KeyFunction key = ChildKey) {
    memory_.emplace(4, blocks);
    cache_ = std::make_unique<PrefixCache>(
        PrefixCache::Options{.block_tokens = 4, .blocks = blocks, .reuse = reuse, .key = std::move(key)}, &*memory_);
  }
  void TearDown() override {
    if (cache_) cache_->CheckInvariants();
  }

  Lease Open() { return cache_->Open(kRoot); }
  PrefixCache::Acquired Acquire(Lease& lease, const Tokens& tokens, int limit = -1) {
    const auto acquired =
        cache_->Acquire(lease, tokens, limit < 0 ? static_cast<int>(tokens.size()) - 1 : limit);
    cache_->CheckInvariants();
    memory_->ExpectHolds(lease, tokens);
    return acquired;
  }
  void ComputeAll(Lease& lease, const Tokens& tokens) {
    const int size = static_cast<int>(tokens.size());
    ASSERT_TRUE(cache_->Reserve(lease, size));
    memory_->Compute(lease, tokens, size);
    cache_->Commit(lease, tokens);
    cache_->CheckInvariants();
    memory_->ExpectHolds(lease, tokens);
  }
  // One request from beginning to end; what it found in the cache.
  int Serve(const Tokens& tokens) {
    Lease lease = Open();
    int taken = 0;
    PrefixCache::Acquired acquired;
    while ((acquired = Acquire(lease, tokens)).state != State::kReady) {
      EXPECT_EQ(acquired.state, State::kCopying);
      taken += acquired.device_tokens;
      memory_->FinishAll();
      cache_->Poll();
    }
    taken += acquired.device_tokens;
    ComputeAll(lease, tokens);
    return taken;
  }
  const PrefixCacheStats& stats() const { return cache_->stats(); }

  std::optional<TokenMemory> memory_;
  std::unique_ptr<PrefixCache> cache_;
};

TEST_F(PrefixCacheTest, SecondRequestFindsTheFullBlocksOfTheFirst) {
  Make(8);
  EXPECT_EQ(Serve(Range(0, 10)), 0);
  EXPECT_EQ(cache_->cached_blocks(), 2u);
  EXPECT_EQ(cache_->free_blocks(), 6u);
  EXPECT_EQ(Serve(Range(0, 10)), 8);
  EXPECT_EQ(stats().committed_blocks, 2u);
  EXPECT_EQ(stats().hit_tokens, 8u);
  EXPECT_EQ(cache_->leased_blocks(), 0u);
}

TEST_F(PrefixCacheTest, NamespacesShareNothing) {
  Make(8);
  Serve(Range(0, 9));
  Lease other = cache_->Open(BlockKey{3, 4});
  EXPECT_EQ(Acquire(other, Range(0, 9)).device_tokens, 0);
}

TEST_F(PrefixCacheTest, PartlyMatchingBlockIsCopied) {
  Make(8);
  Serve(Range(0, 9));
  const Tokens prompt = Range(0, 6) + Range(50, 3);
  Lease lease = Open();
  auto acquired = Acquire(lease, prompt);
  EXPECT_EQ(acquired.state, State::kCopying);
  EXPECT_EQ(acquired.device_tokens, 4);
  EXPECT_EQ(Acquire(lease, prompt).state, State::kCopying);
  memory_->FinishAll();
  cache_->Poll();
  acquired = Acquire(lease, prompt);
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.device_tokens, 2);
  EXPECT_EQ(lease.ready(), 6);
  ComputeAll(lease, prompt);
  lease.Release();
  EXPECT_EQ(stats().partial_copies, 1u);
  EXPECT_EQ(Serve(Range(0, 9)), 8) << "the source is as it was";
  EXPECT_EQ(Serve(prompt), 8);
}

TEST_F(PrefixCacheTest, ExactlyCachedPromptIsCutByTheLimitAndCopied) {
  Make(8);
  Serve(Range(0, 8));
  EXPECT_EQ(Serve(Range(0, 8)), 7);
  EXPECT_EQ(stats().deduplicated_blocks, 1u);
  EXPECT_EQ(cache_->cached_blocks(), 2u);
}

TEST_F(PrefixCacheTest, AnotherWaitsForTheBlockThatIsBeingComputed) {
  Make(8);
  const Tokens prompt = Range(0, 9);
  Lease first = Open();
  EXPECT_EQ(Acquire(first, prompt).state, State::kReady);
  Lease second = Open();
  EXPECT_EQ(Acquire(second, prompt).state, State::kWaiting);
  ComputeAll(first, prompt);
  const auto acquired = Acquire(second, prompt);
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.device_tokens, 0);
  EXPECT_EQ(acquired.shared_tokens, 8);
}

TEST_F(PrefixCacheTest, ReleasedClaimGoesToTheNextWhoAsks) {
  Make(8);
  const Tokens prompt = Range(0, 9);
  Lease first = Open();
  Lease second = Open();
  Lease third = Open();
  EXPECT_EQ(Acquire(first, prompt).state, State::kReady);
  EXPECT_EQ(Acquire(second, prompt).state, State::kWaiting);
  EXPECT_EQ(Acquire(third, prompt).state, State::kWaiting);
  first.Release();
  EXPECT_EQ(Acquire(third, prompt).state, State::kReady);
  EXPECT_EQ(Acquire(second, prompt).state, State::kWaiting);
}

}  // namespace
}  // namespace prefixd
