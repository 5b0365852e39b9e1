// The eviction policies: their victims against plain models, the order of calls, damage that CheckInvariants
// finds, and how many blocks each policy finds on traces of known shape.
#include "cache/eviction.h"

#include <gtest/gtest.h>

#include <deque>
#include <string>

#include "base/prng.h"
#include "cache/eviction_adaptive.h"
#include "cache/eviction_lru.h"
#include "cache/eviction_profile.h"
#include "cache/eviction_queues.h"
#include "cache/eviction_two_queue.h"
#include "tests/cache/eviction_models.h"
#include "tests/cache/policy_harness.h"
#include "tests/support/rounds.h"

namespace prefixd {

struct EvictionQueuesTestPeer {
  static void Miscount(EvictionQueues* queues) { ++queues->sizes_[1]; }
};
struct ReuseProfileTestPeer {
  static void Forget(ReuseProfile* profile, NodeId node) { profile->records_[node] = 0; }
  static void Change(ReuseProfile* profile, NodeId node) { profile->records_[node] ^= 1; }
  static void Postpone(ReuseProfile* profile, NodeId node) { profile->records_[node] += 200; }
  static void Miscount(ReuseProfile* profile) { ++profile->counts_[0].tree_[1]; }
  static void Divide(ReuseProfile* profile) { profile->probation_blocks_ = 1000; }
  static auto& Hits(const ReuseProfile& profile) { return profile.hits_; }
  static uint64_t UndividedHits(const ReuseProfile& profile) { return profile.undivided_hits_; }
};
struct ReuseOddsTestPeer {
  static void Advance(ReuseOdds* odds) { odds->ends_[2].last_use += 4; }
};
struct EvictionPolicyTestPeer {
  static EvictionQueues* Queues(auto* policy) { return &policy->queues_; }
  static ReuseProfile* Profile(AdaptiveEviction* policy) { return &policy->profile_; }
  static ReuseOdds* Odds(AdaptiveEviction* policy) { return &policy->odds_; }
};

namespace {

using Path = std::vector<TokenId>;

std::vector<std::string> Names() { return {EvictionPolicyNames().begin(), EvictionPolicyNames().end()}; }

// A path over a small alphabet, where low tokens are frequent.
Path RandomPath(Prng* random, uint64_t tokens, uint64_t length) {
  Path path;
  for (uint64_t blocks = random->Below(length) + 1; blocks > 0; --blocks) {
    path.push_back(static_cast<TokenId>(std::min(random->Below(tokens), random->Below(tokens))));
  }
  return path;
}

// The hits of requests that run one after another.
uint64_t Hits(std::string_view name, uint32_t capacity, const std::vector<Path>& requests) {
  const auto policy = MakeEvictionPolicy(name, {.capacity = capacity});
  PolicyHarness cache(policy.get(), capacity, 4 * capacity);
  uint64_t hits = 0;
  for (const Path& request : requests) {
    const auto lease = cache.Open(request);
    hits += lease->hits;
    cache.Close(*lease);
  }
  cache.CheckInvariants();
  return hits;
}

TEST(EvictionPolicies, AreFoundByName) {
  ASSERT_FALSE(EvictionPolicyNames().empty());
  EXPECT_EQ(EvictionPolicyNames().front(), kDefaultEviction);
  for (const std::string& name : Names()) EXPECT_NE(MakeEvictionPolicy(name, {.capacity = 1}), nullptr);
  EXPECT_EQ(MakeEvictionPolicy("fifo", {.capacity = 1}), nullptr);
  EXPECT_EQ(MakeEvictionPolicy("", {.capacity = 1}), nullptr);
}

TEST(EvictionPoliciesDeathTest, NeedACapacity) {
  EXPECT_DEATH(MakeEvictionPolicy("lru", {}), "options.capacity > 0");
}

TEST(EvictionPoliciesDeathTest, RejectCallsOutOfOrder) {
  for (const std::string& name : Names()) {
    SCOPED_TRACE(name);
    const auto policy = MakeEvictionPolicy(name, {.capacity = 4});
    policy->Insert(1, {});
    policy->Insert(2, {});
    policy->AddCandidate(2, {});
    EXPECT_DEATH(policy->Insert(1, {}), "node 1 has a block in the tier already");
    EXPECT_DEATH(policy->AddCandidate(0, {}), "node 0 has no block");
    EXPECT_DEATH(policy->AddCandidate(2, {}), "node 2 is a candidate");
    EXPECT_DEATH(policy->RemoveCandidate(1), "node 1 is no candidate");
    EXPECT_DEATH(policy->RemoveCandidate(99), "node 99 is no candidate");
    EXPECT_DEATH(policy->Hit(2, {}), "node 2 is a candidate");
    EXPECT_DEATH(policy->Hit(99, {}), "node 99 has no block");
    EXPECT_DEATH(policy->Remove(2, {}), "node 2 is a candidate");
    EXPECT_DEATH(policy->Remove(0, {}), "node 0 has no block");
    policy->CheckInvariants();
  }
}

// A node that came back to the host tier need not have been there before, nor need it ever be used.
TEST(EvictionPolicies, TakeNodesThatAnotherTierAdmitted) {
  for (const std::string& name : Names()) {
    SCOPED_TRACE(name);
    const auto policy = MakeEvictionPolicy(name, {.capacity = 4});
    policy->Insert(70, {.last_use = 9, .admissions = 2});
    policy->Hit(70, {.last_use = 9, .admissions = 2});
    policy->AddCandidate(70, {.last_use = 10, .admissions = 2});
    policy->Insert(80, {.admissions = 1});
    policy->AddCandidate(80, {.admissions = 1});
    policy->CheckInvariants();
    EXPECT_EQ(policy->Victim(), 80u);
    for (const NodeId node : {70u, 80u}) {
      policy->RemoveCandidate(node);
      policy->Remove(node, {});
    }
    policy->CheckInvariants();
    EXPECT_EQ(policy->Victim(), std::nullopt);
  }
}

TEST(EvictionPolicies, EqualTheirModelsOnRandomTraces) {
  for (const std::string& name : Names()) {
    uint64_t evicted = 0;
    for (int seed = 1; seed <= testing_support::Rounds(40); ++seed) {
      SCOPED_TRACE(name + ", seed " + std::to_string(seed));
      Prng random(static_cast<uint64_t>(seed));
      const uint32_t capacity = seed % 8 == 0 ? 150 : static_cast<uint32_t>(random.Below(60)) + 8;
      const uint64_t tokens = random.Below(5) + 2;
      const uint64_t length = random.Below(8) + 1;
      const size_t open = random.Below(4) + 1;
      ComparedPolicy policy(name, capacity);
      policy.SetCopyCost(1.0 / static_cast<double>(1 << (2 * random.Below(4))));
      PolicyHarness cache(&policy, capacity, static_cast<uint32_t>(random.Below(5)) * capacity);
      std::deque<PolicyHarness::Lease> leases;
      for (int event = 0; event < 400; ++event) {
        if (auto lease = cache.Open(RandomPath(&random, tokens, length))) leases.push_back(*lease);
        while (leases.size() >= open) {
          cache.Close(leases.front());
          leases.pop_front();
        }
        if (event % 16 == 0) cache.CheckInvariants();
      }
      evicted += cache.evicted();
    }
    EXPECT_GT(evicted, 1000u) << name;
  }
}

// Records the calls, and evicts the candidate with the lowest id.
class RecordingPolicy final : public PlainPolicy {
 public:
  void Insert(NodeId node, const NodeUse& use) override {
    Record("insert", node), PlainPolicy::Insert(node, use);
  }
  void Hit(NodeId node, const NodeUse& use) override { Record("hit", node), PlainPolicy::Hit(node, use); }
  void Remove(NodeId node, const NodeUse& use) override {
    Record("remove", node), PlainPolicy::Remove(node, use);
  }
  void AddCandidate(NodeId node, const NodeUse& use) override {
    Record("add", node);
    PlainPolicy::AddCandidate(node, use);
  }
  void RemoveCandidate(NodeId node) override { Record("take", node), PlainPolicy::RemoveCandidate(node); }
  std::string TakeCalls() { return std::exchange(calls_, ""); }

