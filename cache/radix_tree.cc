#include "cache/radix_tree.h"

#include <algorithm>
#include <map>
#include <memory_resource>
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
  bool operator()(NodeId a, NodeId b) const { return Less(tree->tokens(a), tree->tokens(b)); }
  bool operator()(NodeId a, std::span<const TokenId> b) const { return Less(tree->tokens(a), b); }
  bool operator()(std::span<const TokenId> a, NodeId b) const { return Less(a, tree->tokens(b)); }
};

// Takes a number from `free_numbers`, or the next one after those of `table`, which grows.
template <typename Table>
uint32_t TakeNumber(std::vector<uint32_t>* free_numbers, Table* table) {
  if (free_numbers->empty()) {
    table->emplace_back();
    return static_cast<uint32_t>(table->size() - 1);
  }
  const uint32_t number = free_numbers->back();
  free_numbers->pop_back();
  return number;
}

// The nodes of a map and of a set of libstdc++: color, parent and two children, and the value.
constexpr size_t kLinks = 4 * sizeof(void*);
constexpr size_t kMapNode = kLinks + sizeof(std::pair<const BlockKey, NodeId>);
constexpr size_t kSetNode = kLinks + sizeof(void*);

}  // namespace

struct RadixTree::Branch {
  explicit Branch(RadixTree* tree)
      : by_key(&tree->child_memory_), by_tokens(TokenOrder{tree}, &tree->order_memory_) {}
  std::pmr::map<BlockKey, NodeId> by_key;
  std::pmr::set<NodeId, TokenOrder> by_tokens;  // those with a device block
};

struct RadixTree::Root {
  BlockKey key;
  uint64_t check = 0;
  uint32_t number = 0;
  uint32_t tag = 0;
  uint32_t children = kNoChild;
  uint32_t opened = 0;
};

RadixTree::RadixTree(int block_tokens, size_t known_tokens)
    : block_tokens_(static_cast<size_t>(block_tokens)), child_memory_(kMapNode), order_memory_(kSetNode) {
  PREFIXD_CHECK(block_tokens > 0) << block_tokens;
  tokens_.reserve(known_tokens * block_tokens_);  // so that it never moves
  free_token_slots_.reserve(known_tokens);
}

RadixTree::~RadixTree() {
  for (const auto& [key, root] : roots_) {
    PREFIXD_CHECK(root->opened == 0) << "root " << ToHex(key) << " is open";
  }
}

// --- Roots ---

RadixTree::Position RadixTree::OpenRoot(const BlockKey& key) {
  std::unique_ptr<Root>& root = roots_[key];
  if (root == nullptr) {
    root = std::make_unique<Root>();
    root->key = key;
    root->check = RootCheck(key);
    root->number = TakeNumber(&free_root_numbers_, &root_numbers_);
    root_numbers_[root->number] = root.get();
    if (tag_) root->tag = tag_(key);
  }
  ++root->opened;
  return {.root = root.get()};
}

void RadixTree::TagRoots(std::function<uint32_t(const BlockKey&)> tag) {
  tag_ = std::move(tag);
  for (const auto& [key, root] : roots_) root->tag = tag_(key);
}

uint32_t RadixTree::root_tag(const Root& root) { return root.tag; }
uint32_t RadixTree::root_tag(NodeId node) const { return root_numbers_[At(node).root]->tag; }

void RadixTree::CloseRoot(Root* root) {
  PREFIXD_CHECK(root->opened > 0);
  --root->opened;
  RemoveRootIfUnused(root);
}

std::optional<RadixTree::Position> RadixTree::FindRoot(const BlockKey& key) const {
  const auto it = roots_.find(key);
  if (it == roots_.end()) return std::nullopt;
  return Position{.root = it->second.get()};
}

void RadixTree::RemoveRootIfUnused(Root* root) {
  if (root->opened > 0 || root->children != kNoChild) return;
  root_numbers_[root->number] = nullptr;
  free_root_numbers_.push_back(root->number);
  const BlockKey key = root->key;  // outlives the root while it is looked up
  roots_.erase(key);
}

// --- Lookup ---

