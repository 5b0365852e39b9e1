#include "cache/prefix_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <numeric>
#include <optional>
#include <ostream>
#include <utility>

#include "base/check.h"
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
  void Make(uint32_t blocks, bool reuse = true, KeyFunction key = ChildKey) {
    memory_.emplace(4, blocks);
    key_ = key;
    cache_ = std::make_unique<PrefixCache>(
        PrefixCache::Options{
            .block_tokens = 4, .blocks = blocks, .reuse = reuse, .eviction = "lru", .key = std::move(key)},
        &*memory_);
  }
  void TearDown() override {
    if (cache_) cache_->CheckInvariants();
  }

  Lease Open(PrefixCache::Reads reads = PrefixCache::Reads::kYes, const BlockKey& root = kRoot) {
    return cache_->Open(&keys_.emplace_back(root, 4, key_), reads);
  }
  int CountSharedBlocks(const Tokens& tokens) {
    BlockKeys keys(kRoot, 4, key_);
    keys.Extend(tokens);
    return cache_->CountSharedBlocks(keys, tokens);
  }
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
    cache_->EndStep(true);
    memory_->Compute(lease, tokens, size);
    cache_->Commit(lease, tokens);
    cache_->CheckInvariants();
    memory_->ExpectHolds(lease, tokens);
  }
  // One request from beginning to end; what it found in the cache.
  int Serve(const Tokens& tokens) {
    Lease lease = Open();
    const PrefixCache::Acquired acquired = Acquire(lease, tokens);
    PREFIXD_CHECK(acquired.state == State::kReady) << "a request that waits is not served by this";
    ComputeAll(lease, tokens);
    return acquired.tokens();
  }
  const PrefixCacheStats& stats() const { return cache_->stats(); }

  KeyFunction key_;
  std::deque<BlockKeys> keys_;
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
  Lease other = Open(PrefixCache::Reads::kYes, BlockKey{3, 4});
  EXPECT_EQ(Acquire(other, Range(0, 9)).tier_tokens[0], 0);
}

TEST_F(PrefixCacheTest, PartlyMatchingBlockIsCopied) {
  Make(8);
  Serve(Range(0, 9));
  const Tokens prompt = Range(0, 6) + Range(50, 3);
  Lease lease = Open();
  const auto acquired = Acquire(lease, prompt);
  EXPECT_EQ(acquired.state, State::kReady) << "nobody waits for a copy";
  EXPECT_EQ(acquired.tier_tokens[0], 6);
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

TEST_F(PrefixCacheTest, WhoDoesNotReadTakesNothingAndGivesAll) {
  Make(8);
  Serve(Range(0, 9));
  const Tokens prompt = Range(0, 17);
  Lease lease = Open(PrefixCache::Reads::kNo);
  {
    Lease holder = Open();
    Acquire(holder, Range(0, 9));
    EXPECT_EQ(CountSharedBlocks(prompt), 2);
  }
  EXPECT_EQ(Acquire(lease, prompt).state, State::kReady);
  EXPECT_EQ(lease.ready(), 0);
  EXPECT_THAT(cache_->ExplainMisses(lease, prompt),
              ElementsAre(PrefixCache::MissRun{MissReason::kDisabled, 17}));
  ComputeAll(lease, prompt);
  EXPECT_EQ(stats().deduplicated_blocks, 2u) << "those of the first request";
  EXPECT_EQ(stats().committed_blocks, 4u);
  lease.Release();
  EXPECT_EQ(stats().hit_tokens, 8u) << "those of the holder";
  EXPECT_EQ(Serve(prompt), 16);
}

TEST_F(PrefixCacheTest, NobodyWaitsForWhatWasCachedToBeComputedAgain) {
  Make(16);
  Serve(Range(0, 9));
  const Tokens prompt = Range(0, 17);
  Lease bypass = Open(PrefixCache::Reads::kNo);
  EXPECT_EQ(Acquire(bypass, prompt).state, State::kReady);
  Lease reader = Open();
  EXPECT_EQ(Acquire(reader, prompt).state, State::kReady) << "8 tokens ahead of the one that computes all";
  EXPECT_EQ(reader.ready(), 8);
  Lease second = Open(PrefixCache::Reads::kNo);
  EXPECT_EQ(Acquire(second, prompt).state, State::kReady) << "it waits for nobody";
}

TEST_F(PrefixCacheTest, AnotherWaitsForWhoDoesNotReadIfBothBeginAtNothing) {
  Make(16);
  const Tokens prompt = Range(0, 9);
  Lease bypass = Open(PrefixCache::Reads::kNo);
  EXPECT_EQ(Acquire(bypass, prompt).state, State::kReady);
  Lease reader = Open();
  EXPECT_EQ(Acquire(reader, prompt).state, State::kWaiting);
  ComputeAll(bypass, prompt);
  const auto acquired = Acquire(reader, prompt);
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.shared_tokens, 8);
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
  EXPECT_EQ(acquired.tier_tokens[0], 0);
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

TEST_F(PrefixCacheTest, BlockCutByTheLimitIsWaitedForAndCopied) {
  Make(8);
  const Tokens prompt = Range(0, 8);
  Lease first = Open();
  EXPECT_EQ(Acquire(first, prompt).state, State::kReady);
  Lease second = Open();
  EXPECT_EQ(Acquire(second, prompt).state, State::kWaiting);
  ComputeAll(first, prompt);
  const auto acquired = Acquire(second, prompt);
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.shared_tokens, 7);
  EXPECT_EQ(second.ready(), 7);
}

