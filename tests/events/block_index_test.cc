#include "events/block_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/prng.h"

namespace prefixd {
namespace {

constexpr BlockKey kRoot{.low = 1000};

BlockIndex::Block After(const BlockKey& parent) {
  return {.parent = parent, .root = kRoot, .tokens = {1, 2}};
}

TEST(BlockIndex, KnowsTheTiersOfABlock) {
  BlockIndex index(2);
  const BlockKey a{.low = 1}, b{.low = 2};
  ASSERT_NE(index.Add(a, After(kRoot), Tier::kDevice), nullptr);
  EXPECT_EQ(index.Add(a, After(kRoot), Tier::kDevice), nullptr) << "known";
  EXPECT_NE(index.Add(a, After(kRoot), Tier::kDisk), nullptr);
  EXPECT_NE(index.Add(b, After(a), Tier::kHost), nullptr);
  EXPECT_EQ(index.Add({.low = 3}, After(b), Tier::kHost), nullptr) << "full";
  index.TellAll();
  EXPECT_FALSE(index.Remove(a, Tier::kHost));
  EXPECT_TRUE(index.Remove(a, Tier::kDevice));
  EXPECT_EQ(index.size(), 2u);
  EXPECT_TRUE(index.Remove(a, Tier::kDisk));
  EXPECT_FALSE(index.Remove(a, Tier::kDisk));
  EXPECT_EQ(index.size(), 1u);
}

// For random forests with random tiers: every block that a root leads to is visited once, after its parent,
// in a run of one tier set in which each is the parent of the next.
TEST(BlockIndex, RunsHaveEveryReachableBlockAfterItsParent) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Prng prng(seed);
    BlockIndex index(1000);
    const uint64_t gone = 1 + prng.Below(60);
    std::set<uint64_t> reachable = {kRoot.low};
    for (uint64_t i = 1; i <= 60; ++i) {
      const uint64_t chosen = prng.Below(i);
      const BlockKey parent = chosen == 0 ? kRoot : BlockKey{.low = chosen};
      for (int t = 0; t < kTiers; ++t)
        if (t == 0 || prng.Below(4) > 0) index.Add({.low = i}, After(parent), static_cast<Tier>(t));
      if (i != gone && reachable.contains(parent.low)) reachable.insert(i);
    }
    for (int t = 0; t < kTiers; ++t) index.Remove({.low = gone}, static_cast<Tier>(t));
    std::set<uint64_t> visited = {kRoot.low};
    index.VisitRuns([&](std::span<const BlockIndex::Entry* const> run) {
      ASSERT_FALSE(run.empty());
      for (size_t i = 0; i < run.size(); ++i) {
        EXPECT_EQ(run[i]->second.tiers, run[0]->second.tiers);
        if (i > 0) {
          EXPECT_EQ(run[i]->second.parent, run[i - 1]->first);
        }
        EXPECT_TRUE(visited.contains(run[i]->second.parent.low)) << "seed " << seed;
        EXPECT_TRUE(visited.insert(run[i]->first.low).second) << "twice";
      }
    });
    EXPECT_EQ(visited, reachable) << "seed " << seed;
  }
}

std::vector<uint64_t> Tell(BlockIndex* index, uint64_t block, const BlockKey& parent, Tier tier) {
  std::vector<uint64_t> told;
  index->Add({.low = block}, After(parent), tier);
  for (const BlockIndex::Entry* entry : index->Tell({.low = block})) told.push_back(entry->first.low);
  return told;
}

TEST(BlockIndex, ABlockWaitsForItsParent) {
  BlockIndex index(100);
  const auto key = [](uint64_t block) { return BlockKey{.low = block}; };
  EXPECT_THAT(Tell(&index, 3, key(2), Tier::kDevice), testing::IsEmpty());
  EXPECT_THAT(Tell(&index, 3, key(2), Tier::kDisk), testing::IsEmpty()) << "in a second tier";
  EXPECT_THAT(Tell(&index, 4, key(3), Tier::kDevice), testing::IsEmpty());
  EXPECT_THAT(Tell(&index, 5, key(3), Tier::kDevice), testing::IsEmpty());
  EXPECT_FALSE(index.Remove(key(5), Tier::kDevice)) << "nobody knows it";
  EXPECT_THAT(Tell(&index, 2, key(1), Tier::kDevice), testing::IsEmpty());
  EXPECT_THAT(Tell(&index, 1, kRoot, Tier::kDevice), testing::ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(Tell(&index, 6, key(4), Tier::kDevice), testing::ElementsAre(6));
  EXPECT_TRUE(index.Remove(key(4), Tier::kDevice));
  EXPECT_THAT(Tell(&index, 7, key(4), Tier::kDevice), testing::IsEmpty()) << "its parent has gone";
}

TEST(BlockIndex, AfterTellAllWaitsWhatWasNotVisited) {
  BlockIndex index(100);
  const auto key = [](uint64_t block) { return BlockKey{.low = block}; };
  index.Add(key(1), After(kRoot), Tier::kDevice);
  index.Add(key(2), After(key(1)), Tier::kDevice);
  index.Add(key(4), After(key(3)), Tier::kDevice);
  index.TellAll();
  EXPECT_FALSE(index.Remove(key(4), Tier::kHost)) << "it is not there";
  EXPECT_THAT(Tell(&index, 3, key(2), Tier::kDevice), testing::ElementsAre(3, 4));
  EXPECT_TRUE(index.Remove(key(1), Tier::kDevice));
  index.TellAll();
  EXPECT_FALSE(index.Remove(key(4), Tier::kDevice)) << "a snapshot without its root does not have it";
  EXPECT_THAT(Tell(&index, 1, kRoot, Tier::kDevice), testing::ElementsAre(1, 2, 3));
}

TEST(BlockIndex, AChainOfOneTierIsOneRun) {
  BlockIndex index(100);
  BlockKey parent = kRoot;
  for (uint64_t i = 1; i <= 40; ++i) {
    index.Add({.low = i}, After(parent), i <= 20 ? Tier::kDevice : Tier::kHost);
    parent = {.low = i};
  }
  std::vector<size_t> lengths;
  index.VisitRuns([&](std::span<const BlockIndex::Entry* const> run) { lengths.push_back(run.size()); });
  EXPECT_THAT(lengths, testing::ElementsAre(20, 20));
}

}  // namespace
}  // namespace prefixd
