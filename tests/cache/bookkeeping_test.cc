// The small components of the cache: nodes that lost their KV, keys of a sequence, claims.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/prng.h"
#include "cache/block_keys.h"
#include "cache/claims.h"
#include "cache/ghost_index.h"
#include "cache/node.h"
#include "tests/support/rounds.h"

namespace prefixd {

// Plants what CheckInvariants must find.
struct GhostIndexTestPeer {
  static void Overwrite(GhostIndex* ghosts, uint32_t slot, NodeId node) { ghosts->ring_.at(slot) = node; }
  static void Grow(GhostIndex* ghosts) { ghosts->ring_.push_back(kNoNode); }
  static void Miscount(GhostIndex* ghosts) { ++ghosts->size_; }
};
struct ClaimsTestPeer {
  static void Steal(Claims* claims, const BlockKey& key, Claims::Claimant* by) {
    claims->claims_.at(key) = by;
  }
};

namespace {

BlockKey Key(uint64_t n) { return {.low = n, .high = ~n}; }

// --- GhostIndex ---

// The model: the last `capacity` calls of Add in order, each with its node, or with none once the node is
// removed.
class ModelledGhosts {
 public:
  ModelledGhosts(uint64_t seed, uint32_t capacity) : random_(seed), capacity_(capacity), ghosts_(capacity) {}

  void Step() {
    const auto node = static_cast<NodeId>(random_.Below(kNodes));
    const auto known = std::ranges::find(model_, node);
    if (known == model_.end()) {
      Add(node);
    } else if (random_.Chance(0.5)) {
      ghosts_.Remove(node, slots_.at(node));
      *known = kNoNode;
    }
  }

  void Check() const {
    ghosts_.CheckInvariants();
    for (NodeId node = 0; node < kNodes; ++node) {
      const bool known = std::ranges::find(model_, node) != model_.end();
      // Every node asks with the slot of its last Add, which by now may be that of another node.
      const auto slot = slots_.find(node);
      ASSERT_EQ(ghosts_.Contains(node, slot == slots_.end() ? 0 : slot->second), known) << node;
      for (uint32_t other = 0; other < capacity_ + 2; ++other) {
        const bool there = known && slots_.at(node) == other;
        ASSERT_EQ(ghosts_.Contains(node, other), there) << node << " in slot " << other;
      }
    }
    ASSERT_EQ(ghosts_.size(),
              model_.size() - static_cast<size_t>(std::ranges::count(model_, NodeId{kNoNode})));
  }

 private:
  static constexpr NodeId kNodes = 12;

  void Add(NodeId node) {
    const GhostIndex::Added added = ghosts_.Add(node);
    model_.push_back(node);
    NodeId forgotten = kNoNode;
    if (model_.size() > capacity_) {
      forgotten = model_.front();
      model_.pop_front();
    }
    ASSERT_EQ(added.forgotten, forgotten);
    ASSERT_LT(added.slot, std::max(capacity_, 1u));
    slots_[node] = added.slot;
  }

  Prng random_;
  const uint32_t capacity_;
  GhostIndex ghosts_;
  std::deque<NodeId> model_;
  std::map<NodeId, uint32_t> slots_;  // of the last Add of each node
};

TEST(GhostIndex, RemembersTheNodesOfTheLastAdds) {
  const auto seeds = static_cast<uint64_t>(testing_support::Rounds(40));
  for (uint64_t seed = 0; seed < seeds && !testing::Test::HasFailure(); ++seed) {
    for (const uint32_t capacity : {0u, 1u, 2u, 7u, 30u}) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", capacity " << capacity);
      ModelledGhosts ghosts(seed, capacity);
      for (int event = 0; event < 200 && !testing::Test::HasFailure(); ++event) {
        ghosts.Step();
        ghosts.Check();
      }
    }
  }
}

