// What the default policy learns about the places of nodes in their requests: ReuseOdds alone, and its
// damage. The model of tests/cache/eviction_models.h is compared in eviction_test.cc.
#include "cache/eviction_odds.h"

#include <gtest/gtest.h>

#include <utility>

namespace prefixd {

struct ReuseOddsTestPeer {
  static void Misplace(ReuseOdds* odds) { std::swap(odds->ends_[1], odds->ends_[2]); }
  static void Advance(ReuseOdds* odds) { odds->ends_[1].last_use += 100; }
  static void Devalue(ReuseOdds* odds) { odds->worths_[3] = 0.01; }
  static void Guess(ReuseOdds* odds) { odds->worths_[3] = 0.5; }
};

namespace {

constexpr uint8_t kNew = RequestClass(0, 100);
constexpr uint8_t kContinued = RequestClass(100, 5);

TEST(ReuseOdds, GroupsByTheDistanceToTheEndAndByTheRequest) {
  ReuseOdds odds(100);
  odds.NoteEnd(1, {.last_use = 7, .depth = 20, .request_class = kNew});
  // Of node 0, which has been no candidate.
  const auto group = [&](uint64_t last_use, uint32_t depth, uint8_t request_class) {
    return odds.Group(0, {.last_use = last_use, .depth = depth, .request_class = request_class});
  };
  EXPECT_EQ(group(7, 20, kNew), 0);
  EXPECT_EQ(group(7, 18, kNew), 2);
  EXPECT_EQ(group(7, 14, kNew), 6);
  EXPECT_EQ(group(7, 13, kNew), 7);
  EXPECT_EQ(group(7, 0, kNew), 7);
  EXPECT_EQ(group(7, 18, kContinued), 10);
  EXPECT_EQ(group(8, 20, kNew), 7) << "no known end";
  EXPECT_EQ(group(0, 0, kNew), 7) << "never given back";
  // The earlier nodes become candidates later.
  odds.NoteEnd(2, {.last_use = 7, .depth = 18});
  EXPECT_EQ(group(7, 18, kNew), 2);
  odds.NoteEnd(1, {.last_use = 7, .depth = 21});
  EXPECT_EQ(group(7, 18, kNew), 3);
  odds.NoteEnd(1, {.last_use = 106, .depth = 3});
  EXPECT_EQ(group(7, 18, kNew), 3);
  odds.NoteEnd(1, {.last_use = 107, .depth = 30});
  EXPECT_EQ(group(7, 18, kNew), 7) << "100 times later it is forgotten";
  EXPECT_EQ(odds.Group(2, {.last_use = 7, .depth = 18}), 2) << "but not for what was a candidate";
  odds.NoteEnd(0, {.last_use = 7, .depth = 18});
  EXPECT_EQ(group(107, 30, kNew), 0) << "and it does not come back";
  odds.Forget(2);
  EXPECT_EQ(odds.Group(2, {.last_use = 7, .depth = 18}), 7);
  odds.CheckInvariants();
}

TEST(ReuseOdds, WeighsTheGroupsByTheirUses) {
  ReuseOdds odds(16);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(odds.Count(0, false));
  for (uint8_t group = 0; group < ReuseOdds::kGroups; ++group) EXPECT_EQ(odds.worth(group), 1) << +group;
  for (int i = 0; i < 10; ++i) odds.Count(7, true);
  // Half of all nodes were used again.
  EXPECT_DOUBLE_EQ(odds.worth(0), (0 + 1.0) / (10 + 2) / 0.5);
  EXPECT_DOUBLE_EQ(odds.worth(7), (10 + 1.0) / (10 + 2) / 0.5);
  EXPECT_DOUBLE_EQ(odds.worth(3), 1);
  odds.CheckInvariants();
}

TEST(ReuseOdds, ForgetsWhatWasCountedLongAgo) {
  ReuseOdds odds(100);
  for (int i = 0; i < 1000; ++i) odds.Count(0, false), odds.Count(7, true);
  EXPECT_EQ(odds.worth(0), 1.0 / 32);
  EXPECT_GT(odds.worth(7), 1.9);
  odds.CheckInvariants();
  for (int i = 0; i < 1000; ++i) odds.Count(7, false), odds.Count(0, true);
  EXPECT_GT(odds.worth(0), 1.9);
  EXPECT_LT(odds.worth(7), 0.1);
  odds.CheckInvariants();
}

TEST(ReuseOddsDeathTest, FindsPlantedDamage) {
  ReuseOdds odds(64);
  for (const uint64_t time : {1u, 2u, 3u}) odds.NoteEnd(1, {.last_use = time, .depth = 9});
  odds.CheckInvariants();
  using Peer = ReuseOddsTestPeer;
  EXPECT_DEATH((Peer::Misplace(&odds), odds.CheckInvariants()), "2 is in slot 1");
  EXPECT_DEATH((Peer::Advance(&odds), odds.CheckInvariants()), "101 is in slot 1");
  EXPECT_DEATH((Peer::Devalue(&odds), odds.CheckInvariants()), "group 3 is worth 0.01");
  EXPECT_DEATH((Peer::Guess(&odds), odds.CheckInvariants()), "group 3 is worth 0.5");
}

}  // namespace
}  // namespace prefixd
