// Purges and pins of operators, from trees that other requests have left warm.
#include <numeric>

#include "tests/cache/tiers_fixture.h"

namespace prefixd {
namespace {

using Kind = PrefixCache::PurgeScope::Kind;

constexpr BlockKey kOtherRoot{5, 6};

class PurgeTest : public TiersTest {
 protected:
  Lease OpenOther() { return cache_->Open(&keys_.emplace_back(kOtherRoot, 2)); }
  std::array<int, kTiers> ServeOther(const Tokens& tokens) {
    Lease lease = OpenOther();
    const auto acquired = Acquire(lease, tokens);
    Compute(lease, tokens);
    return acquired.tier_tokens;
  }
  PrefixCache::PurgeScope Prefix(const Tokens& tokens) {
    return {.kind = Kind::kPrefix, .node = Node(tokens), .key = KeyOf(tokens)};
  }
  // Deletes from the disk what a purge names there.
  void Begin(const PrefixCache::PurgeScope& scope) {
    ASSERT_TRUE(cache_->BeginPurge(scope));
    cache_->CheckInvariants();
    while (!cache_->ContinuePurge(1)) cache_->CheckInvariants();
    cache_->CheckInvariants();
    names_ = cache_->TakePurgedNames();
  }
  PrefixCache::Purged End(const std::vector<Tokens>& records = {}) {
    for (const Tokens& block : records) port_.records.erase(KeyOf(block));
    PrefixCache::Purged purged = cache_->EndPurge();
    cache_->CheckInvariants();
    return purged;
  }
  using TiersTest::End;
  // In calls of one node, between which the invariants hold.
  std::optional<PrefixCache::Pinned> Pin(const Tokens& tokens, bool pin = true) {
    PrefixCache::Pinning pinning{.node = Node(tokens), .key = KeyOf(tokens), .pin = pin};
    while (!cache_->Pin(&pinning, 1)) cache_->CheckInvariants();
    cache_->CheckInvariants();
    return pinning.result;
  }
  std::optional<PrefixCache::Pinned> Unpin(const Tokens& tokens) { return Pin(tokens, /*pin=*/false); }
  // A prompt of so many blocks.
  static Tokens Long(size_t blocks, TokenId first = 100) {
    Tokens tokens(2 * blocks);
    std::iota(tokens.begin(), tokens.end(), first);
    return tokens;
  }

