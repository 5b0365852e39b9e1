#include "cache/radix_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/prng.h"
#include "tests/support/rounds.h"

namespace prefixd {

struct RadixTreeTestPeer {
  static void SetParent(RadixTree* tree, BlockId block, BlockId parent) {
    tree->slots_[block].parent = parent;
  }
  static void SetKey(RadixTree* tree, BlockId block, const BlockKey& key) { tree->slots_[block].key = key; }
  static void SetToken(RadixTree* tree, BlockId block, TokenId token) {
    tree->tokens_[block * tree->block_tokens_] = token;
  }
  static void DropChild(RadixTree* tree, BlockId parent) { tree->slots_[parent].children.only = kNoBlock; }
  static void AddChild(RadixTree* tree, BlockId parent, BlockId block) {
    tree->slots_[parent].children.only = block;
  }
  static void Miscount(RadixTree* tree) { ++tree->size_; }
};

namespace {

using Tokens = std::vector<TokenId>;

constexpr BlockKey kRoot{1, 1};

// A tree with its model: a map from a prefix (the number of its root, then its tokens) to its last block.
class ModelledTree {
 public:
  ModelledTree(uint64_t seed, uint32_t blocks)
      : random_(seed), block_tokens_(1 << random_.Below(3)), tree_(block_tokens_, blocks) {
    for (BlockId block = 0; block < blocks; ++block) free_.push_back(block);
    for (uint64_t i = 0; i < 2; ++i) roots_.push_back(tree_.OpenRoot(RootKeyOf(i)));
  }

  void Step() {
    if (!free_.empty() && random_.Chance(0.55)) {
      Insert();
    } else if (!model_.empty()) {
      RemoveALeaf();
    }
    tree_.CheckInvariants();
    ASSERT_EQ(tree_.size(), model_.size());
  }

  // Every prefix of the model is found, and a random query has the result of a search through the whole
  // model.
  void Check() {
    for (const auto& [prefix, block] : model_) {
      const auto [parent, tokens] = Split(prefix);
      const RadixTree::Position at = PositionOf(parent);
      ASSERT_EQ(tree_.Find(at, KeyOf(at, tokens), tokens).block, block);
      ASSERT_EQ(tree_.IsLeaf(block), !HasChild(prefix));
      ASSERT_EQ(tree_.parent(block), at.block);
      ASSERT_TRUE(std::ranges::equal(tree_.tokens(block), tokens));
    }
    const Tokens parent = RandomPrefix();
    Tokens asked = RandomBlock();
    const RadixTree::Position at = PositionOf(parent);
    ASSERT_EQ(tree_.Find(at, KeyOf(at, asked), asked).block, BlockAt(Join(parent, asked)));
    asked.resize(random_.Below(asked.size()) + 1);
    const RadixTree::Partial partial = tree_.LongestPartial(at, asked);
    ASSERT_EQ(partial.tokens, LongestInModel(parent, asked));
    if (partial.tokens > 0) {
      ASSERT_EQ(tree_.parent(partial.block), at.block);
      ASSERT_TRUE(
          std::equal(asked.begin(), asked.begin() + partial.tokens, tree_.tokens(partial.block).begin()));
    }
  }

  void Drain() {
    while (!model_.empty()) RemoveALeaf();
    for (const RadixTree::Position& root : roots_) tree_.CloseRoot(root.root);
    tree_.CheckInvariants();
    EXPECT_EQ(tree_.roots(), 0u);
  }

