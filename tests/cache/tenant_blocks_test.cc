// What tenants are guaranteed of a tier survives what others do, and no tenant has more than its share.
#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "cache/eviction.h"
#include "cache/prefix_cache.h"
#include "tests/cache/token_memory.h"

namespace prefixd {
namespace {

using Tokens = std::vector<TokenId>;
constexpr int kBlock = 4;
constexpr uint32_t kBlocks = 20;
constexpr uint64_t kQuiet = 1, kFlood = 2, kOther = 3;

// `blocks` blocks of tokens that begin with `first`, and one token more.
Tokens Prompt(TokenId first, int blocks) {
  Tokens tokens(static_cast<size_t>(blocks * kBlock + 1));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

class TenantBlocksTest : public testing::TestWithParam<std::string_view> {
 protected:
  TenantBlocksTest() : memory_(kBlock, kBlocks) {
    cache_ = std::make_unique<PrefixCache>(
        PrefixCache::Options{.block_tokens = kBlock, .blocks = kBlocks, .eviction = std::string(GetParam())},
        &memory_);
  }
  static PrefixCache::TenantBlocks Share(uint64_t tenant, BlockShare device) {
    return {.tenant = tenant, .shares = {device}};
  }
  Lease Open(uint64_t tenant, uint64_t salt, PrefixUse use = {}) {
    return cache_->Open(&keys_.emplace_back(BlockKey{.low = salt, .high = tenant}, kBlock),
                        PrefixCache::Reads::kYes, std::move(use));
  }
  // Returns how many tokens were cached.
  int Serve(uint64_t tenant, const Tokens& tokens, PrefixUse use = {}, uint64_t salt = 0) {
    Lease lease = Open(tenant, salt, std::move(use));
    const int size = static_cast<int>(tokens.size());
    const int cached = cache_->Acquire(lease, tokens, size - 1).tokens();
    EXPECT_TRUE(cache_->Reserve(lease, size));
    cache_->EndStep(true);
    memory_.Compute(lease, tokens, size);
    cache_->Commit(lease, tokens);
    cache_->CheckInvariants();
    lease.Release();
    cache_->CheckInvariants();
    return cached;
  }
  void Flood(int prompts = 50) {
    for (int i = 0; i < prompts; ++i) Serve(kFlood, Prompt(next_ += 1000, 5));
  }
  uint32_t BlocksOf(size_t number) const { return cache_->tenant_blocks(number, Tier::kDevice); }

  TokenMemory memory_;
  std::deque<BlockKeys> keys_;
  TokenId next_ = 100'000;
  std::unique_ptr<PrefixCache> cache_;
};

TEST_P(TenantBlocksTest, AFloodEvictsNoneOfAnothersGuaranteedBlocks) {
  cache_->SetTenants({Share(kQuiet, {.guaranteed = 8})});
  Serve(kQuiet, Prompt(0, 4));
  Serve(kQuiet, Prompt(50, 4), {}, /*salt=*/7);
  Flood();
  EXPECT_EQ(BlocksOf(0), 8u);
  EXPECT_EQ(Serve(kQuiet, Prompt(0, 4)), 16);
  EXPECT_EQ(Serve(kQuiet, Prompt(50, 4), {}, /*salt=*/7), 16) << "all salts of a tenant share";
}

TEST_P(TenantBlocksTest, WithoutAGuaranteeTheFloodEvictsAll) {
  Serve(kQuiet, Prompt(0, 4));
  Flood();
  EXPECT_EQ(Serve(kQuiet, Prompt(0, 4)), 0);
}

TEST_P(TenantBlocksTest, OfWhatIsAboveTheGuaranteeTheLastUsedStays) {
  cache_->SetTenants({Share(kQuiet, {.guaranteed = 4})});
  Serve(kQuiet, Prompt(0, 4));
  Serve(kQuiet, Prompt(50, 4));
  Serve(kQuiet, Prompt(0, 4));
  Flood(100);
  EXPECT_GE(BlocksOf(0), 4u);
  // Which of those above it goes first is up to the policy.
  if (GetParam() != "adaptive") EXPECT_EQ(Serve(kQuiet, Prompt(0, 4)), 16);
}

TEST_P(TenantBlocksTest, ATenantThatIsAloneGetsTheWholeTier) {
  cache_->SetTenants({Share(kQuiet, {.guaranteed = 8}), Share(kFlood, {.guaranteed = 2})});
  for (int i = 0; i < 10; ++i) Serve(kFlood, Prompt(next_ += 1000, 2));
  EXPECT_EQ(BlocksOf(1), kBlocks - 1) << "a block is free after the token behind the last prompt";
  EXPECT_EQ(cache_->RoomFor({.high = kQuiet}), kBlocks - 2) << "what it is guaranteed";
  EXPECT_EQ(cache_->RoomFor({.high = kFlood}), kBlocks);
}

TEST_P(TenantBlocksTest, WhatOthersAreGuaranteedIsNoRoom) {
  cache_->SetTenants({Share(kQuiet, {.guaranteed = 8})});
  Serve(kQuiet, Prompt(0, 8));
  Lease flood = Open(kFlood, 0);
  EXPECT_EQ(cache_->RoomFor({.high = kFlood}), 12u);
  EXPECT_FALSE(cache_->Reserve(flood, 13 * kBlock));
  EXPECT_TRUE(cache_->Reserve(flood, 12 * kBlock));
  EXPECT_EQ(cache_->RoomFor({.high = kOther}), 0u);
  EXPECT_EQ(cache_->RoomFor({.high = kQuiet}), 8u) << "for itself it evicts what it has";
  Serve(kQuiet, Prompt(200, 7));
  EXPECT_EQ(BlocksOf(0), 8u - 1) << "and the token behind took one";
}

TEST_P(TenantBlocksTest, NobodyHasMoreThanItsShareAtRest) {
  cache_->SetTenants({Share(kQuiet, {.guaranteed = 2, .most = 6}), Share(kOther, {.most = 3})});
  Serve(kOther, Prompt(0, 2));
  for (int i = 0; i < 5; ++i) {
    Serve(kQuiet, Prompt(next_ += 1000, 5));
    EXPECT_LE(BlocksOf(0), 6u);
  }
  EXPECT_EQ(BlocksOf(0), 6u);
  EXPECT_EQ(Serve(kOther, Prompt(0, 2)), 8) << "it evicts its own while blocks are free";
  Serve(kOther, Prompt(next_ += 1000, 8));
  EXPECT_EQ(BlocksOf(1), 3u);
  EXPECT_EQ(cache_->cached_blocks(), 9u);
}

TEST_P(TenantBlocksTest, SharesChangeWhileTheCacheIsWarm) {
  Serve(kQuiet, Prompt(0, 4));
  Serve(kOther, Prompt(0, 6));
  cache_->SetTenants({Share(kOther, {.most = 4}), Share(kQuiet, {.guaranteed = 4})});
  cache_->CheckInvariants();
  EXPECT_EQ(BlocksOf(0), 4u);
  EXPECT_EQ(BlocksOf(1), 4u);
  Flood();
  EXPECT_EQ(Serve(kQuiet, Prompt(0, 4)), 16);
  cache_->SetTenants({});
  cache_->CheckInvariants();
  Flood();
  EXPECT_EQ(Serve(kQuiet, Prompt(0, 4)), 0);
}

TEST_P(TenantBlocksTest, WhatIsKeptForATimeCountsAsGuaranteed) {
  cache_->SetTenants({Share(kQuiet, {.guaranteed = 8})});
  Serve(kQuiet, Prompt(0, 4), {.breakpoints = {{.tokens = 4 * kBlock, .seconds = 60}}});
  Serve(kQuiet, Prompt(50, 4));
  Lease flood = Open(kFlood, 0);
  EXPECT_FALSE(cache_->Reserve(flood, 13 * kBlock));
  ASSERT_TRUE(cache_->Reserve(flood, 12 * kBlock));
  EXPECT_EQ(BlocksOf(0), 8u);
  flood.Release();
  EXPECT_EQ(Serve(kQuiet, Prompt(50, 4)), 16);
  EXPECT_EQ(Serve(kQuiet, Prompt(0, 4)), 16);
}

TEST_P(TenantBlocksTest, WhatATenantSaysHasEndedStaysGuaranteedAndGoesFirstForItself) {
  cache_->SetTenants({Share(kQuiet, {.guaranteed = 8, .most = 8})});
  Serve(kQuiet, Prompt(0, 4));
  Serve(kQuiet, Prompt(50, 3), {.hint = SessionHint::kEnded});
  Flood();
  EXPECT_EQ(Serve(kQuiet, Prompt(50, 3), {.hint = SessionHint::kEnded}), 12);
  Serve(kQuiet, Prompt(200, 3));
  EXPECT_EQ(Serve(kQuiet, Prompt(0, 4)), 16) << "it is older, and worth more";
}

TEST_P(TenantBlocksTest, WhoUsesTheTierKeepsItsPartBesideAFlood) {
  cache_->SetTenants({Share(kQuiet, {}), Share(kFlood, {})});
  Serve(kQuiet, Prompt(0, 4));  // of 5, a quarter of the tier
  for (int round = 0; round < 20; ++round) {
    Flood(4);
    EXPECT_EQ(Serve(kQuiet, Prompt(0, 4)), 4 * kBlock) << round;
  }
}

TEST_P(TenantBlocksTest, PartsAreInProportionToTheWeights) {
  cache_->SetTenants({Share(kQuiet, {.weight = 3}), Share(kFlood, {})});
  Serve(kQuiet, Prompt(0, 7));  // of 7.5, three quarters of the half
  for (int round = 0; round < 20; ++round) {
    Flood(4);
    EXPECT_EQ(Serve(kQuiet, Prompt(0, 7)), 7 * kBlock) << round;
  }
}

TEST_P(TenantBlocksTest, AFloodOfNobodyLeavesThePartsAsWell) {
  cache_->SetTenants({Share(kQuiet, {})});
  Serve(kQuiet, Prompt(0, 4));
  for (int round = 0; round < 20; ++round) {
    Flood(4);
    EXPECT_EQ(Serve(kQuiet, Prompt(0, 4)), 4 * kBlock) << round;
  }
}

TEST_P(TenantBlocksTest, WhoDoesNotUseTheTierLosesItsPart) {
  cache_->SetTenants({Share(kQuiet, {}), Share(kFlood, {}), Share(kOther, {.guaranteed = 2})});
  Serve(kQuiet, Prompt(0, 4));
  Serve(kOther, Prompt(50, 4));
  Flood(static_cast<int>(TenantEviction::kIdleTurns * kBlocks / 5 + 10));
  EXPECT_EQ(BlocksOf(0), 0u);
  EXPECT_EQ(BlocksOf(2), 2u) << "what it is guaranteed";
}

TEST_P(TenantBlocksTest, SequencesThatRunTakePartsBeforeTheyFail) {
  cache_->SetTenants({Share(kQuiet, {}), Share(kFlood, {}), Share(kOther, {.guaranteed = 2})});
  Serve(kOther, Prompt(50, 4));
  Serve(kQuiet, Prompt(0, 4));
  Lease flood = Open(kFlood, 0);
  EXPECT_EQ(cache_->RoomFor({.high = kFlood}), 18u);
  EXPECT_TRUE(cache_->Reserve(flood, 18 * kBlock));
  cache_->CheckInvariants();
  EXPECT_EQ(BlocksOf(0), 0u);
  EXPECT_EQ(BlocksOf(2), 2u);
}

INSTANTIATE_TEST_SUITE_P(Policies, TenantBlocksTest,
                         testing::ValuesIn(EvictionPolicyNames().begin(), EvictionPolicyNames().end()),
                         [](const auto& info) {
                           return info.param == "2q" ? std::string("two_queue") : std::string(info.param);
                         });

}  // namespace
}  // namespace prefixd