  PrefixCache::PurgedNames names_;
};

// A turn of the engine thread gives calls 2,048 nodes; the costs of what they do follow from these counts.
constexpr uint32_t kTurn = 2048;
constexpr size_t kMostPurged = kTurn / 32 + 1, kMostListed = kTurn / 4 + 2, kMostPinned = kTurn / 32 + 1;

const Tokens kSystem = {1, 2, 3, 4}, kFirst = {1, 2, 3, 4, 5, 6, 7, 8}, kSecond = {1, 2, 3, 4, 9, 10};

TEST_F(PurgeTest, APrefixGoesFromAllTiersInMemoryAndItsSiblingStays) {
  Make({.blocks = 16, .host_blocks = 16});
  Serve(kFirst);
  Serve(kSecond);
  ServeOther(kFirst);
  SpillAll();
  ASSERT_EQ(Where(kFirst), "device host");
  Begin(Prefix(kFirst));
  const auto purged = End();
  EXPECT_EQ(purged.blocks, (std::array<uint64_t, kPoolTiers>{2, 2}));
  EXPECT_EQ(purged.in_use, 0u);
  EXPECT_EQ(names_.root, kTestRoot);
  EXPECT_THAT(names_.keys, testing::UnorderedElementsAre(KeyOf({1, 2, 3, 4, 5, 6}), KeyOf(kFirst)));
  EXPECT_EQ(Where(kFirst), "no node") << "no ghost of it is left";
  EXPECT_EQ(Serve(kSecond)[0], 6);
  EXPECT_EQ(Serve(kFirst)[0], 4) << "the system prompt belongs to both";
  EXPECT_EQ(ServeOther(kFirst)[0], 8) << "another tenant has its own";
}

TEST_F(PurgeTest, APrefixWithManyContinuationsGoesInPieces) {
  constexpr int kContinuations = 64;
  Make({.blocks = 100});
  Serve({7, 7, 7, 7});
  for (TokenId more = 10; more < 10 + kContinuations; ++more) Serve({1, 2, more, more});
  ASSERT_TRUE(cache_->BeginPurge(Prefix({1, 2})));
  int calls = 1;
  for (; !cache_->ContinuePurge(1); ++calls) {
    cache_->CheckInvariants();
    if (calls == kContinuations / 2) EvictFromDevice(60);  // of the ghosts some are forgotten
  }
  EXPECT_GT(calls, kContinuations) << "a call lists some children, or takes out one node";
  EXPECT_EQ(cache_->TakePurgedNames().keys.size(), 1u + kContinuations);
  End();
  EXPECT_EQ(Node({1, 2}), kNoNode);
  EXPECT_EQ(cache_->nodes(), 2u);
}

// One block that many prompts begin with, and a chain of as many blocks.
TEST_F(PurgeTest, ATurnTakesAFewNodesWhateverTheTree) {
  constexpr uint32_t kChildren = 700;
  for (const Kind kind : {Kind::kPrefix, Kind::kTenant, Kind::kAll}) {
    Make({.blocks = 2 * kChildren + 100});
    for (uint32_t i = 0; i < kChildren; ++i) Serve({1, 2, static_cast<TokenId>(i), 3});
    Serve(Long(kChildren));
    const bool of_prefix = kind == Kind::kPrefix;
    for (const Tokens& first :
         of_prefix ? std::vector<Tokens>{{1, 2}, Long(1)} : std::vector<Tokens>{{1, 2}}) {
      auto scope = Prefix(first);
      scope.kind = kind;
      scope.tenant = kTestRoot.high;
      ASSERT_TRUE(cache_->BeginPurge(scope));
      const size_t all = of_prefix ? kChildren : 2 * kChildren;
      size_t turns = 1, before = cache_->nodes();
      for (bool done = false; !done; ++turns) {
        done = cache_->ContinuePurge(kTurn);
        EXPECT_LE(before - cache_->nodes(), kMostPurged) << "turn " << turns;
        before = cache_->nodes();
      }
      EXPECT_GE(turns, all / kMostPurged + (of_prefix ? all / kMostListed : 0));
      EXPECT_EQ(cache_->TakePurgedNames().keys.size(), !of_prefix ? 0 : first[0] == 1 ? 1 + all : all);
      End();
    }
    EXPECT_EQ(cache_->nodes(), 0u);
    TearDown();
    cache_.reset();
  }
}

TEST_F(PurgeTest, ClaimsOfWhatIsPurgedEndInPieces) {
  constexpr size_t kBlocks = 3000;
  Make({.blocks = 3 * kBlocks});
  Serve({100, 101});
  const Tokens tokens = Long(kBlocks);
  Lease computes = Open(), waits = Open();
  ASSERT_EQ(Acquire(computes, tokens).state, State::kReady);
  ASSERT_EQ(Acquire(waits, tokens).state, State::kWaiting);
  auto& claims = inside().claims;
  ASSERT_EQ(claims.size(), kBlocks - 1);
  ASSERT_TRUE(cache_->BeginPurge(Prefix({100, 101})));
  EXPECT_EQ(claims.size(), kBlocks - 1) << "they are many, so it ends none";
  Lease gone = Open();
  int turns = 1;
  for (size_t before = claims.size(); !cache_->ContinuePurge(kTurn); ++turns) {
    EXPECT_LE(before - claims.size(), kMostListed);
    before = claims.size();
    cache_->CheckInvariants();
  }
  EXPECT_GT(turns, 5);
  EXPECT_EQ(claims.size(), 0u);
  EXPECT_EQ(Acquire(waits, tokens).state, State::kReady) << "it waits for nobody any more";
  End();
  computes.Release();
  waits.Release();
  gone.Release();
  cache_->CheckInvariants();
  EXPECT_EQ(cache_->nodes(), 0u);
}

TEST_F(PurgeTest, ALeaseMayEndBeforeItsClaimsDo) {
  Make({.blocks = 100});
  Lease computes = Open();
  ASSERT_EQ(Acquire(computes, Long(40)).state, State::kReady);
  ASSERT_TRUE(cache_->BeginPurge({.kind = Kind::kAll}));
  EXPECT_FALSE(cache_->ContinuePurge(1));
  computes.Release();
  cache_->CheckInvariants();
  EXPECT_TRUE(cache_->ContinuePurge(1));
  End();
}

TEST_F(PurgeTest, WhatAPrefixSharesWithMoreHitsStays) {
  Make({.blocks = 16});
  Serve(kSystem);
  Serve(kSystem);  // a hit
  Serve(kFirst);
  Begin(Prefix(kFirst));
  End();
  EXPECT_EQ(Where(kSystem), "device");
  EXPECT_EQ(Where({1, 2, 3, 4, 5, 6}), "no node");
}

TEST_F(PurgeTest, ATenantGoesWithItsGhostsAndOthersStay) {
  Make({.blocks = 8, .host_blocks = 2});
  Serve({11, 12, 13, 14});
  SpillAll();
  EvictFromDevice(8);
  Serve(kFirst);
  ServeOther(kSecond);
  Begin({.kind = Kind::kTenant, .tenant = kTestRoot.high});
  End();
  EXPECT_EQ(Node({1, 2}), kNoNode);
  EXPECT_EQ(Node({11, 12}), kNoNode);
  EXPECT_EQ(cache_->nodes(), 3u);
  EXPECT_EQ(ServeOther(kSecond)[0], 6);
}

TEST_F(PurgeTest, AllGoesAndTheCacheFillsAnew) {
  Make({.blocks = 16, .host_blocks = 16});
  Serve(kFirst);
  ServeOther(kSecond);
  SpillAll();
  Begin({.kind = Kind::kAll});
  EXPECT_EQ(End().blocks, (std::array<uint64_t, kPoolTiers>{7, 7}));
  EXPECT_EQ(cache_->nodes(), 0u);
  EXPECT_EQ(cache_->cached_blocks(), 0u);
  EXPECT_EQ(Serve(kFirst)[0], 0);
  EXPECT_EQ(Serve(kFirst)[0], 8);
}

TEST_F(PurgeTest, LeasedBlocksGoWithTheirLease) {
  Make({.blocks = 16});
  Serve(kFirst);
  Lease running = Open();
  EXPECT_EQ(Acquire(running, {1, 2, 3, 4, 5, 6, 7, 8, 20, 21}).tier_tokens[0], 8);
  Begin(Prefix(kFirst));
  Compute(running, {1, 2, 3, 4, 5, 6, 7, 8, 20, 21});
  const auto purged = End();
  EXPECT_EQ(purged.in_use, 4u);
  EXPECT_EQ(purged.blocks[0], 0u);
  EXPECT_EQ(Node({1, 2, 3, 4, 5, 6, 7, 8, 20, 21}), kNoNode) << "nothing is added below";
  Lease meanwhile = Open();
  EXPECT_EQ(Acquire(meanwhile, kFirst).tokens(), 0) << "nobody takes it any more";
  Compute(meanwhile, kFirst);
  running.Release();
  meanwhile.Release();
  cache_->CheckInvariants();
  EXPECT_EQ(cache_->nodes(), 0u);
  EXPECT_EQ(cache_->free_blocks(), 16u);
  EXPECT_EQ(Serve(kFirst)[0], 0);
  EXPECT_EQ(Serve(kFirst)[0], 8) << "what is computed afterwards is kept";
}

TEST_F(PurgeTest, ARunningRequestOfATenantKeepsWhatItComputesToItself) {
  Make({.blocks = 16});
  Lease running = Open();
  Acquire(running, kFirst);
  ASSERT_TRUE(cache_->BeginPurge({.kind = Kind::kTenant, .tenant = kTestRoot.high}));
  Lease late = Open();
  EXPECT_EQ(Acquire(late, kFirst).state, State::kReady) << "it does not wait for a claim";
  Compute(running, kFirst);
  Compute(late, kFirst);
  EXPECT_EQ(ServeOther(kFirst)[0], 0);
  while (!cache_->ContinuePurge(100)) {
  }
  End();
  running.Release();
  late.Release();
  EXPECT_EQ(Where({1, 2}), "no node");
  EXPECT_EQ(ServeOther(kFirst)[0], 8);
}

TEST_F(PurgeTest, LoadsInFlightBringNothingBack) {
  for (const Kind kind : {Kind::kPrefix, Kind::kTenant, Kind::kAll}) {
    Make({.blocks = 16, .disk = true});
    Serve(kFirst);
    ServeOther(kSecond);
    SpillAll();
    EvictFromDevice(16);
    ASSERT_EQ(Where(kFirst), "disk");
    Lease waits = Open();
    ASSERT_EQ(Acquire(waits, kFirst).state, State::kLoading);
    auto scope = Prefix({1, 2});
    scope.kind = kind;
    scope.tenant = kTestRoot.high;
    Begin(scope);
    const bool all_at_once = cache_->running_transfers() > 0;
    EXPECT_TRUE(all_at_once);
    port_.EndAll();
    Poll();
    EXPECT_EQ(Acquire(waits, kFirst).state, State::kReady);
    Compute(waits, kFirst);
    waits.Release();
    End({{1, 2}, {1, 2, 3, 4}, {1, 2, 3, 4, 5, 6}, kFirst});
    EXPECT_EQ(Node({1, 2}), kNoNode) << static_cast<int>(kind);
    EXPECT_EQ(Serve(kFirst), (std::array<int, kTiers>{}));
    EXPECT_EQ(Serve(kFirst)[0], 8);
    TearDown();
    cache_.reset();
  }
}

TEST_F(PurgeTest, ASpillInFlightLeavesNoRecord) {
  Make({.blocks = 16, .host_blocks = 4, .disk = true});
  Serve(kFirst);
  Poll();
  ASSERT_GT(cache_->running_transfers(), 0u);
  Begin({.kind = Kind::kAll});
  const auto purged = End();
  EXPECT_GT(purged.in_use, 0u);
  for (int i = 0; i < 100 && cache_->running_transfers() > 0; ++i) {
    port_.EndAll();
    Poll();
  }
  EXPECT_TRUE(port_.records.empty());
  EXPECT_EQ(cache_->nodes(), 0u);
  EXPECT_EQ(cache_->pending_disk_blocks(), 0u);
}

TEST_F(PurgeTest, AnUnknownPrefixIsRefused) {
  Make({.blocks = 16});
  Serve(kFirst);
  EXPECT_FALSE(cache_->BeginPurge({.kind = Kind::kPrefix, .node = Node(kFirst), .key = KeyOf(kSecond)}));
  EXPECT_FALSE(cache_->BeginPurge({.kind = Kind::kPrefix, .node = 999, .key = KeyOf(kFirst)}));
  PrefixCache::Pinning pinning{.node = 999, .key = KeyOf(kFirst)};
  EXPECT_TRUE(cache_->Pin(&pinning, 1));
  EXPECT_FALSE(pinning.result);
}

TEST_F(PurgeTest, APinIsEvictedLastAndHasABudget) {
  Make({.blocks = 16, .retained_percent = 50, .host_blocks = 8});
  Serve(kFirst);
  const auto pinned = Pin(kFirst);
  cache_->CheckInvariants();
  ASSERT_TRUE(pinned);
  EXPECT_EQ(pinned->prefix_blocks, 4u);
  EXPECT_EQ(pinned->blocks[0], 4u);
  EXPECT_EQ(pinned->most, (std::array<uint64_t, kPoolTiers>{4, 2}));
  Serve({20, 21, 22, 23});
  const auto refused = Pin({20, 21, 22, 23});
  EXPECT_EQ(refused->refused[0], 2u);
  EXPECT_EQ(refused->all[0], 4u);
  EvictFromDevice(12);
  EXPECT_EQ(Where({20, 21, 22, 23}), "ghost");
  EXPECT_EQ(Where(kFirst), "device");
  EXPECT_EQ(Unpin(kFirst)->all[0], 0u);
  cache_->CheckInvariants();
  EvictFromDevice(13);
  EXPECT_EQ(Where(kFirst), "ghost");
}

TEST_F(PurgeTest, ATurnPinsAFewBlocks) {
  constexpr size_t kBlocks = 3000;
  Make({.blocks = 2 * kBlocks, .retained_percent = 100});
  Serve(Long(kBlocks));
  for (const bool pin : {true, false}) {
    PrefixCache::Pinning pinning{.node = Node(Long(kBlocks)), .key = KeyOf(Long(kBlocks)), .pin = pin};
    size_t turns = 1;
    for (uint32_t before = cache_->kept_blocks(); !cache_->Pin(&pinning, kTurn); ++turns) {
      EXPECT_LE(pin ? cache_->kept_blocks() - before : before - cache_->kept_blocks(), kMostPinned);
      before = cache_->kept_blocks();
    }
    EXPECT_GE(turns, kBlocks / kMostPinned);
    ASSERT_TRUE(pinning.result);
    EXPECT_EQ(pinning.result->prefix_blocks, kBlocks);
    EXPECT_EQ(pinning.result->all[0], pin ? kBlocks : 0);
    cache_->CheckInvariants();
  }
}

// Between the turns of a pin its prefix is evicted: first the blocks that are pinned already stay.
TEST_F(PurgeTest, WhatLeavesWhileItIsBeingPinnedIsNotPinned) {
  Make({.blocks = 16, .retained_percent = 100});
  Serve(kFirst);
  PrefixCache::Pinning pinning{.node = Node(kFirst), .key = KeyOf(kFirst)};
  while (cache_->kept_blocks() < 2) ASSERT_FALSE(cache_->Pin(&pinning, 1));
  EvictFromDevice(14);
  while (!cache_->Pin(&pinning, 1)) cache_->CheckInvariants();
  ASSERT_TRUE(pinning.result);
  EXPECT_EQ(pinning.result->prefix_blocks, 4u);
  EXPECT_EQ(pinning.result->blocks[0], 2u);
  EXPECT_EQ(Where({1, 2, 3, 4}), "device");
  EXPECT_EQ(Where(kFirst), "ghost");
}

TEST_F(PurgeTest, APrefixMayLeaveTheTreeWhileItsBlocksAreListed) {
  Make({.blocks = 2});
  Serve({1, 2, 3, 4});
  PrefixCache::Pinning pinning{.node = Node({1, 2, 3, 4}), .key = KeyOf({1, 2, 3, 4})};
  ASSERT_FALSE(cache_->Pin(&pinning, 1));
  for (TokenId other = 10; Node({1, 2}) != kNoNode; other += 4) Serve({other, other, other + 1, other + 1});
  EXPECT_TRUE(cache_->Pin(&pinning, 1));
  EXPECT_FALSE(pinning.result);
  EXPECT_EQ(cache_->kept_blocks(), 0u);
}

TEST_F(PurgeTest, ARunningRequestEvictsAPinAtLast) {
  Make({.blocks = 8, .retained_percent = 100});
  Serve(kFirst);
  ASSERT_TRUE(Pin(kFirst));
  EvictFromDevice(8);
  EXPECT_EQ(Where(kFirst), "ghost");
}

TEST_F(PurgeTest, APurgeTakesPinnedBlocksToo) {
  Make({.blocks = 16, .retained_percent = 50, .host_blocks = 8});
  Serve(kFirst);
  ASSERT_TRUE(Pin(kFirst));
  SpillAll();
  Begin({.kind = Kind::kTenant, .tenant = kTestRoot.high});
  End();
  EXPECT_EQ(cache_->nodes(), 0u);
  EXPECT_EQ(cache_->kept_blocks(), 0u);
}

}  // namespace
}  // namespace prefixd
