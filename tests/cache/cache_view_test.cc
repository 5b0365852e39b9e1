// What an operator sees of the cache: the place of a miss, and the prefixes of greatest worth.
#include <algorithm>

#include "base/prng.h"
#include "tests/cache/tiers_fixture.h"

namespace prefixd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class CacheViewTest : public TiersTest {
 protected:
  PrefixCache::MissPlace PlaceOf(const Tokens& tokens, PrefixCache::Reads reads = PrefixCache::Reads::kYes) {
    Lease lease = Open(reads);
    PREFIXD_CHECK(Acquire(lease, tokens, static_cast<int>(tokens.size()) - 1).state == State::kReady);
    return cache_->PlaceOfMiss(lease, tokens);
  }
  static BlockKey KeyOf(const Tokens& tokens) {
    BlockKeys keys(kTestRoot, 2);
    keys.Extend(tokens);
    return keys.key(keys.size() - 1);
  }
  // All rows, by calls that may cost `nodes` each.
  std::vector<PrefixRow> Scan(size_t most_rows, uint32_t nodes = 1) {
    PrefixScan scan(most_rows);
    uint64_t before = 0;
    for (bool done = false; !done; before = scan.spent()) {
      done = cache_->Scan(&scan, nodes);
      EXPECT_LT(scan.spent() - before, nodes + PrefixScan::kRowCost) << "one call";
    }
    EXPECT_LE(before, (4 + 2 * PrefixScan::kRowCost) * cache_->nodes() + most_rows + 1) << "all calls";
    uint64_t counted = scan.rest_of_others();
    for (const auto& [tenant, rest] : scan.rest_of_tenants()) counted += rest;
    for (const PrefixRow& row : scan.Rows()) counted += row.own_blocks + row.rest_blocks;
    EXPECT_EQ(counted, cache_->nodes()) << "a node belongs to a row, or is a rest of one";
    return scan.Rows();
  }
};

TEST_F(CacheViewTest, AMissIsWhereThePromptLeavesTheCache) {
  Make({.blocks = 8, .min_copy_tokens = 2});
  EXPECT_EQ(PlaceOf({1, 2, 3, 4, 5}).token, 0);
  Serve({1, 2, 3, 4, 5});
  const PrefixCache::MissPlace branch = PlaceOf({1, 2, 8, 9, 5});
  EXPECT_EQ(branch.token, 2);
  EXPECT_EQ(branch.key, KeyOf({1, 2, 8, 9}));
  EXPECT_EQ(branch.resides, (std::array{false, false, false, false}));
  EXPECT_FALSE(branch.lost) << "it was never there";
  const PrefixCache::MissPlace tail = PlaceOf({1, 2, 3, 4, 5});
  EXPECT_EQ(tail.token, 4);
  EXPECT_EQ(tail.key, BlockKey{}) << "the last token fills no block";
  EXPECT_TRUE(PlaceOf({1, 2, 3, 4}).resides[0])
      << "a block that is there, but of which one token is computed";
}

TEST_F(CacheViewTest, ALostBlockHasTheTimeOfItsLoss) {
  Make({.blocks = 2});
  cache_->Poll(10);
  Serve({1, 2, 3, 4});
  cache_->Poll(20);
  Serve({5, 6, 7, 8});
  cache_->Poll(30);
  const PrefixCache::MissPlace place = PlaceOf({1, 2, 9});
  EXPECT_EQ(place.token, 0);
  EXPECT_EQ(place.lost, 20.0);
  EXPECT_EQ(place.last_use, 10.0);
}

TEST_F(CacheViewTest, ARequestThatDoesNotReadMissesAtItsFirstToken) {
  Make({.blocks = 8});
  Serve({1, 2, 3, 4});
  const PrefixCache::MissPlace place = PlaceOf({1, 2, 3, 4, 5}, PrefixCache::Reads::kNo);
  EXPECT_EQ(place.token, 0);
  EXPECT_TRUE(place.resides[0]);
}

