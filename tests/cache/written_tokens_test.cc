// What Commit reports as newly reusable, compared with a plain model: the set of all token prefixes that an
// Acquire could take.
#include <gtest/gtest.h>

#include <deque>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "cache/prefix_cache.h"
#include "tests/cache/token_memory.h"

namespace prefixd {
namespace {

using Tokens = std::vector<TokenId>;
constexpr int kBlock = 4;
constexpr BlockKey kRoot{1, 2};

class WrittenTokensTest : public testing::Test {
 protected:
  void Make(uint32_t blocks, bool reuse = true) {
    memory_.emplace(kBlock, blocks);
    cache_ = std::make_unique<PrefixCache>(
        PrefixCache::Options{.block_tokens = kBlock, .blocks = blocks, .reuse = reuse, .eviction = "lru"},
        &*memory_);
  }

  struct Sequence {
    Tokens tokens;
    Lease lease;
    int written = 0;  // as reported by Commit
  };
  void Open(Sequence& sequence, PrefixCache::Reads reads = PrefixCache::Reads::kYes) {
    sequence.lease = cache_->Open(&keys_.emplace_back(kRoot, kBlock), reads);
  }
  // Takes what is cached, until the cache says that the rest is to be computed.
  bool Acquire(Sequence& sequence) {
    return cache_->Acquire(sequence.lease, sequence.tokens, static_cast<int>(sequence.tokens.size()) - 1)
               .state == PrefixCache::AcquireState::kReady;
  }
  // Computes up to `size` tokens and commits them.
  void Compute(Sequence& sequence, int size) {
    ASSERT_TRUE(cache_->Reserve(sequence.lease, size));
    cache_->EndStep(true);
    memory_->Compute(sequence.lease, sequence.tokens, size);
    const std::span<const TokenId> computed(sequence.tokens.data(), static_cast<size_t>(size));
    int end = 0;
    for (const PrefixCache::Run run : cache_->Commit(sequence.lease, computed)) {
      ASSERT_LT(run.begin, run.end);
      ASSERT_TRUE(end == 0 || run.begin > end) << "runs are ascending and apart";
      ASSERT_LE(run.end, size / kBlock * kBlock);
      end = run.end;
      sequence.written += run.end - run.begin;
    }
    cache_->CheckInvariants();
  }
  int Serve(Tokens tokens, PrefixCache::Reads reads = PrefixCache::Reads::kYes) {
    Sequence sequence{std::move(tokens), {}, 0};
    Open(sequence, reads);
    EXPECT_TRUE(Acquire(sequence));
    Compute(sequence, static_cast<int>(sequence.tokens.size()));
    return sequence.written;
  }

  std::deque<BlockKeys> keys_;
  std::optional<TokenMemory> memory_;
  std::unique_ptr<PrefixCache> cache_;
};

TEST_F(WrittenTokensTest, OnlyFullBlocksAndOnlyOnce) {
  Make(20);
  const Tokens tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  EXPECT_EQ(Serve(tokens), 8);
  EXPECT_EQ(Serve(tokens), 0);
  EXPECT_EQ(Serve(tokens, PrefixCache::Reads::kNo), 0) << "computed again, but not newly reusable";
  EXPECT_EQ(Serve({1, 2, 3, 4}), 0);
  EXPECT_EQ(Serve({1, 2, 3}), 0);
  EXPECT_EQ(cache_->stats().written_tokens, 8u);
}

TEST_F(WrittenTokensTest, ABlockThatDiffersCountsFromItsFirstOtherToken) {
  Make(20);
  EXPECT_EQ(Serve({1, 2, 3, 4, 5, 6, 7, 8}), 8);
  EXPECT_EQ(Serve({1, 2, 3, 4, 5, 6, 7, 9}), 1);
  EXPECT_EQ(Serve({1, 2, 3, 4, 5, 9, 9, 9}), 3);
  EXPECT_EQ(Serve({1, 2, 9, 9, 5, 6, 7, 8}), 6) << "the second block follows another prefix";
}

TEST_F(WrittenTokensTest, EqualPromptsThatAreComputedAtOnceCountOnce) {
  Make(20);
  const Tokens tokens = {1, 2, 3, 4, 5, 6, 7, 8};
  Sequence first{tokens, {}, 0}, second{tokens, {}, 0};
  Open(first);
  Open(second, PrefixCache::Reads::kNo);  // it does not wait for the first one
  ASSERT_TRUE(Acquire(first));
  ASSERT_TRUE(Acquire(second));
  Compute(second, 8);
  Compute(first, 8);
  EXPECT_EQ(second.written, 8);
  EXPECT_EQ(first.written, 0);
}

TEST_F(WrittenTokensTest, NothingIsReusableWithoutReuse) {
  Make(20, /*reuse=*/false);
  EXPECT_EQ(Serve({1, 2, 3, 4, 5, 6, 7, 8}), 0);
  EXPECT_EQ(cache_->stats().written_tokens, 0u);
}

TEST_F(WrittenTokensTest, WhatWasEvictedIsWrittenAgain) {
  Make(2);
  const Tokens first = {1, 2, 3, 4, 5, 6, 7, 8}, second = {9, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_EQ(Serve(first), 8);
  EXPECT_EQ(Serve(second), 8);
  EXPECT_EQ(Serve(first), 8);
}

// Without eviction, the counts of all sequences sum to the number of prefixes that can be taken, whatever the
// order is in which the blocks are computed.
TEST_F(WrittenTokensTest, CountsSumToWhatTheTreeHolds) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    keys_.clear();
    cache_.reset();
    Make(2000);
    Prng prng(seed);
    std::set<Tokens> reusable;
    uint64_t written = 0;
    std::deque<Sequence> running;
    int left = 60;
    while (left > 0 || !running.empty()) {
      if (left > 0 && (running.empty() || prng.Chance(0.4))) {
        --left;
        Sequence& sequence = running.emplace_back();
        sequence.tokens.resize(1 + prng.Below(24));
        for (TokenId& token : sequence.tokens) token = static_cast<TokenId>(prng.Chance(0.85) ? 1 : 2);
        Open(sequence, prng.Chance(0.2) ? PrefixCache::Reads::kNo : PrefixCache::Reads::kYes);
        continue;
      }
      Sequence& sequence = running[prng.Below(running.size())];
      const int size = static_cast<int>(sequence.tokens.size());
      if (!Acquire(sequence)) continue;  // another one computes its next block
      const int ready = sequence.lease.ready();
      Compute(sequence, ready + static_cast<int>(1 + prng.Below(static_cast<uint64_t>(size - ready))));
      ASSERT_FALSE(testing::Test::HasFatalFailure()) << "seed " << seed;
      if (sequence.lease.ready() < size) continue;
      for (int end = 1; end <= size / kBlock * kBlock; ++end)
        reusable.insert(Tokens(sequence.tokens.begin(), sequence.tokens.begin() + end));
      written += static_cast<uint64_t>(sequence.written);
      std::swap(sequence, running.back());
      running.pop_back();
    }
    ASSERT_EQ(written, reusable.size()) << "seed " << seed;
    ASSERT_EQ(cache_->stats().written_tokens, written) << "seed " << seed;
    ASSERT_EQ(cache_->stats().evicted_blocks[0], 0u);
  }
}

}  // namespace
}  // namespace prefixd
