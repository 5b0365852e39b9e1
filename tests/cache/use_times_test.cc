// When blocks were used: UseTimes alone, and the ages that the cache counts.
#include "cache/use_times.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/prng.h"
#include "tests/cache/tiers_fixture.h"

namespace prefixd {
namespace {

uint64_t CountOf(const LatencyHistogram& ages) {
  uint64_t sum = 0;
  for (const uint64_t count : ages.counts) sum += count;
  return sum;
}

TEST(UseTimes, KnowsNothingBeforeTheFirstUse) {
  UseTimes times;
  EXPECT_FALSE(times.Of(0));
  EXPECT_FALSE(times.Of(7));
  times.Note(5, 100);
  EXPECT_FALSE(times.Of(4));
  EXPECT_EQ(times.Of(5), 100);
  EXPECT_EQ(times.Of(6), 100);
}

TEST(UseTimes, SaysTheTimeOfTheLastNoteBeforeTheUse) {
  UseTimes times;
  times.Note(1, 0);
  times.Note(2, 0.5);  // too near to be kept
  times.Note(9, 60);
  EXPECT_EQ(times.Of(2), 0);
  EXPECT_EQ(times.Of(8), 0);
  EXPECT_EQ(times.Of(9), 60);
  times.CheckInvariants();
}

// Two weeks of uses at random distances: the second invariant, for every use and at many times.
TEST(UseTimes, TheErrorStaysSmallBesideTheAge) {
  Prng random(7);
  UseTimes times;
  std::vector<double> uses = {0};  // by number, from 1
  double now = 0;
  while (now < 14 * 86'400.0) {
    now += random.Chance(0.01) ? 600.0 : 4 * random.Unit();
    uses.push_back(now);
    times.Note(uses.size() - 1, now);
    if (uses.size() % 20'000 != 0) continue;
    times.CheckInvariants();
    for (size_t i = 0; i < 500; ++i) {
      const size_t number = 1 + random.Below(uses.size() - 1);
      const std::optional<double> said = times.Of(number);
      ASSERT_TRUE(said) << number;
      ASSERT_LE(*said, uses[number]);
      ASSERT_LE(uses[number] - *said, std::max(1.0, (now - *said) / 100)) << "of " << number << " at " << now;
    }
  }
  EXPECT_GT(uses.size(), 5 * UseTimes::kMost) << "old times were thinned out";
  EXPECT_LE(times.MemoryBytes(), UseTimes::MaxMemoryBytes());
}

using AgesTest = TiersTest;

TEST_F(AgesTest, CountsTheTimeSinceTheUseBefore) {
  Make({.blocks = 2});
  cache_->Poll(10);
  Serve({1, 2, 3, 4});
  EXPECT_EQ(CountOf(stats().age_at_hit[0]), 0u) << "these blocks are new";
  cache_->Poll(17);
  Serve({1, 2, 3, 4});
  EXPECT_EQ(CountOf(stats().age_at_hit[0]), 2u);
  EXPECT_EQ(stats().age_at_hit[0].sum, 14);
  cache_->Poll(117);
  EvictFromDevice(1);
  EXPECT_EQ(CountOf(stats().age_at_eviction[0]), 1u);
  EXPECT_EQ(stats().age_at_eviction[0].sum, 100) << "since the last use, not since the first";
  EXPECT_EQ(CountOf(stats().age_at_eviction[1]), 0u);
}

TEST_F(AgesTest, CountsAHitAtTheTierThatHadTheBlock) {
  Make({.blocks = 2, .host_blocks = 2});
  cache_->Poll(10);
  Serve({1, 2});
  for (int poll = 0; poll < 2; ++poll) {
    cache_->Poll(10);
    port_.EndAll();
  }
  cache_->Poll(10);
  ASSERT_EQ(Where({1, 2}), "device host");
  EvictFromDevice(2);
  ASSERT_EQ(Where({1, 2}), "host");
  cache_->Poll(50);
  Lease lease = Open();
  ASSERT_EQ(Acquire(lease, {1, 2}).state, State::kLoading);
  port_.EndAll();
  cache_->Poll(50);
  ASSERT_EQ(Acquire(lease, {1, 2}).tier_tokens[1], 2);
  EXPECT_EQ(CountOf(stats().age_at_hit[0]), 0u);
  EXPECT_EQ(CountOf(stats().age_at_hit[1]), 1u);
  EXPECT_EQ(stats().age_at_hit[1].sum, 40);
  cache_->EndStep(true);
  lease.Release();
}

}  // namespace
}  // namespace prefixd