bool RadixTree::ChildrenAfter(NodeId node, std::optional<BlockKey>* last, size_t most,
                              std::vector<NodeId>* found) const {
  const uint32_t children = At(node).children;
  if (children == kNoChild) return true;
  if (!IsBranch(children)) {
    if (!*last || **last < key(children)) found->push_back(children);
    *last = std::max(last->value_or(key(children)), key(children));
    return true;
  }
  const auto& by_key = BranchOf(children).by_key;
  auto child = *last ? by_key.upper_bound(**last) : by_key.begin();
  for (; most > 0 && child != by_key.end(); --most, ++child) {
    found->push_back(child->second);
    *last = child->first;
  }
  return child == by_key.end();
}

uint32_t RadixTree::ChildrenAt(const Position& at) const {
  return at.node == kNoNode ? at.root->children : At(at.node).children;
}

uint32_t& RadixTree::ChildrenAt(const Position& at) {
  return at.node == kNoNode ? at.root->children : At(at.node).children;
}

RadixTree::Position RadixTree::ParentPosition(NodeId node) const {
  return {.root = root_numbers_[At(node).root], .node = At(node).parent};
}

const BlockKey& RadixTree::parent_key(NodeId node) const {
  const Position at = ParentPosition(node);
  return at.node == kNoNode ? at.root->key : At(at.node).key;
}

uint64_t RadixTree::parent_check(NodeId node) const {
  const Position at = ParentPosition(node);
  return at.node == kNoNode ? at.root->check : At(at.node).check;
}

const BlockKey& RadixTree::root_key(NodeId node) const { return ParentPosition(node).root->key; }

NodeId RadixTree::FindChild(const Position& at, const BlockKey& key) const {
  const uint32_t children = ChildrenAt(at);
  if (children == kNoChild) return kNoNode;
  if (!IsBranch(children)) return At(children).key == key ? children : kNoNode;
  const Branch& branch = BranchOf(children);
  const auto it = branch.by_key.find(key);
  return it == branch.by_key.end() ? kNoNode : it->second;
}

std::span<const TokenId> RadixTree::tokens(NodeId node) const {
  PREFIXD_CHECK(HasTokens(node)) << "node " << node << " does not know its tokens";
  return {tokens_.data() + At(node).slot * block_tokens_, block_tokens_};
}

bool RadixTree::Matches(NodeId node, uint64_t check, std::span<const TokenId> tokens) const {
  PREFIXD_CHECK(tokens.size() == block_tokens_) << tokens.size() << " tokens";
  return At(node).check == check && (!HasTokens(node) || std::ranges::equal(this->tokens(node), tokens));
}

RadixTree::Partial RadixTree::LongestPartial(const Position& at, std::span<const TokenId> tokens) const {
  PREFIXD_CHECK(tokens.size() <= block_tokens_) << tokens.size() << " tokens";
  Partial best;
  const auto consider = [&](NodeId node) {
    const int common = CommonPrefix(this->tokens(node), tokens);
    if (common > best.tokens) best = {.node = node, .tokens = common};
  };
  const uint32_t children = ChildrenAt(at);
  if (children == kNoChild) return best;
  if (!IsBranch(children)) {
    if (block(children, Tier::kDevice) != kNoBlock) consider(children);
    return best;
  }
  const auto& ordered = BranchOf(children).by_tokens;
  const auto above = ordered.lower_bound(tokens);
  if (above != ordered.end()) consider(*above);
  if (above != ordered.begin()) consider(*std::prev(above));
  return best;
}

// --- Nodes ---

uint32_t RadixTree::NewBranch() {
  const uint32_t number = TakeNumber(&free_branches_, &branches_);
  branches_[number] = std::make_unique<Branch>(this);
  return number | kBranchBit;
}

