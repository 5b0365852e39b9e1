// RadixTree: maps a prefix of tokens to nodes. A node is one block of tokens after a prefix: its key, its
// prefix check, its tokens and where its KV lies. The tree moves no KV and knows no leases: the cache tells
// it what changes. Engine thread only.
//
// The tree is path-compressed at block granularity. An edge is a run of nodes with one child each. A branch
// exists only where prefixes diverge; it finds a child by key, and keeps the children that have a device
// block ordered by tokens. So a run splits in O(1) when a second child appears, and merges again when a
// branch is left with one child. A Position stays valid through both.
//
//     root ── [n0 n1 n2] ─< [n3 n4]            n0..n2: one child each, n2: a branch
//                         └ [n5] ─< [n6]
//                                 └ [n7 n8 n9]
//
// Memory: sizeof(Node) bytes per node, at most 80, plus 4 * block_tokens bytes while its tokens are known,
// plus about 100 bytes per child of a branch.
//
// Costs: a call costs O(log children) of the branch. No call moves or frees what many calls before it have
// left behind, so none is slow now and then: a branch is a tree of keys and not a hash table, which would be
// moved as it grows, and its memory is used again (PieceMemory).
//
// Invariants (CheckInvariants tests them)
//   1. Every node has exactly one parent (a node or a root) and is reachable from its root.
//   2. A branch has at least two children, which differ in key. Its index by tokens holds exactly the
//      children with a device block.
//   3. A node with a block in a pool tier knows its tokens. A node that knows its tokens is no ghost.
//   4. For each pool tier, a node counts its children that are cached there: those that have a block in the
//      tier and no references.
//   5. A root without children exists only while it is open.
//
// What a node is never changes while it is in the tree: its key and its prefix check cover its tokens and all
// tokens before it. So a node may forget its tokens while it has no KV in memory, and its children stay those
// of the same prefix.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/types.h"
#include "cache/block_pool.h"
#include "cache/node.h"
#include "cache/piece_memory.h"
#include "cache/tier.h"
#include "hashing/block_key.h"

namespace prefixd {

class RadixTree {
 public:
  struct Root;
  // The place after `node`, which is in the tree; the root itself when node is kNoNode.
  struct Position {
    Root* root = nullptr;
    NodeId node = kNoNode;
  };

  // Each block holds `block_tokens` tokens. At most `known_tokens` nodes know their tokens at once.
  RadixTree(int block_tokens, size_t known_tokens);
  ~RadixTree();

  // Returns the position at the root of a namespace. The root exists at least while it is open. Every
  // OpenRoot requires one CloseRoot before the tree is destroyed.
  Position OpenRoot(const BlockKey& key);
  void CloseRoot(Root* root);
  // A number of the caller's for each root, such as its tenant; 0 at first. Of those there are, and of those
  // that are opened later.
  void TagRoots(std::function<uint32_t(const BlockKey&)> tag);
  // Returns the position at a root without opening it; nothing when there is no such root.
  std::optional<Position> FindRoot(const BlockKey& key) const;

  // Returns the child of `at` with this key, or kNoNode. It may be another block with the same key: see
  // Matches.
  NodeId FindChild(const Position& at, const BlockKey& key) const;
  // Whether the node is the block with these tokens and this prefix check. The tokens are not compared when
  // the node does not know its own.
  bool Matches(NodeId node, uint64_t check, std::span<const TokenId> tokens) const;

  struct Partial {
    NodeId node = kNoNode;
    int tokens = 0;  // how many leading tokens of `node` match
  };
  // Returns the child of `at` with a device block that shares the most leading tokens with `tokens` (at most
  // one block). `tokens` of the result is 0 when no child shares any. O(log children) comparisons.
  Partial LongestPartial(const Position& at, std::span<const TokenId> tokens) const;

  // Adds a child with no tokens and no blocks. Requires that `at` has no child with this key.
  NodeId Add(const Position& at, const BlockKey& key, uint64_t check);
  // Removes a node without children, references and KV in memory, which is no ghost. Removes its root too
  // when the root is closed and has no other child.
  void Remove(NodeId node);

  // Requires one block of tokens, that the tokens are not known, and that the node is no ghost.
  void SetTokens(NodeId node, std::span<const TokenId> tokens);
  // Requires that the node has no block in a pool tier. No effect when the tokens are not known.
  void DropTokens(NodeId node);
  bool HasTokens(NodeId node) const { return At(node).slot_use == SlotUse::kTokens; }
  std::span<const TokenId> tokens(NodeId node) const;

  // The KV of a node in a pool tier; `block` returns kNoBlock when it has none there. SetBlock requires that
  // it has none there and that its tokens are known; ClearBlock requires that it has one.
  void SetBlock(NodeId node, Tier tier, BlockId block);
  void ClearBlock(NodeId node, Tier tier);
  BlockId block(NodeId node, Tier tier) const { return At(node).blocks[static_cast<size_t>(tier)]; }
  bool InMemory(NodeId node) const;  // whether it has a block in a pool tier
  // Whether a child has a block in this pool tier and no references.
  bool HasCachedChild(NodeId node, Tier tier) const {
    return At(node).cached_children[static_cast<size_t>(tier)] > 0;
  }

  // The references of leases and running transfers to a node. AddReference returns whether it is the first,
  // DropReference whether it was the last.
  bool AddReference(NodeId node);
  bool DropReference(NodeId node);
  uint32_t references(NodeId node) const { return At(node).references; }