TEST_F(PrefixCacheTest, CountsTheBlocksThatOthersHoldOrCompute) {
  Make(8);
  Serve(Range(0, 9));
  const Tokens prompt = Range(0, 17);
  EXPECT_EQ(CountSharedBlocks(prompt), 0) << "cached, but leased by nobody";
  Lease other = Open();
  EXPECT_EQ(Acquire(other, Range(0, 13)).tier_tokens[0], 8);
  EXPECT_EQ(CountSharedBlocks(prompt), 3) << "two leased, one claimed";
}

TEST_F(PrefixCacheTest, ReadyIsFinal) {
  Make(8);
  const Tokens prompt = Range(0, 9);
  Lease late = Open();
  EXPECT_EQ(Acquire(late, Range(0, 3)).state, State::kReady);
  Serve(prompt);
  const auto again = Acquire(late, prompt);
  EXPECT_EQ(again.state, State::kReady);
  EXPECT_EQ(again.tokens(), 0);
}

TEST_F(PrefixCacheTest, LongestPartlyMatchingBlockIsChosen) {
  Make(16);
  for (const Tokens& block :
       {Tokens{1, 2, 3, 9}, Tokens{1, 2, 9, 9}, Tokens{1, 9, 9, 9}, Tokens{2, 2, 3, 4}}) {
    Serve(block + Tokens{0});
  }
  EXPECT_EQ(Serve({1, 2, 3, 4, 5}), 3);
  EXPECT_EQ(Serve({1, 2, 8, 8, 8}), 2);
  EXPECT_EQ(Serve({3, 2, 8, 8, 8}), 0);
}

TEST_F(PrefixCacheTest, WhatAFailedStepCopiedIsComputedAndCounted) {
  Make(8);
  Serve(Range(0, 9));
  const Tokens prompt = Range(0, 6) + Range(50, 3);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, prompt).state, State::kReady);
  EXPECT_EQ(lease.ready(), 6);
  cache_->EndStep(false);
  cache_->CheckInvariants();
  EXPECT_EQ(lease.ready(), 4);
  EXPECT_EQ(stats().failed_copies, 1u);
  ComputeAll(lease, prompt);
  lease.Release();
  EXPECT_EQ(Serve(prompt), 8);
}

TEST_F(PrefixCacheTest, AShorterMatchThanACopyIsWorthIsNotTaken) {
  memory_.emplace(4, 8);
  cache_ = std::make_unique<PrefixCache>(
      PrefixCache::Options{.block_tokens = 4, .blocks = 8, .eviction = "lru", .min_copy_tokens = 3},
      &*memory_);
  key_ = ChildKey;
  Serve(Range(0, 5));
  EXPECT_EQ(Serve(Range(0, 2) + Range(50, 3)), 0);
  EXPECT_EQ(Serve(Range(0, 3) + Range(60, 3)), 3);
}

TEST_F(PrefixCacheTest, WithoutRoomForACopyGoesOnWithout) {
  Make(3);
  Serve(Range(0, 9));
  Lease holder = Open();
  ASSERT_TRUE(cache_->Reserve(holder, 4));  // the last free block
  Lease lease = Open();
  const auto acquired = Acquire(lease, Range(0, 6) + Range(50, 3));
  EXPECT_EQ(acquired.state, State::kReady);
  EXPECT_EQ(acquired.tier_tokens[0], 4);
  EXPECT_EQ(stats().partial_copies, 0u);
}