NodeId RadixTree::Add(const Position& at, const BlockKey& key, uint64_t check) {
  PREFIXD_CHECK(at.root != nullptr && (at.node == kNoNode || At(at.node).root == at.root->number))
      << "after node " << at.node << ", which is not in the tree";
  NodeId id;
  if (free_nodes_.empty()) {
    if (end_ % kChunkNodes == 0) {
      chunks_.push_back(std::make_unique<Node[]>(kChunkNodes));
      // So that it does not move while many nodes leave.
      const size_t nodes = chunks_.size() * kChunkNodes;
      if (free_nodes_.capacity() < nodes) free_nodes_.reserve(nodes + nodes / 2);
    }
    id = end_++;
    PREFIXD_CHECK(id < kBranchBit);
  } else {
    id = free_nodes_.back();
    free_nodes_.pop_back();
  }
  Node& node = At(id);
  node.key = key;
  node.check = check;
  node.root = at.root->number;
  node.parent = at.node;
  node.depth = at.node == kNoNode ? 0 : At(at.node).depth + 1;
  ++size_;

  uint32_t& siblings = ChildrenAt(at);
  if (siblings == kNoChild) {
    siblings = id;
    return id;
  }
  if (!IsBranch(siblings)) {
    const NodeId only = siblings;
    siblings = NewBranch();
    BranchOf(siblings).by_key.emplace(At(only).key, only);
    if (block(only, Tier::kDevice) != kNoBlock) BranchOf(siblings).by_tokens.insert(only);
  }
  PREFIXD_CHECK(BranchOf(siblings).by_key.emplace(key, id).second) << "a child with key " << ToHex(key);
  return id;
}

void RadixTree::Remove(NodeId id) {
  PREFIXD_CHECK(Contains(id) && IsLeaf(id) && !InMemory(id) && !IsGhost(id) && references(id) == 0)
      << "node " << id << " has children, KV in memory or references, or is a ghost";
  DropTokens(id);
  const Position parent = ParentPosition(id);
  uint32_t& siblings = ChildrenAt(parent);
  if (IsBranch(siblings)) {
    Branch& branch = BranchOf(siblings);
    branch.by_key.erase(At(id).key);
    if (branch.by_key.size() == 1) {
      const uint32_t number = siblings & ~kBranchBit;
      siblings = branch.by_key.begin()->second;
      branches_[number].reset();
      free_branches_.push_back(number);
    }
  } else {
    siblings = kNoChild;
  }
  At(id) = Node{};
  free_nodes_.push_back(id);
  --size_;
  if (parent.node == kNoNode) RemoveRootIfUnused(parent.root);
}

void RadixTree::SetTokens(NodeId node, std::span<const TokenId> tokens) {
  PREFIXD_CHECK(tokens.size() == block_tokens_ && At(node).slot_use == SlotUse::kNothing)
      << tokens.size() << " tokens for node " << node;
  uint32_t slot;
  if (free_token_slots_.empty()) {
    PREFIXD_CHECK(tokens_.size() < tokens_.capacity()) << "more nodes know their tokens than may";
    slot = static_cast<uint32_t>(tokens_.size() / block_tokens_);
    tokens_.resize(tokens_.size() + block_tokens_);
  } else {
    slot = free_token_slots_.back();
    free_token_slots_.pop_back();
  }
  At(node).slot = slot;
  At(node).slot_use = SlotUse::kTokens;
  std::ranges::copy(tokens, tokens_.begin() + static_cast<ptrdiff_t>(slot * block_tokens_));
}

void RadixTree::DropTokens(NodeId node) {
  if (!HasTokens(node)) return;
  PREFIXD_CHECK(!InMemory(node)) << "node " << node << " has KV in memory";
  free_token_slots_.push_back(At(node).slot);
  At(node).slot_use = SlotUse::kNothing;
}

void RadixTree::SetGhost(NodeId node, uint32_t slot) {
  PREFIXD_CHECK(At(node).slot_use == SlotUse::kNothing && !InMemory(node)) << "node " << node;
  At(node).slot = slot;
  At(node).slot_use = SlotUse::kGhost;
}

void RadixTree::ClearGhost(NodeId node) {
  PREFIXD_CHECK(IsGhost(node)) << "node " << node << " is no ghost";
  At(node).slot_use = SlotUse::kNothing;
}

void RadixTree::SetBlock(NodeId id, Tier tier, BlockId block) {
  Node& node = At(id);
  BlockId& place = node.blocks[static_cast<size_t>(tier)];
  PREFIXD_CHECK(place == kNoBlock && block != kNoBlock && HasTokens(id)) << "node " << id;
  place = block;
  if (node.references == 0) CountAtParent(id, tier, 1);
  const uint32_t siblings = ChildrenAt(ParentPosition(id));
  if (tier != Tier::kDevice || !IsBranch(siblings)) return;
  PREFIXD_CHECK(BranchOf(siblings).by_tokens.insert(id).second) << "two nodes with the tokens of node " << id;
}

