#include "cache/radix_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace prefixd {

// Plants what CheckInvariants must find.
struct RadixTreeTestPeer {
  static auto& At(RadixTree* tree, NodeId node) { return tree->At(node); }
  static auto& ChildrenAt(RadixTree* tree, const RadixTree::Position& at) { return tree->ChildrenAt(at); }
  static uint32_t NewBranch(RadixTree* tree) { return tree->NewBranch(); }
  static auto& FreeNodes(RadixTree* tree) { return tree->free_nodes_; }
  static auto& FreeTokenSlots(RadixTree* tree) { return tree->free_token_slots_; }
  static auto& RootNumbers(RadixTree* tree) { return tree->root_numbers_; }
  static auto& Size(RadixTree* tree) { return tree->size_; }
  static void SetFirstToken(RadixTree* tree, NodeId node, TokenId token) {
    tree->tokens_[At(tree, node).slot * tree->block_tokens_] = token;
  }
  static void ForgetTokens(RadixTree* tree, NodeId node) {
    At(tree, node).slot_use = RadixTree::SlotUse::kNothing;
  }
  static constexpr uint32_t kNoChild = RadixTree::kNoChild;
};

namespace {

using Tokens = std::vector<TokenId>;
using Position = RadixTree::Position;
using Peer = RadixTreeTestPeer;

constexpr BlockKey kRoot{1, 1};

TEST(RadixTree, TellsACollisionFromAMiss) {
  RadixTree tree(2, 4);
  const Position root = tree.OpenRoot(kRoot);
  const BlockKey key{5, 5};
  const NodeId first = tree.Add(root, key, 77);
  EXPECT_TRUE(tree.Matches(first, 77, Tokens{1, 2}));
  EXPECT_TRUE(tree.Matches(first, 77, Tokens{1, 3})) << "the check is all that it knows";
  EXPECT_FALSE(tree.Matches(first, 78, Tokens{1, 2}));
  tree.SetTokens(first, Tokens{1, 2});
  const auto expect_found = [&] {
    EXPECT_EQ(tree.FindChild(root, key), first);
    EXPECT_TRUE(tree.Matches(first, 77, Tokens{1, 2}));
    EXPECT_FALSE(tree.Matches(first, 77, Tokens{1, 3}));
    EXPECT_FALSE(tree.Matches(first, 78, Tokens{1, 2})) << "after other tokens";
  };
  expect_found();
  EXPECT_EQ(tree.FindChild(root, {5, 6}), kNoNode);
  const NodeId second = tree.Add(root, {5, 6}, 79);  // a branch now
  tree.SetTokens(second, Tokens{1, 3});
  expect_found();
  EXPECT_EQ(tree.FindChild(root, {5, 6}), second);
  EXPECT_EQ(tree.FindChild(root, {6, 5}), kNoNode);
  tree.CloseRoot(root.root);
}

TEST(RadixTree, ChildrenAreFoundInPiecesWhileOthersComeAndLeave) {
  RadixTree tree(2, 4);
  const Position root = tree.OpenRoot(kRoot);
  const NodeId parent = tree.Add(root, {1, 2}, 1);
  const auto add = [&](uint64_t key) { return tree.Add({root.root, parent}, {key, 2}, key); };
  std::vector<NodeId> children;
  for (uint64_t i = 0; i < 100; ++i) children.push_back(add(10 + i));
  std::vector<NodeId> found;
  std::optional<BlockKey> last;
  size_t calls = 1;
  for (; !tree.ChildrenAfter(parent, &last, 4, &found); ++calls) {
    EXPECT_EQ(found.size(), 4 * calls);
    if (calls != 10) continue;
    for (const NodeId child : found) tree.Remove(child);
    tree.Remove(children[99]);
    children.pop_back();
    add(1);  // before those that were found
    children.push_back(add(500));
  }
  EXPECT_EQ(calls, 25u);
  EXPECT_EQ(found, children) << "each once, in the order of their keys";
  const auto all = [&] {
    found.clear();
    last.reset();
    EXPECT_TRUE(tree.ChildrenAfter(parent, &last, 1000, &found));
    return found.size();
  };
  while (all() > 1) tree.Remove(found[0]);
  EXPECT_TRUE(tree.ChildrenAfter(parent, &last, 1, &found)) << "the only one was found before";
  EXPECT_EQ(found.size(), 1u);
  tree.Remove(found[0]);
  EXPECT_EQ(all(), 0u);
  tree.Remove(parent);
  tree.CloseRoot(root.root);
}

// A lease keeps its position while runs split and merge behind it.
TEST(RadixTree, PositionStaysValidThroughSplitAndMerge) {
  RadixTree tree(1, 4);
  const Position root = tree.OpenRoot(kRoot);
  const Position middle{root.root, tree.Add(root, {1, 0}, 0)};
  const NodeId below = tree.Add(middle, {2, 0}, 0);
  const NodeId sibling = tree.Add(middle, {3, 0}, 0);
  EXPECT_EQ(tree.FindChild(middle, {2, 0}), below);
  EXPECT_EQ(tree.FindChild(middle, {3, 0}), sibling);
  tree.Remove(below);
  EXPECT_EQ(tree.FindChild(middle, {3, 0}), sibling);
  EXPECT_EQ(tree.FindChild(middle, {2, 0}), kNoNode);
  const NodeId again = tree.Add(middle, {4, 0}, 0);
  EXPECT_EQ(again, below);  // the id is used again
  EXPECT_EQ(tree.FindChild(middle, {2, 0}), kNoNode);
  EXPECT_EQ(tree.FindChild(middle, {4, 0}), again);
  tree.CheckInvariants();
  tree.CloseRoot(root.root);
}

TEST(RadixTree, RootLastsWhileItIsOpenOrHasNodes) {
  RadixTree tree(1, 2);
  const Position root = tree.OpenRoot(kRoot);
  EXPECT_EQ(tree.OpenRoot(kRoot).root, root.root);
  const NodeId node = tree.Add(root, {5, 5}, 0);
  tree.CloseRoot(root.root);
  tree.CloseRoot(root.root);
  EXPECT_EQ(tree.roots(), 1u);
  tree.Remove(node);
  EXPECT_EQ(tree.roots(), 0u);
  EXPECT_FALSE(tree.FindRoot(kRoot));
  tree.CloseRoot(tree.OpenRoot(kRoot).root);
  EXPECT_EQ(tree.roots(), 0u);
}

// Nodes never move, so a reference to the key of a node stays valid while others are added.
TEST(RadixTree, NodesStayWhereTheyAre) {
  constexpr uint64_t kNodes = 9000;
  RadixTree tree(1, 1);
  const Position root = tree.OpenRoot(kRoot);
  Position at = root;
  at.node = tree.Add(at, {0, 0}, 0);
  const BlockKey* key = &tree.key(at.node);
  const size_t bytes = tree.MemoryBytes();
  for (uint64_t n = 1; n < kNodes; ++n) at.node = tree.Add(at, {n, 0}, 0);
  EXPECT_EQ(&tree.key(0), key);
  EXPECT_EQ(tree.depth(at.node), kNodes - 1);
  EXPECT_GE(tree.MemoryBytes(), kNodes * RadixTree::NodeBytes());
  EXPECT_GT(tree.MemoryBytes(), bytes);
  tree.CheckInvariants();
  for (uint64_t n = kNodes; n-- > 0;) {
    EXPECT_EQ(tree.key(at.node).low, n);
    const NodeId parent = tree.parent(at.node);
    tree.Remove(at.node);
    at.node = parent;
  }
  EXPECT_EQ(tree.end(), kNodes);
  tree.CloseRoot(root.root);
}

// A node that knows nothing but its key and its check has children that know more.
TEST(RadixTree, ANodeForgetsItsTokensAlone) {
  RadixTree tree(1, 2);
  const Position root = tree.OpenRoot(kRoot);
  const NodeId top = tree.Add(root, {5, 5}, 1);
  const NodeId child = tree.Add({root.root, top}, {6, 6}, 2);
  tree.SetTokens(child, Tokens{8});
  tree.SetTokens(top, Tokens{7});
  tree.SetBlock(child, Tier::kHost, 3);
  tree.DropTokens(top);
  tree.DropTokens(top);  // no effect
  EXPECT_FALSE(tree.HasTokens(top));
  EXPECT_TRUE(tree.HasTokens(child));
  tree.SetTokens(top, Tokens{9});  // in the place of those that were dropped: there are two
  EXPECT_EQ(tree.tokens(top)[0], 9);
  EXPECT_EQ(tree.tokens(child)[0], 8);
  tree.CheckInvariants();
  tree.CloseRoot(root.root);
}

TEST(RadixTree, SaysWhichReferenceIsTheFirstAndTheLast) {
  RadixTree tree(1, 1);
  const Position root = tree.OpenRoot(kRoot);
  const NodeId node = tree.Add(root, {5, 5}, 1);
  EXPECT_EQ(tree.references(node), 0u);
  EXPECT_TRUE(tree.AddReference(node));
  EXPECT_FALSE(tree.AddReference(node));
  EXPECT_EQ(tree.references(node), 2u);
  EXPECT_FALSE(tree.DropReference(node));
  EXPECT_TRUE(tree.DropReference(node));
  EXPECT_EQ(tree.references(node), 0u);
  tree.CloseRoot(root.root);
}

// The child has blocks in both tiers. It is cached there while nothing refers to it.
TEST(RadixTree, CountsTheChildrenThatAreCached) {
  RadixTree tree(1, 1);
  const Position root = tree.OpenRoot(kRoot);
  const NodeId top = tree.Add(root, {5, 5}, 1);
  const NodeId child = tree.Add({root.root, top}, {6, 6}, 2);
  const auto cached = [&] {
    tree.CheckInvariants();
    return std::pair(tree.HasCachedChild(top, Tier::kDevice), tree.HasCachedChild(top, Tier::kHost));
  };
  tree.SetTokens(child, Tokens{8});
  EXPECT_EQ(cached(), std::pair(false, false));
  tree.SetBlock(child, Tier::kDevice, 3);
  EXPECT_EQ(cached(), std::pair(true, false));
  tree.AddReference(child);
  tree.AddReference(child);
  EXPECT_EQ(cached(), std::pair(false, false));
  tree.SetBlock(child, Tier::kHost, 4);
  tree.DropReference(child);
  EXPECT_EQ(cached(), std::pair(false, false)) << "one reference is left";
  tree.DropReference(child);
  EXPECT_EQ(cached(), std::pair(true, true));
  tree.ClearBlock(child, Tier::kDevice);
  EXPECT_EQ(cached(), std::pair(false, true));
  tree.ClearBlock(child, Tier::kHost);
  EXPECT_EQ(cached(), std::pair(false, false));
  tree.CloseRoot(root.root);
}

TEST(RadixTreeDeathTest, RefusesMisuseOfPlaces) {
  EXPECT_DEATH(RadixTree(0, 1), "block_tokens > 0");
  RadixTree tree(2, 9);
  const Position root = tree.OpenRoot(kRoot);
  const Position other_root = tree.OpenRoot({2, 2});
  const NodeId top = tree.Add(root, {5, 5}, 1);
  const NodeId child = tree.Add({root.root, top}, {6, 6}, 2);
  EXPECT_DEATH(tree.Add(root, {5, 5}, 4), "a child with key");
  tree.Add(root, {5, 6}, 5);
  const NodeId gone = tree.Add({root.root, top}, {7, 7}, 3);
  tree.Remove(gone);
  EXPECT_DEATH(tree.Add(root, {5, 5}, 4), "a child with key") << "of a branch";
  EXPECT_DEATH(tree.Add({root.root, gone}, {8, 8}, 4), "which is not in the tree");
  EXPECT_DEATH(tree.Add({other_root.root, top}, {8, 8}, 4), "which is not in the tree");
  EXPECT_DEATH(tree.Add({}, {8, 8}, 4), "which is not in the tree");
  constexpr char kNeeded[] = "has children, KV in memory or references, or is a ghost";
  EXPECT_DEATH(tree.Remove(top), kNeeded);
  EXPECT_DEATH(tree.Remove(gone), kNeeded);
  tree.AddReference(child);
  EXPECT_DEATH(tree.Remove(child), kNeeded);
  tree.DropReference(child);
  EXPECT_DEATH(tree.DropReference(child), "node . has no references");
  for (const Tier tier : {Tier::kDevice, Tier::kHost}) {
    tree.SetTokens(child, Tokens{1, 2});
    tree.SetBlock(child, tier, 1);
    EXPECT_DEATH(tree.Remove(child), kNeeded);
    tree.ClearBlock(child, tier);
    tree.DropTokens(child);
  }
  tree.SetGhost(child, 0);
  EXPECT_DEATH(tree.Remove(child), kNeeded);

  tree.CloseRoot(root.root);
  EXPECT_DEATH(tree.CloseRoot(root.root), "opened > 0");
  EXPECT_DEATH(
      {
        RadixTree left(1, 1);
        left.OpenRoot(kRoot);
      },
      "is open");
  tree.CloseRoot(other_root.root);
}

TEST(RadixTreeDeathTest, RefusesMisuseOfTokensAndBlocks) {
  RadixTree tree(2, 2);
  const Position root = tree.OpenRoot(kRoot);
  const NodeId top = tree.Add(root, {5, 5}, 1);
  const NodeId twin = tree.Add(root, {5, 6}, 1);
  const NodeId third = tree.Add(root, {5, 7}, 1);
  EXPECT_DEATH(tree.SetTokens(top, Tokens{1}), "1 tokens");
  EXPECT_DEATH(tree.tokens(top), "does not know its tokens");
  EXPECT_DEATH(tree.Matches(top, 1, Tokens{1, 2, 3}), "3 tokens");
  EXPECT_DEATH(tree.LongestPartial(root, Tokens{1, 2, 3}), "3 tokens");
  EXPECT_DEATH(tree.SetBlock(top, Tier::kDevice, 1), "HasTokens");
  EXPECT_DEATH(tree.ClearBlock(top, Tier::kHost), "place != kNoBlock");
  EXPECT_DEATH(tree.ClearGhost(top), "is no ghost");
  tree.SetGhost(top, 3);
  EXPECT_DEATH(tree.SetTokens(top, Tokens{1, 2}), "2 tokens for node");
  EXPECT_DEATH(tree.SetGhost(top, 4), "slot_use");
  tree.ClearGhost(top);

  tree.SetTokens(top, Tokens{1, 2});
  EXPECT_DEATH(tree.SetTokens(top, Tokens{1, 2}), "2 tokens for node");
  EXPECT_DEATH(tree.SetGhost(top, 4), "slot_use");
  EXPECT_DEATH(tree.ClearGhost(top), "is no ghost");
  EXPECT_DEATH(tree.SetBlock(top, Tier::kHost, kNoBlock), "block != kNoBlock");
  tree.SetBlock(top, Tier::kDevice, 1);
  EXPECT_DEATH(tree.SetBlock(top, Tier::kDevice, 2), "place == kNoBlock");
  EXPECT_DEATH(tree.ClearBlock(top, Tier::kHost), "place != kNoBlock");
  EXPECT_DEATH(tree.DropTokens(top), "has KV in memory");
  tree.SetTokens(twin, Tokens{1, 2});
  EXPECT_DEATH(tree.SetBlock(twin, Tier::kDevice, 3), "two nodes with the tokens");
  EXPECT_DEATH(tree.SetTokens(third, Tokens{3, 3}), "more nodes know their tokens than may");
  tree.CloseRoot(root.root);
}

// The tree for planted damage, by number of the node:
//     root - 0 - 1 -< 2   0 to 3: on the device
//                   < 3
//                   < 4   without tokens and KV
//     closed root - 5     on the host
// Node 6 has been removed. 3 has a reference.
struct Planted {
  template <typename Plant>
  explicit Planted(Plant plant) {
    const auto add = [&](const Position& at, uint64_t key) { return tree.Add(at, {key, 0}, key); };
    add(root, 10);
    add({root.root, 0}, 11);
    for (uint64_t key = 12; key < 15; ++key) add({root.root, 1}, key);
    add(other, 15);
    tree.Remove(add({other.root, 5}, 16));
    for (const NodeId node : {0u, 1u, 2u, 3u, 5u}) {
      tree.SetTokens(node, Tokens{static_cast<TokenId>(node), 1});
    }
    tree.SetBlock(0, Tier::kDevice, 20);
    tree.SetBlock(1, Tier::kDevice, 21);
    tree.SetBlock(2, Tier::kDevice, 22);
    tree.SetBlock(3, Tier::kDevice, 23);
    tree.SetBlock(5, Tier::kHost, 25);
    tree.AddReference(3);
    tree.CloseRoot(other.root);
    plant(*this);
    tree.CheckInvariants();
    tree.CloseRoot(root.root);
  }
  auto& At(NodeId node) { return Peer::At(&tree, node); }
  auto& ChildrenAt(const Position& at) { return Peer::ChildrenAt(&tree, at); }