 private:
  void Record(const char* call, NodeId node) {
    calls_ += (calls_.empty() ? "" : ", ") + std::string(call) + " " + std::to_string(node);
  }
  std::string calls_;
};

TEST(PolicyHarness, CallsThePolicyInTheOrderOfThePort) {
  RecordingPolicy policy;
  PolicyHarness cache(&policy, 3, 2);
  const auto run = [&](const Path& path) {
    const auto lease = cache.Open(path);
    const std::string opened = policy.TakeCalls();
    cache.Close(*lease);
    cache.CheckInvariants();
    return opened + "; " + policy.TakeCalls();
  };
  EXPECT_EQ(run({7, 8}), "insert 0, insert 1; add 1");
  EXPECT_EQ(run({7, 8}), "hit 0, take 1, hit 1; add 1");
  EXPECT_EQ(run({7, 9}), "hit 0, insert 2; add 2");
  EXPECT_EQ(run({7, 6}), "hit 0, take 1, remove 1, insert 3; add 3");
  // Node 1 comes back with its id.
  EXPECT_EQ(run({7, 8}), "hit 0, take 2, remove 2, insert 1; add 1");
  EXPECT_EQ(
      run({5, 5, 5}),
      "take 3, remove 3, take 1, remove 1, add 0, take 0, remove 0, insert 3, insert 2, insert 4; add 4");
}

// A full run has so many uses that the ring of segments wraps around and old nodes are forgotten.
TEST(ReuseProfile, EqualsAPlainModel) {
  int near = 0;  // uses that say nothing
  for (const uint32_t capacity : {1u, 2u, 40u, 64u, 65u, 200u}) {
    SCOPED_TRACE(capacity);
    Prng random(capacity);
    ReuseProfile profile(capacity);
    PlainProfile model(capacity);
    for (int event = 0; event < testing_support::Rounds(12000); ++event) {
      const uint64_t bound = random.Below(3) == 0 ? 3000 : 60;
      const auto node = static_cast<NodeId>(std::min(random.Below(bound), random.Below(bound)));
      const bool again = random.Below(8) != 0;
      const bool says = model.Use(node, again);
      if (again) {
        ASSERT_EQ(profile.UseAgain(node), says);
        near += says ? 0 : 1;
      } else {
        profile.UseFirst(node);
      }
      ASSERT_EQ(profile.probation_blocks(), model.probation) << "event " << event;
    }
    profile.CheckInvariants();
    EXPECT_EQ(ReuseProfileTestPeer::UndividedHits(profile), model.undivided);
    for (const bool again : {false, true}) {
      for (uint64_t share = 0; share <= model.shares; ++share) {
        EXPECT_EQ(ReuseProfileTestPeer::Hits(profile)[again][share], model.hits[again][share]) << share;
      }
    }
  }
  EXPECT_GT(near, 0);
}

template <typename Policy>
class EvictionPolicyDeathTest : public ::testing::Test {};
using Policies = ::testing::Types<LruEviction, TwoQueueEviction, AdaptiveEviction>;
TYPED_TEST_SUITE(EvictionPolicyDeathTest, Policies);

TYPED_TEST(EvictionPolicyDeathTest, FindsPlantedDamageInItsParts) {
  TypeParam policy({.capacity = 4});
  for (const NodeId node : {1u, 2u}) {
    policy.Insert(node, {});
    policy.AddCandidate(node, {.last_use = node});
  }
  policy.CheckInvariants();
  EvictionQueues* queues = EvictionPolicyTestPeer::Queues(&policy);
  EXPECT_DEATH((EvictionQueuesTestPeer::Miscount(queues), policy.CheckInvariants()), "queue 1 has 0 nodes");
  if constexpr (std::is_same_v<TypeParam, AdaptiveEviction>) {
    ReuseProfile* profile = EvictionPolicyTestPeer::Profile(&policy);
    EXPECT_DEATH((ReuseProfileTestPeer::Divide(profile), policy.CheckInvariants()), "1000 > 4");
    ReuseOdds* odds = EvictionPolicyTestPeer::Odds(&policy);
    EXPECT_DEATH((ReuseOddsTestPeer::Advance(odds), policy.CheckInvariants()), "6 is in slot|6 > 2");
  }
}

TEST(ReuseProfileDeathTest, FindsPlantedDamage) {
  ReuseProfile profile(100);
  for (const NodeId node : {1u, 2u, 3u}) profile.UseFirst(node);
  using Peer = ReuseProfileTestPeer;
  EXPECT_DEATH((Peer::Forget(&profile, 1), profile.CheckInvariants()), "slot 0 has 1 nodes and counts 2");
  EXPECT_DEATH((Peer::Change(&profile, 1), profile.CheckInvariants()), "nodes and counts|> 1");
  EXPECT_DEATH((Peer::Postpone(&profile, 1), profile.CheckInvariants()), "100 > 1");
  EXPECT_DEATH((Peer::Miscount(&profile), profile.CheckInvariants()), "up to slot 0");
  EXPECT_DEATH((Peer::Divide(&profile), profile.CheckInvariants()), "1000 > 100");
}

// Every third request is one of 30 prefixes in turn; the others never return. So a prefix returns after 89
// other blocks.
std::vector<Path> PrefixesInAScan() {
  std::vector<Path> requests;
  for (TokenId i = 0; i < 3000; ++i) requests.push_back({i % 3 == 0 ? i / 3 % 30 : 1000 + i});
  return requests;
}

TEST(EvictionPolicies, AllButLruKeepPrefixesDuringAScan) {
  const std::vector<Path> requests = PrefixesInAScan();
  EXPECT_EQ(Hits("lru", 60, requests), 0u);
  // Of 1,000 uses of the prefixes, the first 30 are new, and the next ones find ghosts.
  EXPECT_GE(Hits("2q", 60, requests), 900u);
  EXPECT_GE(Hits("adaptive", 60, requests), 900u);
}

// A second choice of each prompt runs at the same time as the first, or after it.
TEST(AdaptiveEviction, ChoicesOfOnePromptAreOneUse) {
  const auto hits = [](bool second_choice, bool later) {
    const auto policy = MakeEvictionPolicy("adaptive", {.capacity = 60});
    PolicyHarness cache(policy.get(), 60, 240);
    uint64_t hits = 0;
    for (const Path& request : PrefixesInAScan()) {
      const auto first = cache.Open(request);
      hits += first->hits;
      if (later) cache.Close(*first);
      if (second_choice) cache.Close(*cache.Open(request));
      if (!later) cache.Close(*first);
    }
    return hits;
  };
  EXPECT_EQ(hits(true, false), hits(false, false));
  EXPECT_EQ(hits(true, true), hits(false, false)) << "nor is a prompt that is sent twice in a row";
}

TEST(AdaptiveEviction, FindsAboutAsMuchAsLruWhereLruIsBest) {
  std::vector<Path> recent, replaced, cycle, uniform;
  Prng random(1);
  std::vector<TokenId> stack;  // a used block was used few blocks ago
  for (TokenId i = 0; i < 20000; ++i) {
    const uint64_t back = std::min({random.Below(400), random.Below(400), random.Below(400)});
    TokenId token = i;
    if (back < stack.size() && random.Below(4) != 0) {
      const auto used = stack.end() - 1 - static_cast<ptrdiff_t>(back);
      token = *used;
      stack.erase(used);
    }
    stack.push_back(token);
    recent.push_back({token});
    replaced.push_back(
        {static_cast<TokenId>(i / 4000 * 1000 + std::min(random.Below(150), random.Below(150)))});
    cycle.push_back({i % 130});
    uniform.push_back({static_cast<TokenId>(random.Below(200))});
  }
  for (const auto* requests : {&recent, &replaced, &cycle, &uniform}) {
    const uint64_t lru = Hits("lru", 100, *requests);
    EXPECT_GE(100 * Hits("adaptive", 100, *requests), 98 * lru) << lru;
  }
}

TEST(AdaptiveEviction, FindsAsMuchAsTheOthersInRandomTrees) {
  if (testing_support::kSanitized) GTEST_SKIP() << "it is about numbers, which sanitizers do not change";
  uint64_t adaptive = 0, two_queue = 0, lru = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Prng random(seed);
    std::vector<Path> requests;
    for (int i = 0; i < 1500; ++i) requests.push_back(RandomPath(&random, 5, 8));
    adaptive += Hits("adaptive", 100, requests);
    two_queue += Hits("2q", 100, requests);
    lru += Hits("lru", 100, requests);
  }
  EXPECT_GE(adaptive, std::max(two_queue, lru));
}

}  // namespace
}  // namespace prefixd