TEST(GhostIndex, RemoveLeavesItsSlotEmpty) {
  GhostIndex ghosts(2);
  const uint32_t first = ghosts.Add(10).slot;
  ghosts.Add(11);
  ghosts.Remove(10, first);
  EXPECT_EQ(ghosts.size(), 1u);
  EXPECT_EQ(ghosts.Add(12).forgotten, kNoNode);  // takes the empty slot
  EXPECT_EQ(ghosts.Add(13).forgotten, 11u);
  EXPECT_FALSE(ghosts.Contains(10, first));
  EXPECT_TRUE(ghosts.Contains(12, first));
}

TEST(GhostIndex, ForgetsTheNodeItselfWithoutCapacity) {
  GhostIndex ghosts(0);
  const GhostIndex::Added added = ghosts.Add(5);
  EXPECT_EQ(added.forgotten, 5u);
  EXPECT_FALSE(ghosts.Contains(5, added.slot));
  EXPECT_EQ(ghosts.size(), 0u);
  ghosts.CheckInvariants();
}

TEST(GhostIndexDeathTest, FindsMisuseAndPlantedDamage) {
  GhostIndex ghosts(3);
  const uint32_t slot = ghosts.Add(1).slot;
  const uint32_t other = ghosts.Add(2).slot;
  ghosts.CheckInvariants();
  EXPECT_DEATH(ghosts.Remove(1, other), "node 1 is no ghost");
  EXPECT_DEATH(ghosts.Remove(3, slot), "node 3 is no ghost");
  EXPECT_DEATH(ghosts.Remove(1, 3), "node 1 is no ghost");
  EXPECT_DEATH((ghosts.Remove(1, slot), ghosts.Remove(1, slot)), "node 1 is no ghost");
  using Peer = GhostIndexTestPeer;
  EXPECT_DEATH((Peer::Overwrite(&ghosts, slot, 2), ghosts.CheckInvariants()), "in the index twice");
  EXPECT_DEATH((Peer::Overwrite(&ghosts, slot, kNoNode), ghosts.CheckInvariants()), "1 nodes, not 2");
  EXPECT_DEATH((Peer::Miscount(&ghosts), ghosts.CheckInvariants()), "2 nodes, not 3");
  EXPECT_DEATH((Peer::Grow(&ghosts), Peer::Grow(&ghosts), ghosts.CheckInvariants()), "4 of 3");
}

// --- BlockKeys ---

// Random sequences and block sizes. The function of the keys is called once for each block, in order.
TEST(BlockKeys, ComputesEachKeyOfTheChainOnce) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    Prng random(seed);
    const auto block_tokens = static_cast<size_t>(random.Between(1, 5));
    std::vector<TokenId> sequence(random.Below(60));
    for (TokenId& token : sequence) token = static_cast<TokenId>(random.Below(1000));
    size_t calls = 0;
    const auto counting = [&](const BlockKey& parent, std::span<const TokenId> tokens) {
      EXPECT_EQ(tokens.size(), block_tokens);
      EXPECT_TRUE(
          std::ranges::equal(tokens, std::span(sequence).subspan(calls * block_tokens, block_tokens)));
      ++calls;
      return ChildKey(parent, tokens);
    };
    BlockKeys keys(Key(seed), static_cast<int>(block_tokens), counting);
    size_t longest = 0;
    for (int event = 0; event < 20; ++event) {
      const size_t length = event < 19 ? random.Below(sequence.size() + 1) : sequence.size();
      longest = std::max(longest, length);
      keys.Extend(std::span(sequence).first(length));
      ASSERT_EQ(keys.size(), longest / block_tokens);  // a shorter prefix does not forget keys
      ASSERT_EQ(calls, keys.size());
    }
    BlockKey chain = Key(seed);
    EXPECT_EQ(keys.root(), chain);
    uint64_t check = RootCheck(chain);
    for (size_t i = 0; i < keys.size(); ++i) {
      const auto block = std::span(sequence).subspan(i * block_tokens, block_tokens);
      chain = ChildKey(chain, block);
      check = ChildCheck(check, block);
      ASSERT_EQ(keys.key(i), chain) << i;
      ASSERT_EQ(keys.check(i), check) << i;
    }
  }
}