 private:
  static BlockKey RootKeyOf(uint64_t i) { return {.low = i, .high = 7}; }
  static Tokens Join(Tokens a, const Tokens& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  }
  Tokens RandomBlock() {
    Tokens tokens(static_cast<size_t>(block_tokens_));
    for (TokenId& token : tokens) token = static_cast<TokenId>(random_.Below(3));
    return tokens;
  }
  Tokens RandomPrefix() {
    const size_t i = random_.Below(model_.size() + roots_.size());
    if (i < roots_.size()) return {static_cast<TokenId>(i)};
    return std::next(model_.begin(), static_cast<ptrdiff_t>(i - roots_.size()))->first;
  }
  BlockId BlockAt(const Tokens& prefix) const {
    const auto it = model_.find(prefix);
    return it == model_.end() ? kNoBlock : it->second;
  }
  RadixTree::Position PositionOf(const Tokens& prefix) const {
    return {.root = roots_[static_cast<size_t>(prefix[0])].root, .block = BlockAt(prefix)};
  }
  BlockKey KeyOf(const RadixTree::Position& at, const Tokens& tokens) const {
    const bool top = at.block == kNoBlock;
    return ChildKey(top ? RootKeyOf(at.root == roots_[0].root ? 0 : 1) : tree_.key(at.block), tokens);
  }
  std::pair<Tokens, Tokens> Split(const Tokens& prefix) const {
    const auto cut = prefix.end() - block_tokens_;
    return {Tokens(prefix.begin(), cut), Tokens(cut, prefix.end())};
  }
  bool HasChild(const Tokens& prefix) const {
    return std::ranges::any_of(model_, [&](const auto& entry) {
      return entry.first.size() > prefix.size() &&
             std::equal(prefix.begin(), prefix.end(), entry.first.begin());
    });
  }
  int LongestInModel(const Tokens& parent, const Tokens& asked) const {
    ptrdiff_t best = 0;
    for (const auto& [prefix, block] : model_) {
      const auto [start, tokens] = Split(prefix);
      if (start == parent) best = std::max(best, std::ranges::mismatch(asked, tokens).in1 - asked.begin());
    }
    return static_cast<int>(best);
  }
  void Insert() {
    const Tokens parent = RandomPrefix();
    const Tokens tokens = RandomBlock();
    if (model_.contains(Join(parent, tokens))) return;
    const RadixTree::Position at = PositionOf(parent);
    tree_.Insert(at, KeyOf(at, tokens), tokens, free_.back());
    model_[Join(parent, tokens)] = free_.back();
    free_.pop_back();
  }
  void RemoveALeaf() {
    auto it = std::next(model_.begin(), static_cast<ptrdiff_t>(random_.Below(model_.size())));
    while (HasChild(it->first)) ++it;  // its children sort after it
    tree_.RemoveLeaf(it->second);
    free_.push_back(it->second);
    model_.erase(it);
  }

