#include "cache/radix_tree.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/check.h"

namespace prefixd {
namespace {

int CommonPrefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  return static_cast<int>(std::ranges::mismatch(a, b).in1 - a.begin());
}

// Orders the children of a branch by their tokens. The children that share the most leading tokens with a
// query are next to the place where the query would be inserted.
struct TokenOrder {
  using is_transparent = void;
  const RadixTree* tree;

  static bool Less(std::span<const TokenId> a, std::span<const TokenId> b) {
    return std::ranges::lexicographical_compare(a, b);
  }
  bool operator()(BlockId a, BlockId b) const { return Less(tree->tokens(a), tree->tokens(b)); }
  bool operator()(BlockId a, std::span<const TokenId> b) const { return Less(tree->tokens(a), b); }
  bool operator()(std::span<const TokenId> a, BlockId b) const { return Less(a, tree->tokens(b)); }
};

}  // namespace

struct RadixTree::Branch {
  explicit Branch(const RadixTree* tree) : by_tokens(TokenOrder{tree}) {}
  std::unordered_map<BlockKey, BlockId> by_key;
  std::set<BlockId, TokenOrder> by_tokens;
};

struct RadixTree::Root {
  BlockKey key;
  Children children;
  uint32_t opened = 0;
};

RadixTree::RadixTree(int block_tokens, uint32_t blocks)
    : block_tokens_(static_cast<size_t>(block_tokens)), slots_(blocks), tokens_(block_tokens_ * blocks) {
  PREFIXD_CHECK(block_tokens > 0) << block_tokens;
}

RadixTree::~RadixTree() {
  for (const auto& [key, root] : roots_) {
    PREFIXD_CHECK(root->opened == 0) << "root " << ToHex(key) << " is open";
  }
}

RadixTree::Position RadixTree::OpenRoot(const BlockKey& key) {
  std::unique_ptr<Root>& root = roots_[key];
  if (root == nullptr) {
    root = std::make_unique<Root>();
    root->key = key;
  }
  ++root->opened;
  return {.root = root.get()};
}

void RadixTree::CloseRoot(Root* root) {
  PREFIXD_CHECK(root->opened > 0);
  --root->opened;
  RemoveRootIfUnused(root);
}

void RadixTree::RemoveRootIfUnused(Root* root) {
  if (root->opened > 0 || !root->children.empty()) return;
  const BlockKey key = root->key;  // outlives the root while it is looked up
  roots_.erase(key);
}

const RadixTree::Children& RadixTree::ChildrenAt(const Position& at) const {
  return at.block == kNoBlock ? at.root->children : slots_[at.block].children;
}

RadixTree::Children& RadixTree::ChildrenAt(const Position& at) {
  return at.block == kNoBlock ? at.root->children : slots_[at.block].children;
}

const BlockKey& RadixTree::parent_key(BlockId block) const {
  const Slot& slot = slots_[block];
  return slot.parent == kNoBlock ? slot.root->key : slots_[slot.parent].key;
}

RadixTree::Child RadixTree::Find(const Position& at, const BlockKey& key,
                                 std::span<const TokenId> tokens) const {
  PREFIXD_CHECK(tokens.size() == block_tokens_) << tokens.size() << " tokens";
  const Children& children = ChildrenAt(at);
  BlockId block = children.only;
  if (children.branch != nullptr) {
    const auto it = children.branch->by_key.find(key);
    if (it != children.branch->by_key.end()) block = it->second;
  }
  if (block == kNoBlock || slots_[block].key != key) return {};
  if (!std::ranges::equal(this->tokens(block), tokens)) return {.collision = true};
  return {.block = block};
}

RadixTree::Partial RadixTree::LongestPartial(const Position& at, std::span<const TokenId> tokens) const {
  PREFIXD_CHECK(tokens.size() <= block_tokens_) << tokens.size() << " tokens";
  const Children& children = ChildrenAt(at);
  Partial best;
  const auto consider = [&](BlockId block) {
    const int common = CommonPrefix(this->tokens(block), tokens);
    if (common > best.tokens) best = {.block = block, .tokens = common};
  };
  if (children.only != kNoBlock) consider(children.only);
  if (children.branch != nullptr) {
    const auto& ordered = children.branch->by_tokens;
    const auto above = ordered.lower_bound(tokens);
    if (above != ordered.end()) consider(*above);
    if (above != ordered.begin()) consider(*std::prev(above));
  }
  return best;
}