TEST_F(CacheViewTest, PrefixesEndWhereTheirUseFalls) {
  Make({.blocks = 32, .min_copy_tokens = 2});
  const Tokens system = {1, 2, 3, 4};
  const auto with = [&](TokenId more) {
    Tokens tokens = system;
    tokens.insert(tokens.end(), {more, more});
    return tokens;
  };
  for (const TokenId more : {10, 20, 30}) Serve(with(more));  // the prefix is hit twice
  Serve({7, 8, 9, 9});                                        // never hit
  Serve(with(30));                                            // three times, and one chat once
  for (const uint32_t nodes : {1u, 3u, 1000u}) {
    const std::vector<PrefixRow> rows = Scan(10, nodes);
    ASSERT_EQ(rows.size(), 2u) << nodes;
    EXPECT_EQ(rows[0].key, KeyOf(system));
    EXPECT_EQ(rows[0].tokens, 4u);
    EXPECT_EQ(rows[0].hits, 3u);
    EXPECT_TRUE(rows[0].branches);
    EXPECT_EQ(rows[0].root, kTestRoot);
    EXPECT_EQ(rows[0].resides, (std::array{true, false, false, false}));
    EXPECT_EQ(rows[1].key, KeyOf(with(30)));
    EXPECT_EQ(rows[1].hits, 1u);
    EXPECT_FALSE(rows[1].branches);
    EXPECT_EQ(rows[0].parent, -1);
    EXPECT_EQ(rows[0].own_blocks, 2u);
    EXPECT_EQ(rows[1].parent, 0) << "it continues the other";
    EXPECT_EQ(rows[1].own_blocks, 1u);
    EXPECT_EQ(rows[1].own_blocks_in, (std::array{1u, 0u, 0u, 0u}));
  }
  EXPECT_EQ(Scan(10)[0].rest_blocks, 2u) << "of the prompts that were never hit";
  const std::vector<PrefixRow> one = Scan(1);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].key, KeyOf(system));
  EXPECT_EQ(one[0].rest_blocks, 3u);
  EXPECT_THAT(Scan(0), IsEmpty());
}

// Prompts of many lengths come and go, so that nodes have their numbers in no order.
TEST_F(CacheViewTest, NoCallCostsMoreThanItMayWhateverTheTree) {
  Make({.blocks = 40});
  Prng prng(1);
  for (int request = 0; request < 300; ++request) {
    Tokens tokens;
    const size_t blocks = 1 + prng.Below(12);
    while (tokens.size() < 2 * blocks) tokens.push_back(static_cast<TokenId>(1 + prng.Below(3)));
    Serve(tokens);
    Scan(1 + prng.Below(5), static_cast<uint32_t>(1 + prng.Below(30)));
  }
}

TEST_F(CacheViewTest, APrefixMayLeaveTheTreeWhileItsBlocksAreCounted) {
  Make({.blocks = 4});
  const Tokens tokens = {1, 2, 3, 4, 5, 6, 7, 8};
  Serve(tokens);
  Serve(tokens);
  PrefixScan scan(10);
  while (!scan.on_paths()) EXPECT_FALSE(cache_->Scan(&scan, 1));
  EXPECT_FALSE(cache_->Scan(&scan, 1)) << "one of its four blocks is seen";
  for (TokenId other = 10; other < 90; other += 8) {
    Serve({other, other, other, other, other, other, other, other});
    cache_->CheckInvariants();
  }
  EXPECT_TRUE(cache_->Scan(&scan, 1000));
  ASSERT_EQ(scan.Rows().size(), 1u);
  EXPECT_EQ(scan.Rows()[0].parent, -1);
  EXPECT_LE(scan.Rows()[0].own_blocks, 4u);
}

TEST_F(CacheViewTest, PrefixesThatNoTierHasAreLeftOut) {
  Make({.blocks = 2});
  Serve({1, 2, 3, 4});
  Serve({1, 2, 3, 4});
  EXPECT_EQ(Scan(10).size(), 1u);
  Serve({5, 6, 7, 8});
  EXPECT_GT(cache_->nodes(), 2u) << "the ghosts keep their hits";
  EXPECT_THAT(Scan(10), IsEmpty());
}

TEST(PrefixScan, KeepsTheRowsOfGreatestWorth) {
  PrefixScan scan(2);
  for (const uint32_t hits : {5, 1, 9, 7}) {
    const PrefixRow row{.key = {hits, 0}, .tokens = 16, .hits = hits};
    if (scan.Wants(row.worth())) scan.Add(row);
  }
  const std::vector<PrefixRow> rows = scan.Rows();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].hits, 9u);
  EXPECT_EQ(rows[1].hits, 7u);
}

}  // namespace
}  // namespace prefixd