TEST_F(PrefixCacheTest, EvictsTheLeastRecentlyUsedTailFirst) {
  Make(5);
  Serve(Range(0, 9));
  Serve(Range(100, 9));
  EXPECT_EQ(Serve(Range(0, 9)), 8);    // the second is the older one now,
  EXPECT_EQ(Serve(Range(100, 5)), 4);  // but its head is not
  EXPECT_EQ(cache_->cached_blocks(), 4u);
  Lease lease = Open();
  ASSERT_TRUE(cache_->Reserve(lease, 8));
  lease.Release();
  EXPECT_EQ(stats().evicted_blocks[0], 1u);
  EXPECT_EQ(Serve(Range(0, 9)), 8);
  EXPECT_EQ(Serve(Range(100, 9)), 4) << "the tail is gone, the head is there";
}

TEST_F(PrefixCacheTest, ReserveChangesNothingWhenTheRestIsLeased) {
  Make(4);
  Lease first = Open();
  ASSERT_TRUE(cache_->Reserve(first, 9));
  Serve(Range(0, 3));
  Lease second = Open();
  EXPECT_FALSE(cache_->Reserve(second, 5));
  EXPECT_TRUE(second.blocks().empty());
  EXPECT_TRUE(cache_->Reserve(second, 4));
  EXPECT_TRUE(cache_->Reserve(second, 2)) << "is covered already";
  EXPECT_EQ(second.blocks().size(), 1u);
  EXPECT_EQ(stats().evicted_blocks[0], 0u);
}

TEST_F(PrefixCacheTest, GeneratedTokensAreFoundByTheNextTurn) {
  Make(8);
  Tokens text = Range(0, 5);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, text).state, State::kReady);
  ComputeAll(lease, text);
  while (text.size() < 13) {
    text.push_back(static_cast<TokenId>(text.size() * 7));
    ComputeAll(lease, text);
  }
  lease.Release();
  EXPECT_EQ(Serve(text + Range(90, 3)), 12);
}

TEST_F(PrefixCacheTest, WithoutReuseNothingIsFoundSharedOrKept) {
  Make(8, /*reuse=*/false);
  Lease first = Open();
  Lease second = Open();
  EXPECT_EQ(Acquire(first, Range(0, 9)).state, State::kReady);
  EXPECT_EQ(Acquire(second, Range(0, 9)).state, State::kReady) << "nothing is claimed";
  ComputeAll(first, Range(0, 9));
  first.Release();
  EXPECT_EQ(cache_->free_blocks(), 8u);
  EXPECT_EQ(Serve(Range(0, 9)), 0);
  EXPECT_THAT(cache_->ExplainMisses(second, Range(0, 9)),
              ElementsAre(PrefixCache::MissRun{MissReason::kDisabled, 9}));
}

TEST_F(PrefixCacheTest, ExplainsWhatIsMissing) {
  Make(3);
  Serve(Range(0, 9));
  Serve(Range(100, 9));  // evicts it
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Range(0, 8) + Range(50, 5)).tier_tokens[0], 0);
  EXPECT_THAT(cache_->ExplainMisses(lease, Range(0, 8) + Range(50, 5)),
              ElementsAre(PrefixCache::MissRun{MissReason::kEvictedDevice, 8},
                          PrefixCache::MissRun{MissReason::kNeverSeen, 4},
                          PrefixCache::MissRun{MissReason::kBlockTail, 1}));
}

TEST_F(PrefixCacheTest, ExplainsWhatTheLimitCutsAsTail) {
  Make(8);
  Serve(Range(0, 8));
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, Range(0, 8), 3).tier_tokens[0], 3);
  EXPECT_THAT(cache_->ExplainMisses(lease, Range(0, 8)),
              ElementsAre(PrefixCache::MissRun{MissReason::kBlockTail, 5}));
}

TEST_F(PrefixCacheTest, CollidingBlockStaysPrivateAndIsCounted) {
  Make(8, true, [](const BlockKey&, std::span<const TokenId>) { return BlockKey{7, 7}; });
  Serve(Range(0, 5));
  EXPECT_EQ(Serve(Range(50, 5)), 0);
  EXPECT_EQ(stats().key_collisions, 1u);
  EXPECT_EQ(cache_->cached_blocks(), 1u);
  EXPECT_EQ(Serve(Range(0, 5)), 4);
}

TEST_F(PrefixCacheTest, LeaseMoves) {
  Make(4);
  Lease first = Open();
  ASSERT_TRUE(cache_->Reserve(first, 4));
  Lease second = std::move(first);
  EXPECT_FALSE(first.open());
  EXPECT_TRUE(first.blocks().empty());
  EXPECT_EQ(first.ready(), 0);
  EXPECT_EQ(second.blocks().size(), 1u);
  second = Open();
  EXPECT_EQ(cache_->free_blocks(), 4u) << "what it held before is free";
  second.Release();
  second.Release();
}

