// PrefixCache::CheckInvariants finds planted damage. Every other test of the cache relies on it. The numbers
// and letters are those of prefix_cache.h and prefix_cache_impl.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "cache/prefix_cache_impl.h"
#include "tests/cache/held_transfers.h"

namespace prefixd {

struct PrefixCacheTestPeer {
  using Impl = PrefixCache::Impl;
  static Impl& Inside(PrefixCache& cache) { return *cache.impl_; }
};
struct RadixTreeTestPeer {
  static void Miscount(RadixTree* tree) { ++tree->size_; }
};
struct BlockPoolTestPeer {
  static void MiscountCached(BlockPool* pool) { ++pool->cached_; }
};

namespace {

using Tokens = std::vector<TokenId>;
using AcquireState = PrefixCache::AcquireState;

// A cache with blocks of two tokens in which something is in every state. Sequences are named by the first
// tokens of their blocks:
//   1 3       the lease `held` has computed both blocks, and its private block holds token 5
//   1 6       on the device and the host; a spill to the disk is running. 1 is being spilled to the host
//   10 12     in all three tiers, and no lease holds them
//   20 22     on disk; the lease `loading` waits for 20. The load of 22 has ended already
//   30        a ghost: its record was missing
//   1 6'      the lease `copying` has a part of the block 1 6 and claims its own block
//   1 8       the lease `claiming` computes the second block
struct Scene {
  struct Sequence {
    Tokens tokens;
    BlockKeys keys{kTestRoot, 2};
    Lease lease{};
  };

  Scene() {
    for (const Tokens& block : {Tokens{20, 21}, Tokens{20, 21, 22, 23}, Tokens{30, 31}})
      port.records.insert(KeyOf(block));
    MakeTriplicate();
    MakeGhost();
    MakeLoads();
    Compute(held);
    MakeSpills();
    EXPECT_EQ(Acquire(copying), AcquireState::kReady);
    EXPECT_EQ(Acquire(claiming), AcquireState::kReady);
    EXPECT_EQ(cache.stats().partial_copies, 1u);
    EXPECT_EQ(port.held().size(), 3u);
    EXPECT_EQ(cache.running_transfers(), 3u);
    EXPECT_EQ(inside.claims.size(), 2u);
    EXPECT_GT(cache.free_blocks(), 0u);
  }
  // Ends in the order of the members otherwise, which destroys the cache before the leases.
  ~Scene() {
    for (Sequence* sequence : {&held, &loading, &copying, &claiming}) sequence->lease.Release();
  }

  AcquireState Acquire(Sequence& sequence) {
    if (!sequence.lease.open()) sequence.lease = cache.Open(&sequence.keys);
    const auto limit = static_cast<int>(sequence.tokens.size()) - 1;
    return cache.Acquire(sequence.lease, sequence.tokens, limit).state;
  }
  void Compute(Sequence& sequence) {
    EXPECT_EQ(Acquire(sequence), AcquireState::kReady);
    EXPECT_TRUE(cache.Reserve(sequence.lease, static_cast<int>(sequence.tokens.size())));
    cache.EndStep(true);
    cache.Commit(sequence.lease, sequence.tokens);
  }
  void MakeTriplicate() {
    Sequence sequence{.tokens = {10, 11, 12, 13, 14}};
    Compute(sequence);
    sequence.lease.Release();
    for (int step = 0; step < 3; ++step) {
      cache.Poll();
      port.EndAll();
    }
    EXPECT_EQ(cache.stats().spills[0], 4u);
  }
  void MakeGhost() {
    Sequence sequence{.tokens = {30, 31, 32}};
    EXPECT_EQ(Acquire(sequence), AcquireState::kLoading);
    port.End(KeyOf({30, 31}), TransferResult::kMissing);
    cache.Poll();
    sequence.lease.Release();
  }
  void MakeLoads() {
    EXPECT_EQ(Acquire(loading), AcquireState::kLoading);
    port.End(KeyOf({20, 21, 22, 23}), TransferResult::kOk, {22, 23});
    cache.Poll();
  }
  void MakeSpills() {
    Sequence sequence{.tokens = {1, 2, 6, 7, 8}};
    Compute(sequence);
    sequence.lease.Release();
    cache.Poll();
    port.End(KeyOf({1, 2, 6, 7}));
    cache.Poll();
  }

