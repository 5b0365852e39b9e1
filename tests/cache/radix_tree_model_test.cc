// RadixTree against a simple model, in random order of all that a caller may do.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "cache/radix_tree.h"
#include "tests/support/rounds.h"

namespace prefixd {
namespace {

using Tokens = std::vector<TokenId>;
using Position = RadixTree::Position;

constexpr Tier kPools[] = {Tier::kDevice, Tier::kHost};

// A tree with its model: for every node what it was told, in a flat table that is searched from end to end.
// Keys say nothing about tokens here, so keys that match other tokens are as common as others.
class ModelledTree {
 public:
  explicit ModelledTree(uint64_t seed)
      : random_(seed),
        block_tokens_(1 << random_.Below(3)),
        most_nodes_(static_cast<size_t>(random_.Between(1, 30))),
        tree_(block_tokens_, most_nodes_) {}

  void Step() {
    if (random_.Chance(0.1)) return OpenOrCloseRoot();
    if (model_.empty() || random_.Chance(0.3)) return Add();
    const NodeId node = RandomNode();
    switch (random_.Below(8)) {
      case 0:
        return SetTokens(node);
      case 1:
        return SetBlock(node, kPools[random_.Below(2)]);
      case 2:
        return ClearBlock(node, kPools[random_.Below(2)]);
      case 3:
        return DropTokens(node);
      case 4:
        return random_.Chance(0.3) ? SetGhost(node) : ClearGhost(node);
      case 5:
        return AddReference(node);
      case 6:
        return DropReference(node);
      default:
        return Remove(node);
    }
  }

  void Check() {
    tree_.CheckInvariants();
    ASSERT_EQ(tree_.size(), model_.size());
    ASSERT_EQ(tree_.end(), peak_);  // ids are reused
    for (NodeId node = 0; node < peak_; ++node) ASSERT_EQ(tree_.Contains(node), model_.contains(node));
    ASSERT_FALSE(tree_.Contains(peak_));
    ASSERT_FALSE(tree_.Contains(kNoNode));
    for (const auto& [node, known] : model_) {
      CheckPlace(node, known);
      CheckKv(node, known);
    }
    CheckRoots();
    CheckQuery();
  }

  void Drain() {
    while (!model_.empty()) {
      const NodeId node = std::ranges::find_if(model_, [&](const auto& n) { return IsLeaf(n.first); })->first;
      for (const Tier tier : kPools) ClearBlock(node, tier);
      ClearGhost(node);
      while (model_[node].references > 0) DropReference(node);
      Remove(node);
    }
    for (size_t root = 0; root < kRoots; ++root) {
      for (; opened_[root] > 0; --opened_[root]) tree_.CloseRoot(tree_.FindRoot(RootKeyOf(root))->root);
    }
    tree_.CheckInvariants();
    EXPECT_EQ(tree_.roots(), 0u);
    EXPECT_EQ(tree_.size(), 0u);
  }

 private:
  static constexpr size_t kRoots = 3;
  static size_t Index(Tier tier) { return static_cast<size_t>(tier); }
  struct Known {
    size_t root;
    NodeId parent;
    BlockKey key;
    uint64_t check;
    uint32_t depth;
    uint32_t label;  // random, kept in the facts
    std::optional<Tokens> tokens;
    std::optional<uint32_t> ghost_slot;
    uint32_t references = 0;
    BlockId blocks[kPoolTiers] = {kNoBlock, kNoBlock};

    bool InMemory() const { return blocks[0] != kNoBlock || blocks[1] != kNoBlock; }
    bool IsCached(Tier tier) const { return blocks[Index(tier)] != kNoBlock && references == 0; }
  };

  static BlockKey RootKeyOf(size_t root) { return {.low = root, .high = 77}; }
  NodeId RandomNode() {
    return std::next(model_.begin(), static_cast<ptrdiff_t>(random_.Below(model_.size())))->first;
  }
  // Few values, and many that differ in a half only.
  BlockKey RandomKey() { return {.low = random_.Below(3), .high = random_.Below(3)}; }
  Tokens RandomTokens() {
    Tokens tokens(static_cast<size_t>(block_tokens_));
    for (TokenId& token : tokens) token = static_cast<TokenId>(random_.Below(3));
    return tokens;
  }
  std::vector<NodeId> Children(size_t root, NodeId parent) const {
    std::vector<NodeId> children;
    for (const auto& [node, known] : model_) {
      if (known.root == root && known.parent == parent) children.push_back(node);
    }
    return children;
  }
  bool IsLeaf(NodeId node) const { return Children(model_.at(node).root, node).empty(); }
  bool RootExists(size_t root) const { return opened_[root] > 0 || !Children(root, kNoNode).empty(); }
  Position PositionOf(size_t root, NodeId node) const {
    return {.root = tree_.FindRoot(RootKeyOf(root))->root, .node = node};
  }
  NodeId ChildWithKey(size_t root, NodeId parent, const BlockKey& key) const {
    for (const NodeId child : Children(root, parent)) {
      if (model_.at(child).key == key) return child;
    }
    return kNoNode;
  }
  // A place in the model: after any node, or at any root that exists.
  std::optional<std::pair<size_t, NodeId>> RandomPlace() {
    if (!model_.empty() && random_.Chance(0.7)) {
      const NodeId node = RandomNode();
      return std::pair{model_[node].root, node};
    }
    const size_t root = random_.Below(kRoots);
    if (!RootExists(root)) return std::nullopt;
    return std::pair{root, kNoNode};
  }