void RadixTree::ClearBlock(NodeId id, Tier tier) {
  Node& node = At(id);
  BlockId& place = node.blocks[static_cast<size_t>(tier)];
  PREFIXD_CHECK(place != kNoBlock) << "node " << id;
  const uint32_t siblings = ChildrenAt(ParentPosition(id));
  if (tier == Tier::kDevice && IsBranch(siblings)) BranchOf(siblings).by_tokens.erase(id);
  place = kNoBlock;
  if (node.references == 0) CountAtParent(id, tier, -1);
}

void RadixTree::CountAtParent(NodeId node, Tier tier, int change) {
  const NodeId parent = At(node).parent;
  if (parent != kNoNode)
    At(parent).cached_children[static_cast<size_t>(tier)] += static_cast<uint32_t>(change);
}

bool RadixTree::AddReference(NodeId node) {
  if (At(node).references++ > 0) return false;
  for (const Tier tier : {Tier::kDevice, Tier::kHost}) {
    if (block(node, tier) != kNoBlock) CountAtParent(node, tier, -1);
  }
  return true;
}

bool RadixTree::DropReference(NodeId node) {
  PREFIXD_CHECK(At(node).references > 0) << "node " << node << " has no references";
  if (--At(node).references > 0) return false;
  for (const Tier tier : {Tier::kDevice, Tier::kHost}) {
    if (block(node, tier) != kNoBlock) CountAtParent(node, tier, 1);
  }
  return true;
}

bool RadixTree::InMemory(NodeId node) const {
  return block(node, Tier::kDevice) != kNoBlock || block(node, Tier::kHost) != kNoBlock;
}

size_t RadixTree::MemoryBytes() const {
  return chunks_.size() * kChunkNodes * sizeof(Node) + tokens_.capacity() * sizeof(TokenId) +
         child_memory_.bytes() + order_memory_.bytes() +
         (branches_.size() - free_branches_.size()) * sizeof(Branch);
}

// The sizes of heap pieces are those of libstdc++ and glibc, which add at most kHeapPiece bytes to each. A
// vector that grows by one has at most twice the capacity that it needs.
//
// A node costs most where each root has two children without children: then there are a branch for two nodes
// and a root for two nodes. In every other shape, such as a binary tree, more nodes share them.
size_t RadixTree::MaxMemoryBytes(int block_tokens, size_t known_tokens, size_t nodes) {
  constexpr size_t kHeapPiece = 24;
  constexpr size_t kBuckets = 3 * sizeof(void*);  // of the table of roots, while it grows as well
  constexpr size_t kTableNode = 2 * sizeof(void*) + sizeof(BlockKey) + kHeapPiece;  // next, key, value
  constexpr size_t kNumber = 2 * (sizeof(void*) + sizeof(uint32_t));  // in a table, and in its free list
  constexpr size_t kBranch = sizeof(Branch) + kHeapPiece + kNumber;
  constexpr size_t kRoot = sizeof(Root) + kHeapPiece + kTableNode + kBuckets + kNumber;
  const size_t chunks = (nodes + kChunkNodes - 1) / kChunkNodes;
  return chunks * (kChunkNodes * sizeof(Node) + kHeapPiece + 2 * sizeof(void*)) +
         nodes * (2 * sizeof(NodeId) + kBranch / 2 + kRoot / 2 + kMapNode) +
         known_tokens *
             (static_cast<size_t>(block_tokens) * sizeof(TokenId) + 2 * sizeof(uint32_t) + kSetNode) +
         2 * PieceMemory::kChunkBytes;
}

// --- Checks ---