// Equal prompts at once, on trees that earlier requests have left behind. The tree may share any number of
// first tokens with the prompts, and may branch off in any of their blocks. One lease computes; each of the
// others waits, and computes less than a block.
TEST_F(PrefixCacheTest, EqualPromptsAreComputedOnceOnAnyTree) {
  const Tokens prompt = Range(1000, 41);
  for (int shared = 0; shared <= 40; ++shared) {
    for (const int more : {1, 4, 9}) {
      SCOPED_TRACE(testing::Message() << shared << " tokens shared, " << more << " after them");
      Make(64);
      Tokens used(prompt.begin(), prompt.begin() + shared);
      Serve(used + Range(5000, more));
      std::vector<Lease> leases(5);
      for (Lease& lease : leases) lease = Open();
      std::vector<int> computed(leases.size(), 0);
      for (int step = 0; step < 20; ++step) {
        for (size_t i = 0; i < leases.size(); ++i) {
          if (computed[i] > 0) continue;
          if (Acquire(leases[i], prompt).state != State::kReady) continue;
          computed[i] = static_cast<int>(prompt.size()) - leases[i].ready();
        }
        for (size_t i = 0; i < leases.size(); ++i) {  // 12 tokens of each in one step
          const int ready = leases[i].ready();
          if (computed[i] == 0 || ready == static_cast<int>(prompt.size())) continue;
          ComputeAll(leases[i], Tokens(prompt.begin(), prompt.begin() + std::min(ready + 12, 41)));
        }
      }
      const int cached = std::min(shared, (shared + more) / 4 * 4);  // of full blocks, which alone are kept
      EXPECT_EQ(computed[0], 41 - cached) << "it reuses all that matches";
      for (size_t i = 1; i < leases.size(); ++i) EXPECT_EQ(computed[i], 1) << "lease " << i;
    }
  }
}

// One hash per block that is touched, however large the tree: nothing is scanned.
TEST_F(PrefixCacheTest, CostIsThatOfTheBlocksTouched) {
  const auto keys = std::make_shared<uint64_t>(0);  // the cache of the fixture outlives this function
  Make(64, true, [keys](const BlockKey& parent, std::span<const TokenId> tokens) {
    ++*keys;
    return ChildKey(parent, tokens);
  });
  for (TokenId i = 0; i < 30; ++i) Serve(Range(i * 100, 8));
  Lease lease = Open();
  Tokens text = Range(0, 9);
  cache_->Acquire(lease, text, 8);
  cache_->EndStep(true);
  ASSERT_TRUE(cache_->Reserve(lease, 40));
  cache_->Commit(lease, text);
  *keys = 0;
  for (int i = 0; i < 8; ++i) {  // 8 tokens, 2 blocks
    text.push_back(i);
    cache_->Commit(lease, text);
  }
  EXPECT_EQ(*keys, 2u);
}

TEST(MissReason, HasTheNamesOfTheMetric) {
  EXPECT_EQ(MissReasonName(MissReason::kNeverSeen), "never_seen");
  EXPECT_EQ(MissReasonName(MissReason::kBlockTail), "block_tail");
  EXPECT_EQ(MissReasonName(MissReason::kTemplateDiverged), "template_diverged");
  EXPECT_EQ(MissReasonName(MissReason::kDisabled), "disabled");
}

using PrefixCacheDeathTest = PrefixCacheTest;

TEST_F(PrefixCacheDeathTest, RefusesMisuse) {
  Make(4);
  Serve(Range(0, 9));
  Lease lease = Open();
  EXPECT_DEATH(cache_->ExplainMisses(lease, Range(0, 4)), "before Acquire has said kReady");
  EXPECT_DEATH(cache_->Acquire(lease, Range(0, 4), 5), "5 of 4");
  EXPECT_DEATH(cache_->Commit(lease, Range(0, 4)), "before Acquire has said kReady");
  const Tokens tokens = Range(0, 6) + Range(50, 3);
  EXPECT_EQ(Acquire(lease, tokens).state, State::kReady);
  EXPECT_DEATH(cache_->Commit(lease, tokens), "before EndStep");
  cache_->EndStep(true);
  EXPECT_DEATH(cache_->Commit(lease, tokens), "were not reserved");
  EXPECT_DEATH(cache_.reset(), "1 leases outlive the cache");
}

}  // namespace
}  // namespace prefixd