  // --- The events ---

  void OpenOrCloseRoot() {
    const size_t root = random_.Below(kRoots);
    if (opened_[root] > 0 && random_.Chance(0.5)) {
      tree_.CloseRoot(PositionOf(root, kNoNode).root);
      --opened_[root];
      return;
    }
    const Position at = tree_.OpenRoot(RootKeyOf(root));
    ++opened_[root];
    ASSERT_EQ(at.node, kNoNode);
    ASSERT_EQ(at.root, PositionOf(root, kNoNode).root);
  }
  void Add() {
    const auto place = RandomPlace();
    const BlockKey key = RandomKey();
    if (!place || model_.size() == most_nodes_ || ChildWithKey(place->first, place->second, key) != kNoNode) {
      return;
    }
    const auto [root, parent] = *place;
    const auto label = static_cast<uint32_t>(random_.Below(200));
    const uint64_t check = random_.Below(3);
    const NodeId node = tree_.Add(PositionOf(root, parent), key, check);
    ASSERT_FALSE(model_.contains(node));
    // Nothing is left of an earlier node with this id.
    ASSERT_FALSE(tree_.HasTokens(node) || tree_.InMemory(node) || tree_.IsGhost(node));
    ASSERT_EQ(tree_.facts(node).last_use + tree_.facts(node).hits, 0u);
    tree_.facts(node).last_use = label;
    tree_.facts(node).hits = static_cast<uint16_t>(label + 1);
    const uint32_t depth = parent == kNoNode ? 0 : model_[parent].depth + 1;
    model_.emplace(
        node,
        Known{.root = root, .parent = parent, .key = key, .check = check, .depth = depth, .label = label});
    peak_ = std::max(peak_, static_cast<NodeId>(model_.size()));
  }
  void SetTokens(NodeId node) {
    Known& known = model_[node];
    if (known.tokens || known.ghost_slot) return;
    known.tokens = RandomTokens();
    tree_.SetTokens(node, *known.tokens);
  }
  void DropTokens(NodeId node) {
    if (model_[node].InMemory()) return;
    tree_.DropTokens(node);
    model_[node].tokens.reset();
  }
  void SetGhost(NodeId node) {
    Known& known = model_[node];
    if (known.tokens || known.ghost_slot || known.InMemory()) return;
    known.ghost_slot = static_cast<uint32_t>(random_.Below(1000));
    tree_.SetGhost(node, *known.ghost_slot);
  }
  void ClearGhost(NodeId node) {
    if (!model_[node].ghost_slot) return;
    tree_.ClearGhost(node);
    model_[node].ghost_slot.reset();
  }
  void AddReference(NodeId node) { ASSERT_EQ(tree_.AddReference(node), model_[node].references++ == 0); }
  void DropReference(NodeId node) {
    if (model_[node].references == 0) return;
    ASSERT_EQ(tree_.DropReference(node), --model_[node].references == 0);
  }
  void SetBlock(NodeId node, Tier tier) {
    Known& known = model_[node];
    if (!known.tokens || known.blocks[Index(tier)] != kNoBlock) return;
    for (const NodeId other : Children(known.root, known.parent)) {
      const bool on_device = model_[other].blocks[Index(Tier::kDevice)] != kNoBlock;
      if (tier == Tier::kDevice && on_device && model_[other].tokens == known.tokens) return;
    }
    known.blocks[Index(tier)] = static_cast<BlockId>(random_.Below(1000));
    tree_.SetBlock(node, tier, known.blocks[Index(tier)]);
  }
  void ClearBlock(NodeId node, Tier tier) {
    if (model_[node].blocks[Index(tier)] == kNoBlock) return;
    tree_.ClearBlock(node, tier);
    model_[node].blocks[Index(tier)] = kNoBlock;
  }
  void Remove(NodeId node) {
    const Known& known = model_[node];
    if (!IsLeaf(node) || known.InMemory() || known.ghost_slot || known.references > 0) return;
    tree_.Remove(node);
    model_.erase(node);
  }

  // --- The comparisons ---