TEST(BlockKeys, AreThoseOfChildKeyByDefault) {
  const std::vector<TokenId> tokens{1, 2, 3, 4, 5};
  BlockKeys keys(Key(1), 2);
  keys.Extend(tokens);
  ASSERT_EQ(keys.size(), 2u);
  EXPECT_EQ(keys.key(0), ChildKey(Key(1), std::span(tokens).first(2)));
  EXPECT_EQ(keys.key(1), ChildKey(keys.key(0), std::span(tokens).subspan(2, 2)));
}

// The checks tell apart what the keys do not.
TEST(BlockKeys, HaveChecksWhateverTheFunctionOfTheKeys) {
  const auto equal_keys = [](const BlockKey&, std::span<const TokenId>) { return BlockKey{}; };
  BlockKeys left(Key(1), 2, equal_keys);
  BlockKeys right(Key(1), 2, equal_keys);
  left.Extend(std::vector<TokenId>{1, 2, 5, 6});
  right.Extend(std::vector<TokenId>{3, 4, 5, 6});
  EXPECT_EQ(left.key(1), right.key(1));
  EXPECT_NE(left.check(1), right.check(1));
  EXPECT_EQ(left.check(1), ChildCheck(left.check(0), std::vector<TokenId>{5, 6}));
}

TEST(BlockKeysDeathTest, RefusesEmptyBlocksAndNoFunction) {
  EXPECT_DEATH(BlockKeys(Key(1), 0), "block_tokens > 0");
  EXPECT_DEATH(BlockKeys(Key(1), -2), "block_tokens > 0");
  EXPECT_DEATH(BlockKeys(Key(1), 2, nullptr), "key_ != nullptr");
}

// --- RequestClass ---

TEST(RequestClass, TellsHitsAndSizesApart) {
  EXPECT_EQ(RequestClass(0, 0), 0);
  EXPECT_EQ(RequestClass(0, 1), 1);
  EXPECT_EQ(RequestClass(0, 2), RequestClass(0, 3));
  EXPECT_NE(RequestClass(0, 3), RequestClass(0, 4));
  EXPECT_EQ(RequestClass(0, 64), RequestClass(0, SIZE_MAX));
  EXPECT_EQ(RequestClass(1, 5), RequestClass(100, 5));
  EXPECT_NE(RequestClass(1, 5), RequestClass(0, 5));
  for (size_t hits = 0; hits < 2; ++hits) {
    for (size_t blocks = 1; blocks != 0; blocks *= 2) EXPECT_LT(RequestClass(hits, blocks), kRequestClasses);
  }
}

// --- Claims ---

TEST(Claims, BelongToWhoAskedFirst) {
  Claims claims;
  Claims::Claimant first;
  Claims::Claimant second;
  EXPECT_TRUE(claims.TryClaim(Key(1), &first));
  EXPECT_FALSE(claims.TryClaim(Key(1), &second));
  EXPECT_TRUE(claims.TryClaim(Key(2), &second));
  EXPECT_EQ(claims.Find(Key(1)), &first);
  EXPECT_EQ(claims.Find(Key(3)), nullptr);
  claims.End(Key(1));
  EXPECT_TRUE(claims.TryClaim(Key(1), &second));
  claims.EndAll(&first);  // had lost it: the claim of the second stays
  EXPECT_EQ(claims.size(), 2u);
  claims.CheckInvariants();
  claims.EndAll(&second);
  EXPECT_EQ(claims.size(), 0u);
}

TEST(ClaimsDeathTest, FindsAClaimItsClaimantDoesNotKnow) {
  Claims claims;
  Claims::Claimant first;
  Claims::Claimant second;
  claims.TryClaim(Key(1), &first);
  EXPECT_DEATH((ClaimsTestPeer::Steal(&claims, Key(1), &second), claims.CheckInvariants()),
               "not in its claimant's list");
  claims.EndAll(&first);
}

TEST(ClaimsDeathTest, AClaimantEndsItsClaimsBeforeItIsDestroyed) {
  Claims claims;
  const auto forget = [&] {
    Claims::Claimant claimant;
    claims.TryClaim(Key(1), &claimant);
  };
  EXPECT_DEATH(forget(), "1 claims outlive their claimant");
}

}  // namespace
}  // namespace prefixd
