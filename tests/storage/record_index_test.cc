#include "storage/record_index.h"

#include <gtest/gtest.h>

#include <map>

#include "base/prng.h"

namespace prefixd {
namespace {

TEST(RecordIndex, DoesWhatAMapDoes) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Prng random(seed);
    RecordIndex index;
    std::map<BlockKey, uint32_t> model;
    // Keys whose low halves are close to each other share their homes.
    const uint64_t spread = seed % 2 == 0 ? 50 : UINT64_MAX;
    for (int event = 0; event < 3000; ++event) {
      const BlockKey key{.low = random.Below(spread), .high = random.Below(5)};
      if (random.Chance(0.6)) {
        const auto segment = static_cast<uint32_t>(1 + random.Below(1000));
        index.Insert(key, {.segment = segment, .ordinal = 7, .bytes = 9});
        model[key] = segment;
      } else {
        const BlockKey victim = model.empty() || random.Chance(0.3)     ? key
                                : model.lower_bound(key) == model.end() ? model.begin()->first
                                                                        : model.lower_bound(key)->first;
        index.Erase(victim);
        model.erase(victim);
      }
      ASSERT_EQ(index.size(), model.size());
      if (event % 100 == 0) index.CheckInvariants();
    }
    for (const auto& [key, segment] : model) {
      ASSERT_NE(index.Find(key), nullptr);
      ASSERT_EQ(index.Find(key)->segment, segment);
    }
    size_t visited = 0;
    index.ForEach([&](const BlockKey& key, const RecordLocation& location) {
      ++visited;
      EXPECT_EQ(model.at(key), location.segment);
    });
    EXPECT_EQ(visited, model.size());
    index.CheckInvariants();
  }
}

TEST(RecordIndex, FindsNothingInAnEmptyIndex) {
  RecordIndex index;
  EXPECT_EQ(index.Find({1, 2}), nullptr);
  index.Erase({1, 2});
  EXPECT_EQ(index.size(), 0u);
}

// The bytes per record that docs/ARCHITECTURE.md states, beside those of an empty index.
TEST(RecordIndex, CostsAtMostEightyBytesPerRecord) {
  RecordIndex index;
  const size_t empty = index.memory_bytes();
  size_t most = 0;
  for (uint64_t n = 1; n <= 300'000; ++n) {
    index.Insert({.low = SplitMix64(n), .high = SplitMix64(~n)}, {.segment = 1});
    if (n >= 5000 && n % 97 == 0) most = std::max(most, (index.memory_bytes() - empty) * 100 / n);
  }
  EXPECT_LE(most, 80 * 100u);
  EXPECT_GE(most, 50 * 100u) << "the bound says something";
  EXPECT_LE(empty, 140'000u);
}

// Whoever grows the index holds the lock of the store, so a call must not move many records.
TEST(RecordIndex, GrowsInSmallParts) {
  RecordIndex index;
  for (uint64_t n = 1; n <= 1'000'000; ++n)
    index.Insert({.low = SplitMix64(n), .high = SplitMix64(~n)}, {.segment = 1});
  EXPECT_GE(index.most_moved(), 1'000'000 / RecordIndex::kShards / 2);
  EXPECT_LE(index.most_moved(), 512u);
}

}  // namespace
}  // namespace prefixd
