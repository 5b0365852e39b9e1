// RadixTree: maps a prefix of tokens to the blocks that hold its KV. It owns no block and does not know
// leases: the cache inserts and removes blocks. Engine thread only.
//
// The tree is path-compressed at block granularity. An edge is a run of blocks with their keys and token ids,
// linked through one slot per block. A branch exists only where prefixes diverge; it finds a child by key and
// keeps the children ordered by tokens. So a run splits in O(1) when a second child appears, and merges again
// when a branch is left with one child. A Position stays valid through both.
//
//     root ── [b0 b1 b2] ─< [b3 b4]            b0..b2: slots with one child each, b2: a slot with a branch
//                         └ [b5] ─< [b6]
//                                 └ [b7 b8 b9]
//
// Invariants (CheckInvariants tests them)
//   1. Every block has exactly one parent (a block or a root) and is reachable from its root.
//   2. A branch has at least two children. They differ in key and in tokens. Both indexes of the branch hold
//      the same children.
//   3. A root without children exists only while it is open.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/types.h"
#include "cache/block_pool.h"
#include "hashing/block_key.h"

namespace prefixd {

class RadixTree {
 public:
  struct Root;
  // The place after `block`, which is in the tree; the root itself when block is kNoBlock.
  struct Position {
    Root* root = nullptr;
    BlockId block = kNoBlock;
  };

  // Block ids are below `blocks`. Each block holds `block_tokens` tokens.
  RadixTree(int block_tokens, uint32_t blocks);
  ~RadixTree();

  // Returns the position at the root of a namespace. The root exists at least while it is open. Every
  // OpenRoot requires one CloseRoot before the tree is destroyed.
  Position OpenRoot(const BlockKey& key);
  void CloseRoot(Root* root);

  struct Child {
    BlockId block = kNoBlock;  // the child with this key and these tokens
    bool collision = false;    // there is a child with this key, but its tokens differ
  };
  // Finds the child of `at` that holds `tokens`, which are one block. O(1) expected, plus the comparison.
  Child Find(const Position& at, const BlockKey& key, std::span<const TokenId> tokens) const;

  struct Partial {
    BlockId block = kNoBlock;
    int tokens = 0;  // how many leading tokens of `block` match
  };
  // Returns the child of `at` that shares the most leading tokens with `tokens` (at most one block). `tokens`
  // of the result is 0 when no child shares any. O(log children) comparisons.
  Partial LongestPartial(const Position& at, std::span<const TokenId> tokens) const;

  // Adds `block` as a child of `at`. Requires that Find(at, key, tokens) finds neither a block nor a
  // collision, and that `block` is not in the tree.
  void Insert(const Position& at, const BlockKey& key, std::span<const TokenId> tokens, BlockId block);
  // Removes a leaf. Removes its root too when the root is closed and has no other child.
  void RemoveLeaf(BlockId block);

  bool Contains(BlockId block) const { return slots_[block].root != nullptr; }
  bool IsLeaf(BlockId block) const { return slots_[block].children.empty(); }
  // The parent, key and tokens of a block in the tree. The parent is kNoBlock when it is a root.
  BlockId parent(BlockId block) const { return slots_[block].parent; }
  const BlockKey& key(BlockId block) const { return slots_[block].key; }
  // The key of the parent block or root of `block`.
  const BlockKey& parent_key(BlockId block) const;
  std::span<const TokenId> tokens(BlockId block) const {
    return {tokens_.data() + static_cast<size_t>(block) * block_tokens_, block_tokens_};
  }
  uint32_t size() const { return size_; }
  size_t roots() const { return roots_.size(); }

  void CheckInvariants() const;

 private:
  friend struct RadixTreeTestPeer;
  struct Branch;
  // The children of a block or a root: none, one block, or a branch.
  struct Children {
    BlockId only = kNoBlock;
    std::unique_ptr<Branch> branch;
    bool empty() const { return only == kNoBlock && branch == nullptr; }
  };
  struct Slot {
    BlockKey key;
    Root* root = nullptr;  // null: the block is not in the tree
    BlockId parent = kNoBlock;
    Children children;
  };

  const Children& ChildrenAt(const Position& at) const;
  Children& ChildrenAt(const Position& at);
  void AddToBranch(Branch* branch, BlockId block);
  void RemoveRootIfUnused(Root* root);
  // Checks the children of one parent and appends them to `found`.
  void CheckChildren(const Position& at, std::vector<BlockId>* found) const;

  const size_t block_tokens_;
  uint32_t size_ = 0;
  std::vector<Slot> slots_;      // by block
  std::vector<TokenId> tokens_;  // by block, block_tokens_ each
  std::unordered_map<BlockKey, std::unique_ptr<Root>> roots_;
};

}  // namespace prefixd