void RadixTree::AddToBranch(Branch* branch, BlockId block) {
  const bool new_key = branch->by_key.emplace(slots_[block].key, block).second;
  const bool new_tokens = branch->by_tokens.insert(block).second;
  PREFIXD_CHECK(new_key && new_tokens) << "block " << block << ": its key or tokens are in the tree already";
}

void RadixTree::Insert(const Position& at, const BlockKey& key, std::span<const TokenId> tokens,
                       BlockId block) {
  PREFIXD_CHECK(block < slots_.size() && !Contains(block)) << "block " << block;
  PREFIXD_CHECK(at.root != nullptr && (at.block == kNoBlock || slots_[at.block].root == at.root))
      << "after block " << at.block << ", which is not in the tree";
  PREFIXD_CHECK(tokens.size() == block_tokens_) << tokens.size() << " tokens";
  Slot& slot = slots_[block];
  slot.key = key;
  slot.root = at.root;
  slot.parent = at.block;
  std::ranges::copy(tokens, tokens_.begin() + static_cast<size_t>(block) * block_tokens_);
  ++size_;

  Children& siblings = ChildrenAt(at);
  if (siblings.empty()) {
    siblings.only = block;
    return;
  }
  if (siblings.branch == nullptr) {
    siblings.branch = std::make_unique<Branch>(this);
    AddToBranch(siblings.branch.get(), std::exchange(siblings.only, kNoBlock));
  }
  AddToBranch(siblings.branch.get(), block);
}

void RadixTree::RemoveLeaf(BlockId block) {
  PREFIXD_CHECK(block < slots_.size() && Contains(block) && IsLeaf(block))
      << "block " << block << " is no leaf";
  Slot& slot = slots_[block];
  Root* const root = slot.root;
  Children& siblings = ChildrenAt({.root = root, .block = slot.parent});
  if (siblings.branch == nullptr) {
    siblings.only = kNoBlock;
  } else {
    Branch& branch = *siblings.branch;
    branch.by_key.erase(slot.key);
    branch.by_tokens.erase(block);
    if (branch.by_tokens.size() == 1) {
      siblings.only = *branch.by_tokens.begin();
      siblings.branch.reset();
    }
  }
  slot = Slot{};
  --size_;
  RemoveRootIfUnused(root);
}

void RadixTree::CheckChildren(const Position& at, std::vector<BlockId>* found) const {
  const Children& children = ChildrenAt(at);
  const size_t before = found->size();
  if (children.only != kNoBlock) found->push_back(children.only);
  if (children.branch != nullptr) {
    const Branch& branch = *children.branch;
    PREFIXD_CHECK(children.only == kNoBlock) << "a branch beside block " << children.only;
    PREFIXD_CHECK(branch.by_tokens.size() >= 2) << "a branch with " << branch.by_tokens.size() << " children";
    PREFIXD_CHECK(branch.by_key.size() == branch.by_tokens.size()) << "after block " << at.block;
    for (const BlockId block : branch.by_tokens) {
      const auto it = branch.by_key.find(slots_[block].key);
      PREFIXD_CHECK(it != branch.by_key.end() && it->second == block)
          << "block " << block << " is not indexed by its key";
      found->push_back(block);
    }
    PREFIXD_CHECK(std::ranges::is_sorted(branch.by_tokens, TokenOrder{this})) << "after block " << at.block;
  }
  for (size_t i = before; i < found->size(); ++i) {
    const Slot& slot = slots_[(*found)[i]];
    PREFIXD_CHECK(slot.root == at.root) << "block " << (*found)[i] << " has another root";
    PREFIXD_CHECK(slot.parent == at.block)
        << "block " << (*found)[i] << " has parent " << slot.parent << ", not " << at.block;
  }
}

void RadixTree::CheckInvariants() const {
  std::vector<BlockId> found;
  size_t visited = 0;
  for (const auto& [key, root] : roots_) {
    PREFIXD_CHECK(root->key == key);
    PREFIXD_CHECK(root->opened > 0 || !root->children.empty()) << "root " << ToHex(key) << " is unused";
    CheckChildren({.root = root.get()}, &found);
    for (; visited < found.size(); ++visited) {
      PREFIXD_CHECK(visited < size_) << "more blocks are reachable than the tree has";
      CheckChildren({.root = root.get(), .block = found[visited]}, &found);
    }
  }
  PREFIXD_CHECK(found.size() == size_) << found.size() << " blocks are reachable, not " << size_;
  const auto in_tree = std::ranges::count_if(slots_, [](const Slot& slot) { return slot.root != nullptr; });
  PREFIXD_CHECK(static_cast<size_t>(in_tree) == size_) << in_tree << " slots are taken, not " << size_;
}

}  // namespace prefixd