  void CheckPlace(NodeId node, const Known& known) {
    const Position at = PositionOf(known.root, known.parent);
    ASSERT_EQ(tree_.FindChild(at, known.key), node);
    ASSERT_EQ(tree_.parent(node), known.parent);
    ASSERT_EQ(tree_.key(node), known.key);
    ASSERT_EQ(tree_.root_key(node), RootKeyOf(known.root));
    const bool top = known.parent == kNoNode;
    ASSERT_EQ(tree_.parent_key(node), top ? RootKeyOf(known.root) : model_[known.parent].key);
    ASSERT_EQ(tree_.check(node), known.check);
    ASSERT_EQ(tree_.parent_check(node), top ? RootCheck(RootKeyOf(known.root)) : model_[known.parent].check);
    ASSERT_EQ(tree_.depth(node), known.depth);
    ASSERT_EQ(tree_.IsLeaf(node), Children(known.root, node).empty());
    ASSERT_EQ(tree_.facts(node).last_use, known.label);
    ASSERT_EQ(tree_.facts(node).hits, known.label + 1);
  }

  void CheckKv(NodeId node, const Known& known) {
    ASSERT_EQ(tree_.HasTokens(node), known.tokens.has_value());
    const Tokens other = RandomTokens();
    ASSERT_EQ(tree_.Matches(node, known.check, other), !known.tokens || other == *known.tokens);
    if (known.tokens) {
      ASSERT_TRUE(std::ranges::equal(tree_.tokens(node), *known.tokens));
      ASSERT_TRUE(tree_.Matches(node, known.check, *known.tokens));
    }
    ASSERT_FALSE(tree_.Matches(node, known.check + 1, known.tokens.value_or(other)));
    ASSERT_EQ(tree_.IsGhost(node), known.ghost_slot.has_value());
    if (known.ghost_slot) {
      ASSERT_EQ(tree_.ghost_slot(node), *known.ghost_slot);
    }
    ASSERT_EQ(tree_.references(node), known.references);
    for (const Tier tier : kPools) {
      ASSERT_EQ(tree_.block(node, tier), known.blocks[Index(tier)]);
      const bool cached_child = std::ranges::any_of(
          Children(known.root, node), [&](NodeId child) { return model_[child].IsCached(tier); });
      ASSERT_EQ(tree_.HasCachedChild(node, tier), cached_child);
    }
    ASSERT_EQ(tree_.InMemory(node), known.InMemory());
  }

  void CheckRoots() {
    size_t roots = 0;
    std::map<uint32_t, size_t> numbers;
    for (size_t root = 0; root < kRoots; ++root) {
      ASSERT_EQ(tree_.FindRoot(RootKeyOf(root)).has_value(), RootExists(root)) << root;
      roots += RootExists(root) ? 1 : 0;
    }
    for (const auto& [node, known] : model_) {
      ASSERT_LT(tree_.root_number(node), kRoots);  // numbers of roots that are gone are used again
      ASSERT_EQ(numbers.emplace(tree_.root_number(node), known.root).first->second, known.root);
    }
    std::set<size_t> numbered;
    for (const auto& [number, root] : numbers) ASSERT_TRUE(numbered.insert(root).second) << "two numbers";
    ASSERT_EQ(tree_.roots(), roots);
  }

  void CheckQuery() {
    const auto place = RandomPlace();
    if (!place) return;
    const auto [root, parent] = *place;
    const Position at = PositionOf(root, parent);
    const BlockKey key = RandomKey();
    ASSERT_EQ(tree_.FindChild(at, key), ChildWithKey(root, parent, key));
    Tokens asked = RandomTokens();
    asked.resize(random_.Below(asked.size() + 1));
    ptrdiff_t longest = 0;
    for (const NodeId child : Children(root, parent)) {
      const Known& known = model_[child];
      if (known.blocks[Index(Tier::kDevice)] == kNoBlock) continue;
      longest = std::max(longest, std::ranges::mismatch(asked, *known.tokens).in1 - asked.begin());
    }
    const RadixTree::Partial partial = tree_.LongestPartial(at, asked);
    ASSERT_EQ(partial.tokens, longest);
    if (longest == 0) return;
    ASSERT_EQ(model_[partial.node].parent, parent);
    ASSERT_EQ(model_[partial.node].root, root);
    ASSERT_NE(tree_.block(partial.node, Tier::kDevice), kNoBlock);
    ASSERT_TRUE(std::equal(asked.begin(), asked.begin() + longest, tree_.tokens(partial.node).begin()));
  }

  Prng random_;
  const int block_tokens_;
  const size_t most_nodes_;
  RadixTree tree_;
  std::map<NodeId, Known> model_;
  NodeId peak_ = 0;  // the most nodes at once
  uint32_t opened_[kRoots] = {};
};

TEST(RadixTree, DoesWhatTheModelDoes) {
  const auto seeds = static_cast<uint64_t>(testing_support::Rounds(100));
  for (uint64_t seed = 0; seed < seeds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    ModelledTree tree(seed);
    for (int event = 0; event < 300 && !testing::Test::HasFailure(); ++event) {
      SCOPED_TRACE(event);
      tree.Step();
      tree.Check();
    }
    tree.Drain();
  }
}

}  // namespace
}  // namespace prefixd