  RadixTree tree{2, 6};
  Position root = tree.OpenRoot(kRoot);
  Position other = tree.OpenRoot({2, 2});
};

TEST(RadixTreeDeathTest, CheckInvariantsFindsDamagedEdges) {
  Planted([](Planted&) {});
  // 1. One parent, reachable from its root.
  EXPECT_DEATH(Planted([](Planted& p) { p.At(1).parent = kNoNode; }), "node 1 has parent");
  EXPECT_DEATH(Planted([](Planted& p) { p.At(3).parent = 0; }), "node 3 has parent 0, not 1");
  EXPECT_DEATH(Planted([](Planted& p) { p.At(5).root = p.At(0).root; }), "node 5 has another root");
  EXPECT_DEATH(Planted([](Planted& p) { p.At(2).depth = 7; }), "depth");
  EXPECT_DEATH(Planted([](Planted& p) { p.ChildrenAt(p.root) = Peer::kNoChild; }),
               "1 nodes are reachable, not 6");
  EXPECT_DEATH(Planted([](Planted& p) { p.At(5).children = 2; }), "node 2 has another root");
  EXPECT_DEATH(Planted([](Planted& p) { p.At(2).children = 3; }), "node 3 has parent 1, not 2");
  EXPECT_DEATH(Planted([](Planted& p) { p.At(2).children = 6; }), "node 6 is not in use");
  EXPECT_DEATH(Planted([](Planted& p) { ++Peer::Size(&p.tree); }), "6 nodes are reachable, not 7");
  EXPECT_DEATH(Planted([](Planted& p) { Peer::FreeNodes(&p.tree).pop_back(); }), "0 of 7 ids are free");
  EXPECT_DEATH(Planted([](Planted& p) { Peer::FreeNodes(&p.tree)[0] = 5; }), "id 5 is free and used");
  // 2. Branches and their indexes.
  EXPECT_DEATH(Planted([](Planted& p) { p.At(3).children = Peer::NewBranch(&p.tree); }),
               "a branch with 0 children");
  EXPECT_DEATH(Planted([](Planted& p) { p.At(3).key = {12, 0}; }), "node 3 is not indexed by its key");
  EXPECT_DEATH(Planted([](Planted& p) { p.At(2).blocks[0] = kNoBlock; }), "by_tokens.size.. == on_device");
  EXPECT_DEATH(Planted([](Planted& p) { Peer::SetFirstToken(&p.tree, 2, 9); }),
               "node . is not indexed by its tokens");
  EXPECT_DEATH(Planted([](Planted& p) { Peer::SetFirstToken(&p.tree, 2, 3); }),
               "not in ascending order of their tokens");
  EXPECT_DEATH(Planted([](Planted& p) { Peer::NewBranch(&p.tree); }), "1 branches are in use");
  EXPECT_DEATH(Planted([](Planted& p) {
                 p.tree.SetTokens(4, Tokens{4, 4});
                 p.At(4).blocks[0] = 24;
               }),
               "node 4 is not indexed by its tokens");
}

TEST(RadixTreeDeathTest, CheckInvariantsFindsDamagedKnowledge) {
  // 3. Tokens of nodes with KV in memory.
  EXPECT_DEATH(Planted([](Planted& p) { Peer::ForgetTokens(&p.tree, 5); }),
               "node 5 has KV in memory but no tokens");
  EXPECT_DEATH(Planted([](Planted& p) { p.At(4).blocks[1] = 24; }), "node 4 has KV in memory but no tokens");
  EXPECT_DEATH(Planted([](Planted& p) { Peer::FreeTokenSlots(&p.tree).push_back(0); }),
               "5 nodes know their tokens");
  EXPECT_DEATH(Planted([](Planted& p) { p.At(1).slot = p.At(0).slot; }),
               "two nodes have their tokens in one slot");
  // 4. Counts of the children that are cached.
  EXPECT_DEATH(Planted([](Planted& p) { ++p.At(1).cached_children[0]; }),
               "node 1 counts 2 cached children in tier 0, not 1");
  EXPECT_DEATH(Planted([](Planted& p) { --p.At(0).cached_children[0]; }),
               "node 0 counts 0 cached children in tier 0, not 1");
  EXPECT_DEATH(Planted([](Planted& p) { ++p.At(0).cached_children[1]; }),
               "node 0 counts 1 cached children in tier 1, not 0");
  EXPECT_DEATH(Planted([](Planted& p) { p.At(1).blocks[1] = 8; }),
               "node 0 counts 0 cached children in tier 1, not 1");
  EXPECT_DEATH(Planted([](Planted& p) { p.At(3).references = 0; }),
               "node 1 counts 1 cached children in tier 0, not 2");
  EXPECT_DEATH(Planted([](Planted& p) { p.At(2).references = 1; }),
               "node 1 counts 1 cached children in tier 0, not 0");
  // 5. Roots.
  EXPECT_DEATH(Planted([](Planted& p) { p.ChildrenAt(p.other) = Peer::kNoChild; }), "is unused");
  EXPECT_DEATH(Planted([](Planted& p) {
                 auto& numbers = Peer::RootNumbers(&p.tree);
                 std::swap(numbers.at(0), numbers.at(1));
               }),
               "root_numbers_");
  EXPECT_DEATH(Planted([](Planted& p) { Peer::RootNumbers(&p.tree).push_back(p.root.root); }),
               "3 roots have numbers");
}

}  // namespace
}  // namespace prefixd
