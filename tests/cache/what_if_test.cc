// WhatIf against caches of the sizes that it is about.
#include "cache/what_if.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/prng.h"
#include "tests/support/rounds.h"

namespace prefixd {
namespace {

constexpr BlockKey kTestRoot{.low = 1, .high = 2};
constexpr int kBlockTokens = 4;
using Tokens = std::vector<TokenId>;

class NeverCopies final : public DeviceCopier {
 public:
  void CopyBlock(BlockId, BlockId) override {}
};

// Conversations that grow by a turn at a time, in a random order: the first ones come more often.
class Conversations {
 public:
  Conversations(uint64_t seed, size_t count) : random_(seed), conversations_(count) {}

  const Tokens& Next() {
    const double unit = random_.Unit();
    Tokens& tokens =
        conversations_[static_cast<size_t>(unit * unit * static_cast<double>(conversations_.size()))];
    if (tokens.size() > 60 * kBlockTokens) tokens.clear();
    const size_t turn = kBlockTokens * (1 + random_.Below(8));
    for (size_t i = 0; i < turn; ++i) tokens.push_back(static_cast<TokenId>(random_.Below(50'000)));
    return tokens;
  }

 private:
  Prng random_;
  std::vector<Tokens> conversations_;
};

class Measured {
 public:
  Measured(uint32_t blocks, std::string eviction)
      : cache_({.block_tokens = kBlockTokens, .blocks = blocks, .eviction = std::move(eviction)}, &copier_) {}

  void Serve(const Tokens& tokens) {
    BlockKeys keys(kTestRoot, kBlockTokens);
    Lease lease = cache_.Open(&keys);
    const auto acquired = cache_.Acquire(lease, tokens, static_cast<int>(tokens.size()));
    hits_ += static_cast<uint64_t>(acquired.tokens() / kBlockTokens * kBlockTokens);
    ASSERT_TRUE(cache_.Reserve(lease, static_cast<int>(tokens.size())));
    cache_.EndStep(true);
    cache_.Commit(lease, tokens);
  }
  uint64_t hits() const { return hits_; }

 private:
  NeverCopies copier_;
  PrefixCache cache_;
  uint64_t hits_ = 0;
};

uint64_t Hits(const WhatIf& what_if, Tier tier, size_t scale) {
  return what_if.hit_tokens()[static_cast<size_t>(tier)][scale];
}

void Add(WhatIf& what_if, const Tokens& tokens, int prompt_tokens) {
  BlockKeys keys(kTestRoot, kBlockTokens);
  keys.Extend(tokens);
  what_if.Add(keys, prompt_tokens);
}

// A small tier is not sampled: the numbers are those of caches of these sizes.
TEST(WhatIf, ASmallTierIsExact) {
  WhatIf what_if({.block_tokens = kBlockTokens, .blocks = {300, 0, 0}});
  Measured half(150, ""), same(300, ""), twice(600, ""), four(1200, "");
  Conversations conversations(1, 60);
  for (int i = 0; i < 3000; ++i) {
    const Tokens& tokens = conversations.Next();
    Add(what_if, tokens, static_cast<int>(tokens.size()));
    for (Measured* cache : {&half, &same, &twice, &four}) cache->Serve(tokens);
  }
  EXPECT_EQ(Hits(what_if, Tier::kDevice, 0), half.hits());
  EXPECT_EQ(Hits(what_if, Tier::kDevice, 1), same.hits());
  EXPECT_EQ(Hits(what_if, Tier::kDevice, 2), twice.hits());
  EXPECT_EQ(Hits(what_if, Tier::kDevice, 3), four.hits());
  EXPECT_LT(half.hits(), same.hits());
  EXPECT_LT(same.hits(), twice.hits());
  for (size_t scale = 0; scale < kWhatIfScales.size(); ++scale)
    EXPECT_EQ(Hits(what_if, Tier::kHost, scale), 0u) << "there is no such tier";
}

// One block in sixteen is seen.
TEST(WhatIf, ALargeTierIsEstimated) {
  if (testing_support::kSanitized) GTEST_SKIP() << "it is about numbers, which sanitizers do not change";
  constexpr uint32_t kBlocks = 8192;
  WhatIf what_if({.block_tokens = kBlockTokens, .blocks = {0, kBlocks, kBlocks}});
  Measured half(kBlocks / 2, ""), twice(2 * kBlocks, ""), half_lru(kBlocks / 2, "lru");
  Conversations conversations(2, 1500);
  double asked = 0;
  for (int i = 0; i < 30'000; ++i) {
    const Tokens& tokens = conversations.Next();
    asked += static_cast<double>(tokens.size());
    Add(what_if, tokens, static_cast<int>(tokens.size()));
    for (Measured* cache : {&half, &twice, &half_lru}) cache->Serve(tokens);
  }
  const auto share = [&](uint64_t hits) { return static_cast<double>(hits) / asked; };
  EXPECT_NEAR(share(Hits(what_if, Tier::kHost, 0)), share(half.hits()), 0.02);
  EXPECT_NEAR(share(Hits(what_if, Tier::kHost, 2)), share(twice.hits()), 0.02);
  EXPECT_NEAR(share(Hits(what_if, Tier::kDisk, 0)), share(half_lru.hits()), 0.02);
  EXPECT_GT(share(twice.hits()) - share(half.hits()), 0.1) << "the sizes matter here";
}

TEST(WhatIf, AnAnswerIsKeptButNotCountedAsAHit) {
  WhatIf what_if({.block_tokens = kBlockTokens, .blocks = {100, 0, 0}});
  const Tokens tokens{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  Add(what_if, tokens, 4);
  Add(what_if, tokens, 4);
  EXPECT_EQ(Hits(what_if, Tier::kDevice, 1), 4u);
  Add(what_if, tokens, 12);
  EXPECT_EQ(Hits(what_if, Tier::kDevice, 1), 16u) << "with the answer of the first";
}

TEST(WhatIf, ARequestLongerThanTheTierLeavesItsBeginning) {
  WhatIf what_if({.block_tokens = kBlockTokens, .blocks = {2, 0, 0}});
  Tokens tokens(40);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<TokenId>(i);
  for (int i = 0; i < 2; ++i) Add(what_if, tokens, 40);
  EXPECT_EQ(Hits(what_if, Tier::kDevice, 0), 4u);
  EXPECT_EQ(Hits(what_if, Tier::kDevice, 1), 8u);
  EXPECT_EQ(Hits(what_if, Tier::kDevice, 3), 32u);
  Add(what_if, {1, 2, 3}, 3);  // less than a block
  EXPECT_EQ(Hits(what_if, Tier::kDevice, 3), 32u);
}

TEST(WhatIf, TheMemoryDoesNotGrowWithTheTiers) {
  const auto bytes = [](uint64_t blocks) {
    return WhatIf::MaxMemoryBytes({.block_tokens = kBlockTokens, .blocks = {blocks, blocks, blocks}});
  };
  EXPECT_LE(bytes(uint64_t{1} << 40), bytes(1024) + 1);
  EXPECT_LT(bytes(1024), size_t{36} << 20);
  EXPECT_EQ(bytes(0), 0u);
}

}  // namespace
}  // namespace prefixd