  // Facts that the cache keeps about a node. The tree does not read them. node.h says what they
  // are; the two counts stop at their greatest value.
  struct Facts {
    uint64_t last_use = 0;
    uint16_t hits = 0;
    uint8_t admissions = 0;
    uint8_t request_class = 0;
    bool purged = false;
  };
  // A ghost is a node in the GhostIndex, which gave it `slot`. SetGhost requires a node without tokens and
  // without KV in memory.
  void SetGhost(NodeId node, uint32_t slot);
  void ClearGhost(NodeId node);
  bool IsGhost(NodeId node) const { return At(node).slot_use == SlotUse::kGhost; }
  uint32_t ghost_slot(NodeId node) const { return At(node).slot; }
  Facts& facts(NodeId node) { return At(node).facts; }
  const Facts& facts(NodeId node) const { return At(node).facts; }

  bool Contains(NodeId node) const { return node < end_ && At(node).root != kNoSlot; }
  bool IsLeaf(NodeId node) const { return At(node).children == kNoChild; }
  // The only child, or kNoNode when there is none or there are several.
  NodeId only_child(NodeId node) const {
    const uint32_t children = At(node).children;
    return children == kNoChild || IsBranch(children) ? kNoNode : children;
  }
  // Appends up to `most` children of the node to `found`, in the order of their keys: those after *last, and
  // all when it is empty. Sets *last to the key of the last one, and returns whether there are no more.
  // Children may come and leave between the calls.
  bool ChildrenAfter(NodeId node, std::optional<BlockKey>* last, size_t most,
                     std::vector<NodeId>* found) const;
  // The parent is kNoNode when it is a root.
  NodeId parent(NodeId node) const { return At(node).parent; }
  const BlockKey& key(NodeId node) const { return At(node).key; }
  uint64_t check(NodeId node) const { return At(node).check; }
  // The key and check of the parent node or root.
  const BlockKey& parent_key(NodeId node) const;
  uint64_t parent_check(NodeId node) const;
  const BlockKey& root_key(NodeId node) const;
  uint32_t depth(NodeId node) const { return At(node).depth; }
  // A small number that all nodes of one root share.
  uint32_t root_number(NodeId node) const { return At(node).root; }
  uint32_t root_tag(NodeId node) const;
  static uint32_t root_tag(const Root& root);

  uint32_t size() const { return size_; }
  // Every node id is below it.
  NodeId end() const { return end_; }
  size_t roots() const { return roots_.size(); }
  // Bytes of the tree: nodes, tokens and, roughly, branches.
  size_t MemoryBytes() const;
  static size_t NodeBytes() { return sizeof(Node); }
  // At most that much heap memory is used by a tree that never has more than `nodes` nodes, whatever their
  // shape and the number of roots. `block_tokens` and `known_tokens` are those of the constructor.
  static size_t MaxMemoryBytes(int block_tokens, size_t known_tokens, size_t nodes);

  void CheckInvariants() const;

 private:
  friend struct RadixTreeTestPeer;
  static constexpr uint32_t kNoSlot = UINT32_MAX;
  // The children of a node or root: kNoChild, the id of the only child, or kBranchBit + number of a branch.
  static constexpr uint32_t kNoChild = UINT32_MAX;
  static constexpr uint32_t kBranchBit = uint32_t{1} << 31;
  static constexpr uint32_t kChunkNodes = 4096;  // nodes are allocated in chunks, so that none ever moves

  // What the slot of a node is a place in.
  enum class SlotUse : uint8_t { kNothing, kTokens, kGhost };

  struct Branch;
  struct Node {
    BlockKey key;
    uint64_t check = 0;
    [[no_unique_address]] Facts facts;  // the two bytes after it lie in its padding
    SlotUse slot_use = SlotUse::kNothing;
    NodeId parent = kNoNode;
    uint32_t children = kNoChild;
    uint32_t root = kNoSlot;  // number of its root; kNoSlot: the id is not in use
    uint32_t depth = 0;
    uint32_t slot = kNoSlot;
    BlockId blocks[kPoolTiers] = {kNoBlock, kNoBlock};
    uint32_t references = 0;
    uint32_t cached_children[kPoolTiers] = {0, 0};
  };

  static_assert(sizeof(Node) <= 80);

  const Node& At(NodeId node) const { return chunks_[node / kChunkNodes][node % kChunkNodes]; }
  Node& At(NodeId node) { return chunks_[node / kChunkNodes][node % kChunkNodes]; }

  static bool IsBranch(uint32_t children) { return children != kNoChild && (children & kBranchBit) != 0; }
  Branch& BranchOf(uint32_t children) const { return *branches_[children & ~kBranchBit]; }
  uint32_t ChildrenAt(const Position& at) const;
  uint32_t& ChildrenAt(const Position& at);
  Position ParentPosition(NodeId node) const;
  // Adds `change` to the parent's count of cached children.
  void CountAtParent(NodeId node, Tier tier, int change);
  uint32_t NewBranch();
  void RemoveRootIfUnused(Root* root);
  // Checks the children of one parent and appends them to `found`.
  void CheckChildren(const Position& at, std::vector<NodeId>* found) const;

  const size_t block_tokens_;
  uint32_t size_ = 0;
  NodeId end_ = 0;
  std::vector<std::unique_ptr<Node[]>> chunks_;
  std::vector<NodeId> free_nodes_;
  std::vector<TokenId> tokens_;  // by token slot, block_tokens_ each
  std::vector<uint32_t> free_token_slots_;
  PieceMemory child_memory_, order_memory_;        // of the branches: by_key, by_tokens
  std::vector<std::unique_ptr<Branch>> branches_;  // by number; null: the number is free
  std::vector<uint32_t> free_branches_;
  std::unordered_map<BlockKey, std::unique_ptr<Root>> roots_;
  std::vector<Root*> root_numbers_;  // by number; null: the number is free
  std::vector<uint32_t> free_root_numbers_;
  std::function<uint32_t(const BlockKey&)> tag_;
};

}  // namespace prefixd
