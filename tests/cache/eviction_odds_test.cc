// What the default policy learns about the places of nodes in their requests: ReuseOdds alone, its damage,
// and what it is worth where every request adds blocks that nobody asks for again. The model of
// tests/cache/eviction_models.h is compared in eviction_test.cc.
#include "cache/eviction_odds.h"

#include <gtest/gtest.h>

#include <deque>
#include <set>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "tests/cache/policy_harness.h"
#include "tests/support/rounds.h"

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

// Hides from a policy where the nodes are in their requests: then all have the same odds, and it orders them
// by their age. No two candidates have the same last use, so the depths do not matter.
class WithoutPlaces final : public EvictionPolicy {
 public:
  explicit WithoutPlaces(EvictionPolicy* policy) : policy_(*policy) {}
  void Insert(NodeId node, const NodeUse& use) override { policy_.Insert(node, Hide(use)); }
  void Hit(NodeId node, const NodeUse& use) override { policy_.Hit(node, Hide(use)); }
  void Remove(NodeId node, const NodeUse& use) override { policy_.Remove(node, Hide(use)); }
  void AddCandidate(NodeId node, const NodeUse& use) override { policy_.AddCandidate(node, Hide(use)); }
  void RemoveCandidate(NodeId node) override { policy_.RemoveCandidate(node); }
  bool IsCandidate(NodeId node) const override { return policy_.IsCandidate(node); }
  std::optional<NodeId> Victim() const override { return policy_.Victim(); }
  void CheckInvariants() const override { policy_.CheckInvariants(); }

 private:
  static NodeUse Hide(NodeUse use) {
    use.depth = 0;
    use.request_class = 0;
    return use;
  }
  EvictionPolicy& policy_;
};

// 64 tenants by Zipf's law. A request has the 125 blocks of its tenant's prefix and `own` of its own; eight
// run at once. A quarter of the prefixes fit into memory; the disk has what was seen twice. Returns how many
// of 400 prefixes were computed, neither found in memory nor on the disk.
int ComputedPrefixes(uint64_t seed, bool with_places, uint32_t least_own, uint32_t most_own) {
  constexpr uint32_t kBlocks = 2060;
  constexpr size_t kPrefix = 125;
  const auto policy = MakeEvictionPolicy(kDefaultEviction, {.capacity = kBlocks});
  policy->SetCopyCost(1.0 / 16);
  WithoutPlaces without_places(policy.get());
  PolicyHarness cache(with_places ? policy.get() : &without_places, kBlocks, 4 * kBlocks);
  std::set<TokenId> seen, disk;
  cache.SetLowerTier([&](TokenId token) { return disk.contains(token); });
  std::deque<std::pair<PolicyHarness::Lease, std::vector<TokenId>>> running;
  Prng random(seed);
  std::vector<double> sums;
  for (int tenant = 0; tenant < 64; ++tenant) {
    sums.push_back((tenant == 0 ? 0 : sums.back()) + 1.0 / (tenant + 1));
  }
  int computed = 0;
  TokenId next = 1'000'000;
  for (int request = 0; request < 400; ++request) {
    const double drawn = sums.back() * static_cast<double>(random.Below(1 << 20)) / (1 << 20);
    const auto tenant = static_cast<TokenId>(std::ranges::upper_bound(sums, drawn) - sums.begin());
    std::vector<TokenId> path;
    for (size_t block = 0; block < kPrefix; ++block)
      path.push_back(1000 * tenant + static_cast<TokenId>(block));
    const uint64_t own = least_own + random.Below(most_own - least_own + 1);
    for (uint64_t block = 0; block < own; ++block) path.push_back(next++);
    if (running.size() == 8) {
      cache.Close(running.front().first);
      for (const TokenId token : running.front().second) {
        if (!seen.insert(token).second) disk.insert(token);
      }
      running.pop_front();
    }
    const auto lease = cache.Open(path);
    computed += lease->hits + lease->copies < kPrefix ? 1 : 0;
    running.emplace_back(*lease, path);
  }
  cache.CheckInvariants();
  return computed;
}

int ComputedPrefixes(bool with_places, uint32_t least_own, uint32_t most_own) {
  int computed = 0;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    computed += ComputedPrefixes(seed, with_places, least_own, most_own);
  }
  return computed;
}

// The ends of requests hold the prefixes that the disk has as well, and are no use themselves. Once they go
// first, there is room for the prefixes that the disk has not.
TEST(AdaptiveEviction, GivesUpTheEndsOfRequests) {
  if (testing_support::kSanitized) GTEST_SKIP() << "it is about numbers, which sanitizers do not change";
  const int without = ComputedPrefixes(false, 5, 5);
  const int with = ComputedPrefixes(true, 5, 5);
  RecordProperty("without", without);
  RecordProperty("with", with);
  EXPECT_LE(100 * with, 92 * without) << with << " and " << without;
}

TEST(AdaptiveEviction, GivesUpTheEndsOfRequestsOfManyLengths) {
  if (testing_support::kSanitized) GTEST_SKIP() << "it is about numbers, which sanitizers do not change";
  const int without = ComputedPrefixes(false, 3, 7);
  const int with = ComputedPrefixes(true, 3, 7);
  RecordProperty("without", without);
  RecordProperty("with", with);
  EXPECT_LE(100 * with, 99 * without) << with << " and " << without;
}

}  // namespace
}  // namespace prefixd