  Prng random_;
  const int block_tokens_;
  RadixTree tree_;
  std::vector<RadixTree::Position> roots_;
  std::vector<BlockId> free_;
  std::map<Tokens, BlockId> model_;
};

TEST(RadixTree, DoesWhatTheModelDoes) {
  const auto seeds = static_cast<uint64_t>(testing_support::Rounds(60));
  for (uint64_t seed = 0; seed < seeds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    ModelledTree tree(seed, 1 + static_cast<uint32_t>(seed % 40));
    for (int event = 0; event < 200 && !testing::Test::HasFailure(); ++event) {
      SCOPED_TRACE(event);
      tree.Step();
      tree.Check();
    }
    tree.Drain();
  }
}

TEST(RadixTree, TellsACollisionFromAMiss) {
  RadixTree tree(2, 4);
  const RadixTree::Position root = tree.OpenRoot(kRoot);
  const BlockKey key{5, 5};
  tree.Insert(root, key, Tokens{1, 2}, 0);
  EXPECT_EQ(tree.Find(root, key, Tokens{1, 2}).block, 0u);
  EXPECT_TRUE(tree.Find(root, key, Tokens{1, 3}).collision);
  EXPECT_FALSE(tree.Find(root, BlockKey{6, 6}, Tokens{1, 3}).collision);
  tree.Insert(root, BlockKey{6, 6}, Tokens{1, 3}, 1);  // a branch now
  EXPECT_TRUE(tree.Find(root, key, Tokens{1, 3}).collision);
  EXPECT_EQ(tree.Find(root, BlockKey{6, 6}, Tokens{1, 3}).block, 1u);
  tree.CloseRoot(root.root);
}

TEST(RadixTree, RootLastsWhileItIsOpenOrHasBlocks) {
  RadixTree tree(1, 2);
  const RadixTree::Position root = tree.OpenRoot(kRoot);
  EXPECT_EQ(tree.OpenRoot(kRoot).root, root.root);
  tree.Insert(root, BlockKey{5, 5}, Tokens{1}, 0);
  tree.CloseRoot(root.root);
  tree.CloseRoot(root.root);
  EXPECT_EQ(tree.roots(), 1u);
  tree.RemoveLeaf(0);
  EXPECT_EQ(tree.roots(), 0u);
}

TEST(RadixTreeDeathTest, RefusesMisuse) {
  RadixTree tree(1, 3);
  const RadixTree::Position root = tree.OpenRoot(kRoot);
  tree.Insert(root, BlockKey{5, 5}, Tokens{1}, 0);
  EXPECT_DEATH(tree.Insert(root, BlockKey{6, 6}, Tokens{2}, 0), "block 0");
  EXPECT_DEATH(tree.Insert(root, BlockKey{5, 5}, Tokens{2}, 1), "in the tree already");
  tree.Insert({root.root, 0}, BlockKey{6, 6}, Tokens{2}, 1);
  EXPECT_DEATH(tree.RemoveLeaf(0), "no leaf");
  EXPECT_DEATH(tree.RemoveLeaf(2), "no leaf");
  EXPECT_DEATH(tree.Find(root, BlockKey{5, 5}, Tokens{1, 2}), "2 tokens");
  EXPECT_DEATH(tree.Insert({root.root, 2}, BlockKey{7, 7}, Tokens{1}, 2), "after block 2");
  EXPECT_DEATH(
      {
        RadixTree left(1, 1);
        left.OpenRoot(kRoot);
      },
      "is open");
  tree.CloseRoot(root.root);
}

TEST(RadixTreeDeathTest, CheckInvariantsFindsPlantedDamage) {
  // root - 0 - 1 -< 2, 3
  const auto with = [](auto damage) {
    RadixTree tree(2, 5);
    const RadixTree::Position root = tree.OpenRoot(kRoot);
    tree.Insert(root, BlockKey{10, 0}, Tokens{1, 1}, 0);
    tree.Insert({root.root, 0}, BlockKey{11, 0}, Tokens{1, 1}, 1);
    tree.Insert({root.root, 1}, BlockKey{12, 0}, Tokens{1, 1}, 2);
    tree.Insert({root.root, 1}, BlockKey{13, 0}, Tokens{2, 1}, 3);
    damage(&tree);
    tree.CheckInvariants();
    tree.CloseRoot(root.root);
  };
  using Peer = RadixTreeTestPeer;
  with([](RadixTree*) {});
  EXPECT_DEATH(with([](RadixTree* t) { Peer::SetParent(t, 1, kNoBlock); }), "has parent");
  EXPECT_DEATH(with([](RadixTree* t) { Peer::SetParent(t, 3, 0); }), "has parent");
  EXPECT_DEATH(with([](RadixTree* t) { Peer::SetKey(t, 3, BlockKey{12, 0}); }), "not indexed by its key");
  EXPECT_DEATH(with([](RadixTree* t) { Peer::SetToken(t, 2, 3); }), "is_sorted");
  EXPECT_DEATH(with([](RadixTree* t) { Peer::DropChild(t, 0); }), "reachable");
  EXPECT_DEATH(with([](RadixTree* t) { Peer::AddChild(t, 2, 0); }), "reachable|has parent");
  EXPECT_DEATH(with([](RadixTree* t) { Peer::AddChild(t, 1, 2); }), "a branch beside");
  EXPECT_DEATH(with([](RadixTree* t) { Peer::Miscount(t); }), "reachable");
}

}  // namespace
}  // namespace prefixd