  NodeId Node(const Tokens& tokens) const {
    RadixTree::Position at = inside.tree.FindRoot(kTestRoot).value();
    const BlockKeys keys = KeysOf(tokens);
    for (size_t i = 0; i < keys.size(); ++i) at.node = inside.tree.FindChild(at, keys.key(i));
    return at.node;
  }
  auto& State(const Sequence& sequence) {
    return **std::ranges::find_if(inside.leases, [&](auto* state) { return state->keys == &sequence.keys; });
  }
  auto& Device() { return inside.tier(Tier::kDevice); }
  // The transfer of the node at the end of these tokens.
  auto& Running(const Tokens& tokens) {
    return std::ranges::find_if(inside.running,
                                [&](const auto& transfer) { return transfer.second.node == Node(tokens); })
        ->second;
  }

  NoCopies copier;
  HeldTransfers port;
  PrefixCache cache{{.block_tokens = 2, .blocks = 12, .host_blocks = 8, .disk = true, .write_through = true},
                    &copier,
                    &port};
  PrefixCacheTestPeer::Impl& inside = PrefixCacheTestPeer::Inside(cache);
  Sequence held{.tokens = {1, 2, 3, 4, 5}};
  Sequence loading{.tokens = {20, 21, 22, 23, 24}};
  Sequence copying{.tokens = {1, 2, 6, 9, 9}};
  Sequence claiming{.tokens = {1, 2, 8, 8, 8}};
};

const Tokens kShared{1, 2};               // held, and being spilled
const Tokens kLeaf{1, 2, 3, 4};           // held
const Tokens kSpilling{1, 2, 6, 7};       // cached, and being spilled to the disk
const Tokens kInner{10, 11};              // cached, with a child in each tier
const Tokens kCandidate{10, 11, 12, 13};  // cached, without children
const Tokens kLoading{20, 21};            // its child has been loaded before it
const Tokens kGhost{30, 31};

template <typename Plant>
void Damaged(Plant plant) {
  Scene scene;
  plant(scene);
  scene.cache.CheckInvariants();
}

TEST(PrefixCacheCheck, FindsNothingInASoundCache) {
  Damaged([](Scene&) {});
}

// 1, 2 and 3: the blocks of the pools, and who owns them.
TEST(PrefixCacheCheckDeathTest, FindsDamagedBlocks) {
  EXPECT_DEATH(Damaged([](Scene& s) { s.Device().pool.Allocate(); }), "of tier 0 has 0 owners");
  EXPECT_DEATH(Damaged([](Scene& s) { s.inside.tier(Tier::kHost).pool.Allocate(); }),
               "of tier 1 has 0 owners");
  EXPECT_DEATH(Damaged([](Scene& s) {  // another private block in its place
                 s.State(s.held).blocks.back() = s.State(s.copying).blocks.back();
               }),
               "of tier 0 has [02] owners");
  EXPECT_DEATH(Damaged([](Scene& s) {
                 s.inside.tree.SetBlock(s.Node(kLeaf), Tier::kHost,
                                        s.inside.tree.block(s.Node(kSpilling), Tier::kHost));
               }),
               "of tier 1 has 2 owners");
  EXPECT_DEATH(Damaged([](Scene& s) { s.Running(kLoading).to_block = s.State(s.held).blocks.back(); }),
               "of tier 0 has [02] owners");
  EXPECT_DEATH(Damaged([](Scene& s) { s.Device().pool.Publish(s.State(s.held).blocks.back()); }),
               "private block");
  EXPECT_DEATH(Damaged([](Scene& s) {
                 s.Device().pool.SetLeased(s.inside.tree.block(s.Node(kCandidate), Tier::kDevice), true);
               }),
               "block . of node");
  EXPECT_DEATH(Damaged([](Scene& s) {
                 s.Device().pool.SetLeased(s.inside.tree.block(s.Node(kLeaf), Tier::kDevice), false);
               }),
               "block . of node");
  EXPECT_DEATH(Damaged([](Scene& s) { std::swap(s.State(s.held).blocks[0], s.State(s.held).blocks[1]); }),
               "of the table is not that of node");
  EXPECT_DEATH(Damaged([](Scene& s) { s.State(s.copying).ready += 2; }), "<= lease.blocks.size");
}

// 3, a, d and e: the state of a lease.
TEST(PrefixCacheCheckDeathTest, FindsDamagedLeases) {
  EXPECT_DEATH(Damaged([](Scene& s) { s.State(s.held).blocks.clear(); }), "path <= lease.blocks.size");
  EXPECT_DEATH(Damaged([](Scene& s) { s.State(s.held).ready = 7; }), "<= lease.blocks.size.. . block_tokens");
  EXPECT_DEATH(Damaged([](Scene& s) { s.State(s.held).ready = 3; }), "2 blocks on the path, 3 tokens");
  EXPECT_DEATH(Damaged([](Scene& s) { s.State(s.held).path.pop_back(); }), "1 blocks on the path, 5 tokens");
  EXPECT_DEATH(Damaged([](Scene& s) { std::swap(s.State(s.held).path[0], s.State(s.held).path[1]); }),
               "is not on the path");
  EXPECT_DEATH(Damaged([](Scene& s) { s.State(s.held).path[1] = s.inside.tree.end(); }),
               "is not on the path");
  EXPECT_DEATH(Damaged([](Scene& s) { s.State(s.held).keys = &s.copying.keys; }), "has another key");
  EXPECT_DEATH(
      Damaged([](Scene& s) { std::swap(s.State(s.loading).loading[0], s.State(s.loading).loading[1]); }),
      "is not on the path");
  EXPECT_DEATH(Damaged([](Scene& s) { s.State(s.loading).settled = true; }), "lease.loading.empty");
  EXPECT_DEATH(Damaged([](Scene& s) { s.State(s.loading).uncertain_copy = true; }), "!lease.uncertain_copy");
  EXPECT_DEATH(Damaged([](Scene& s) { s.State(s.copying).uncertain_copy = false; }), "is not listed once");
  EXPECT_DEATH(Damaged([](Scene& s) { s.inside.uncertain.clear(); }), "is not listed once");
  EXPECT_DEATH(Damaged([](Scene& s) { s.inside.uncertain.push_back(s.inside.uncertain[0]); }),
               "is not listed once");
  EXPECT_DEATH(Damaged([](Scene& s) { s.State(s.held).hit_blocks = 3; }), "hit_blocks");
  EXPECT_DEATH(Damaged([](Scene& s) { s.State(s.held).hit_blocks = -1; }), "hit_blocks");
}

TEST(PrefixCacheCheckDeathTest, FindsAPathWithoutReuse) {
  NoCopies copier;
  PrefixCache cache({.block_tokens = 2, .blocks = 2, .reuse = false}, &copier);
  BlockKeys keys(kTestRoot, 2);
  Lease lease = cache.Open(&keys);
  ASSERT_TRUE(cache.Reserve(lease, 2));
  cache.CheckInvariants();
  auto& state = **PrefixCacheTestPeer::Inside(cache).leases.begin();
  EXPECT_DEATH((state.path.push_back(0), cache.CheckInvariants()), "options.reuse");
}

// 4, b and c: references and candidates.
TEST(PrefixCacheCheckDeathTest, FindsDamagedReferences) {
  const auto add = [](const Tokens& tokens) {
    Damaged([&](Scene& s) { s.inside.tree.AddReference(s.Node(tokens)); });
  };
  const auto drop = [](const Tokens& tokens) {
    Damaged([&](Scene& s) { s.inside.tree.DropReference(s.Node(tokens)); });
  };
  EXPECT_DEATH(add(kLeaf), "2 references, 1 are known");
  EXPECT_DEATH(add(kGhost), "1 references, 0 are known");
  EXPECT_DEATH(drop(kLeaf), "0 references, 1 are known");
  EXPECT_DEATH(drop(kShared), "3 references, 4 are known");  // of three leases and a spill
  EXPECT_DEATH(drop(kSpilling), "0 references, 1 are known");
  EXPECT_DEATH(drop(kLoading), "1 references, 2 are known");
  EXPECT_DEATH(Damaged([](Scene& s) { s.State(s.loading).loading.pop_back(); }), "1 references, 0 are known");
}

TEST(PrefixCacheCheckDeathTest, FindsDamagedCandidates) {
  for (const Tier tier : {Tier::kDevice, Tier::kHost}) {
    const auto remove = [tier](Scene& s) {
      s.inside.tier(tier).eviction.RemoveCandidate(s.Node(kCandidate));
    };
    EXPECT_DEATH(Damaged(remove), "as an eviction candidate");
    const auto add_inner = [tier](Scene& s) {
      s.inside.tier(tier).eviction.AddCandidate(s.Node(kInner), s.inside.UseOf(s.Node(kInner)));
    };
    EXPECT_DEATH(Damaged(add_inner), "as an eviction candidate");
    const auto add_spilling = [tier](Scene& s) {
      s.inside.tier(tier).eviction.AddCandidate(s.Node(kSpilling), s.inside.UseOf(s.Node(kSpilling)));
    };
    EXPECT_DEATH(Damaged(add_spilling), "as an eviction candidate");
  }
  EXPECT_DEATH(Damaged([](Scene& s) {
                 s.Device().eviction.AddCandidate(s.Node(kLeaf), s.inside.UseOf(s.Node(kLeaf)));
               }),
               "as an eviction candidate");
}

// 5 and d: claims.
TEST(PrefixCacheCheckDeathTest, FindsDamagedClaims) {
  EXPECT_DEATH(Damaged([](Scene& s) {
                 s.inside.claims.TryClaim(s.inside.tree.key(s.Node(kCandidate)), &s.State(s.held).claimant);
               }),
               "a claim on node . of the tree");
  EXPECT_DEATH(Damaged([](Scene& s) {
                 static Claims::Claimant stranger;
                 s.inside.claims.TryClaim({7, 7}, &stranger);
               }),
               "1 claims belong to no lease");
  EXPECT_DEATH(Damaged([](Scene& s) { s.State(s.claiming).claimant.keys.clear(); }),
               "is not in its claimant's list");
  EXPECT_DEATH(Damaged([](Scene& s) {
                 s.inside.claims.TryClaim({7, 7}, &s.State(s.loading).claimant);
               }),
               "claimant.keys.empty");
  EXPECT_DEATH(Damaged([](Scene& s) { s.State(s.claiming).waited = true; }), "claimant.keys.empty");
  EXPECT_DEATH(Damaged([](Scene& s) { s.State(s.claiming).detached = true; }), "claimant.keys.empty");
}

// 6 and 7: nodes without KV, and the tokens of nodes.
TEST(PrefixCacheCheckDeathTest, FindsDamagedNodes) {
  EXPECT_DEATH(Damaged([](Scene& s) {
                 s.inside.ghosts.Remove(s.Node(kGhost), s.inside.tree.ghost_slot(s.Node(kGhost)));
               }),
               "is a ghost that is not in the index");
  EXPECT_DEATH(Damaged([](Scene& s) { s.inside.tree.ClearGhost(s.Node(kGhost)); }), "nothing needs node");
  EXPECT_DEATH(Damaged([](Scene& s) {
                 s.inside.tree.Add(s.inside.tree.FindRoot(kTestRoot).value(), {7, 7}, 7);
               }),
               "nothing needs node");
  EXPECT_DEATH(Damaged([](Scene& s) { s.inside.ghosts.Add(s.inside.tree.end()); }), "1 ghosts have no node");
  EXPECT_DEATH(Damaged([](Scene& s) {
                 s.inside.tree.SetTokens(s.Node(kLoading), Tokens{20, 20});
               }),
               "has the key or tokens of another node");
  EXPECT_DEATH(Damaged([](Scene& s) {
                 const auto root = s.inside.tree.FindRoot(kTestRoot).value();
                 const NodeId node = s.inside.tree.Add(root, KeyOf({40, 41}), KeysOf({40, 41}).check(0) + 1);
                 s.inside.tree.SetTokens(node, Tokens{40, 41});
                 s.inside.tree.Add({root.root, node}, {7, 7}, 7);  // for which the node stays
               }),
               "has the prefix check of another node");
}

TEST(PrefixCacheCheckDeathTest, FindsDamagedTransfers) {
  EXPECT_DEATH(Damaged([](Scene& s) { s.inside.loads.erase(s.Node(kLoading)); }),
               "loads.size.. . spills.size");
  EXPECT_DEATH(Damaged([](Scene& s) { s.inside.spills.erase(s.Node(kSpilling)); }),
               "loads.size.. . spills.size");
  EXPECT_DEATH(Damaged([](Scene& s) { s.inside.running.erase(s.inside.running.begin()); }),
               "loads.size.. . spills.size");
  EXPECT_DEATH(Damaged([](Scene& s) {
                 std::swap(s.inside.spills.at(s.Node(kShared)), s.inside.spills.at(s.Node(kSpilling)));
               }),
               "is not indexed by its node");
  EXPECT_DEATH(Damaged([](Scene& s) { s.Running(kLoading).to = Tier::kHost; }), "is not indexed by its node");
  EXPECT_DEATH(Damaged([](Scene& s) {
                 const NodeId gone = s.inside.tree.end();
                 auto load = s.inside.loads.extract(s.Node(kLoading));
                 s.Running(kLoading).node = load.key() = gone;
                 s.inside.loads.insert(std::move(load));
               }),
               "the node of transfer .+ is gone");
  EXPECT_DEATH(
      Damaged([](Scene& s) { s.inside.tree.ClearBlock(s.Node(kSpilling), s.Running(kSpilling).from); }),
      "the source of transfer .+ is gone");
  EXPECT_DEATH(Damaged([](Scene& s) { s.Running(kLoading).from = Tier::kHost; }),
               "the source of transfer .+ is gone");
  EXPECT_DEATH(Damaged([](Scene& s) { s.Device().pool.Publish(s.Running(kLoading).to_block); }),
               "the target of transfer");
  EXPECT_DEATH(
      Damaged([](Scene& s) { s.inside.tier(Tier::kHost).pool.Discard(s.Running(kShared).to_block); }),
      "the target of transfer");
}

}  // namespace

struct TenantEvictionTestPeer {
  static auto& Policy(TenantEviction* eviction) { return eviction->policy_; }
};

namespace {

// A policy whose own invariants do not hold. It has the candidates of another one.
class BrokenPolicy final : public EvictionPolicy {
 public:
  explicit BrokenPolicy(std::unique_ptr<EvictionPolicy> sound) : sound_(std::move(sound)) {}
  void Insert(NodeId node, const NodeUse& use) override { sound_->Insert(node, use); }
  void Hit(NodeId node, const NodeUse& use) override { sound_->Hit(node, use); }
  void Remove(NodeId node, const NodeUse& use) override { sound_->Remove(node, use); }
  void AddCandidate(NodeId node, const NodeUse& use) override { sound_->AddCandidate(node, use); }
  void RemoveCandidate(NodeId node) override { sound_->RemoveCandidate(node); }
  bool IsCandidate(NodeId node) const override { return sound_->IsCandidate(node); }
  std::optional<NodeId> Victim() const override { return sound_->Victim(); }
  void CheckInvariants() const override { PREFIXD_CHECK(sound_ == nullptr) << "a broken policy"; }

 private:
  std::unique_ptr<EvictionPolicy> sound_;
};

TEST(PrefixCacheCheckDeathTest, FindsDamagedComponents) {
  EXPECT_DEATH(Damaged([](Scene& s) { RadixTreeTestPeer::Miscount(&s.inside.tree); }), "are reachable");
  EXPECT_DEATH(Damaged([](Scene& s) { s.inside.ghosts.Add(s.Node(kGhost)); }), "in the index twice");
  for (const Tier tier : {Tier::kDevice, Tier::kHost}) {
    EXPECT_DEATH(Damaged([tier](Scene& s) { BlockPoolTestPeer::MiscountCached(&s.inside.pool(tier)); }),
                 "blocks are cached, not");
    const auto replace = [tier](Scene& s) {
      auto& policy = TenantEvictionTestPeer::Policy(&s.inside.tier(tier).eviction);
      policy = std::make_unique<BrokenPolicy>(std::move(policy));
    };
    EXPECT_DEATH(Damaged(replace), "a broken policy");
  }
}

}  // namespace
}  // namespace prefixd