void RadixTree::CheckChildren(const Position& at, std::vector<NodeId>* found) const {
  const uint32_t children = ChildrenAt(at);
  const size_t before = found->size();
  if (IsBranch(children)) {
    const Branch& branch = BranchOf(children);
    PREFIXD_CHECK(branch.by_key.size() >= 2) << "a branch with " << branch.by_key.size() << " children";
    size_t on_device = 0;
    for (const auto& [key, node] : branch.by_key) {
      PREFIXD_CHECK(At(node).key == key) << "node " << node << " is not indexed by its key";
      if (block(node, Tier::kDevice) != kNoBlock) {
        ++on_device;
        PREFIXD_CHECK(branch.by_tokens.contains(node)) << "node " << node << " is not indexed by its tokens";
      }
      found->push_back(node);
    }
    PREFIXD_CHECK(branch.by_tokens.size() == on_device) << "after node " << at.node;
    const auto not_less = [this](NodeId a, NodeId b) { return !TokenOrder{this}(a, b); };
    PREFIXD_CHECK(std::ranges::adjacent_find(branch.by_tokens, not_less) == branch.by_tokens.end())
        << "the children after node " << at.node << " are not in ascending order of their tokens";
  } else if (children != kNoChild) {
    found->push_back(children);
  }
  uint32_t cached[kPoolTiers] = {0, 0};
  for (size_t i = before; i < found->size(); ++i) {
    const NodeId id = (*found)[i];
    PREFIXD_CHECK(Contains(id)) << "node " << id << " is not in use";
    const Node& node = At(id);
    PREFIXD_CHECK(node.root == at.root->number) << "node " << id << " has another root";
    PREFIXD_CHECK(node.parent == at.node)
        << "node " << id << " has parent " << node.parent << ", not " << at.node;
    PREFIXD_CHECK(node.depth == (at.node == kNoNode ? 0 : At(at.node).depth + 1)) << "node " << id;
    for (int tier = 0; tier < kPoolTiers; ++tier) {
      if (node.blocks[tier] == kNoBlock) continue;
      if (node.references == 0) ++cached[tier];
      PREFIXD_CHECK(HasTokens(id)) << "node " << id << " has KV in memory but no tokens";
    }
  }
  if (at.node == kNoNode) return;
  for (int tier = 0; tier < kPoolTiers; ++tier) {
    PREFIXD_CHECK(At(at.node).cached_children[tier] == cached[tier])
        << "node " << at.node << " counts " << At(at.node).cached_children[tier]
        << " cached children in tier " << tier << ", not " << cached[tier];
  }
}

void RadixTree::CheckInvariants() const {
  std::vector<NodeId> found;
  size_t visited = 0;
  for (const auto& [key, root] : roots_) {
    PREFIXD_CHECK(root->key == key && root_numbers_.at(root->number) == root.get()) << "root " << ToHex(key);
    PREFIXD_CHECK(root->opened > 0 || root->children != kNoChild) << "root " << ToHex(key) << " is unused";
    CheckChildren({.root = root.get()}, &found);
    for (; visited < found.size(); ++visited) {
      PREFIXD_CHECK(visited < size_) << "more nodes are reachable than the tree has";
      CheckChildren({.root = root.get(), .node = found[visited]}, &found);
    }
  }
  PREFIXD_CHECK(found.size() == size_) << found.size() << " nodes are reachable, not " << size_;
  PREFIXD_CHECK(end_ - free_nodes_.size() == size_)
      << free_nodes_.size() << " of " << end_ << " ids are free";
  for (const NodeId node : free_nodes_)
    PREFIXD_CHECK(!Contains(node)) << "id " << node << " is free and used";
  std::vector<uint32_t> known;  // token slots
  for (const NodeId node : found) {
    if (HasTokens(node)) known.push_back(At(node).slot);
  }
  PREFIXD_CHECK(known.size() == tokens_.size() / block_tokens_ - free_token_slots_.size())
      << known.size() << " nodes know their tokens";
  std::ranges::sort(known);
  PREFIXD_CHECK(std::ranges::adjacent_find(known) == known.end())
      << "two nodes have their tokens in one slot";
  size_t branches = 0;
  const auto count = [&](uint32_t children) { branches += IsBranch(children) ? 1 : 0; };
  for (const auto& [key, root] : roots_) count(root->children);
  for (const NodeId node : found) count(At(node).children);
  PREFIXD_CHECK(branches == branches_.size() - free_branches_.size()) << branches << " branches are in use";
  const auto numbers = std::ranges::count_if(root_numbers_, [](const Root* root) { return root != nullptr; });
  PREFIXD_CHECK(static_cast<size_t>(numbers) == roots_.size()) << numbers << " roots have numbers";
}

}  // namespace prefixd
