// RadixTree: which block holds the KV of which tokens behind which prefix. Engine thread only; it owns no
// block and knows no leases: the cache tells it what enters and what goes.
//
// Path-compressed at block granularity. An edge is a run of blocks with their keys and token ids, linked
// through one slot per block; only where prefixes diverge stands a branch, which finds a child by key and
// keeps the children ordered by tokens. A run therefore splits in O(1) when a second child appears, and grows
// together again when a branch is left with one, and whoever stands at a block (a lease) need not be told of
// either.
//
//     root ── [b0 b1 b2] ─< [b3 b4]            b0..b2: slots with one child each, b2: a slot with a branch
//                         └ [b5] ─< [b6]
//                                 └ [b7 b8 b9]
//
// Invariants (CheckInvariants proves them)
//   1. Every block hangs from exactly one parent (a block or a root) and is reachable from its root.
//   2. A branch has at least two children, different in key and in tokens; both of its indexes hold the same.
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
  // Behind `block` (in the tree), or at the root itself when block is kNoBlock.
  struct Position {
    Root* root = nullptr;
    BlockId block = kNoBlock;
  };

  // Blocks are numbered below `blocks`; each holds `block_tokens` tokens.
  RadixTree(int block_tokens, uint32_t blocks);
  ~RadixTree();

  // The position at the root of a namespace; the root stays while it is open. Every Open is followed by one
  // Close.
  Position OpenRoot(const BlockKey& key);
  void CloseRoot(Root* root);

  struct Child {
    BlockId block = kNoBlock;  // the child with this key and these tokens
    bool collision = false;    // there is a child with this key, but its tokens differ
  };
  // `tokens`: one block. O(1) expected, plus the comparison.
  Child Find(const Position& at, const BlockKey& key, std::span<const TokenId> tokens) const;

  struct Partial {
    BlockId block = kNoBlock;
    int tokens = 0;  // the first ones of `block` are those asked for
  };
  // The child that shares most leading tokens with `tokens` (at most one block); tokens = 0 when none shares
  // any. O(log children) comparisons.
  Partial LongestPartial(const Position& at, std::span<const TokenId> tokens) const;

  // Requires that Find(at, key, tokens) finds neither block nor collision, and that `block` is not in the
  // tree.
  void Insert(const Position& at, const BlockKey& key, std::span<const TokenId> tokens, BlockId block);
  // Requires a leaf. May end its root.
  void RemoveLeaf(BlockId block);

  bool Contains(BlockId block) const { return slots_[block].root != nullptr; }
  bool IsLeaf(BlockId block) const { return slots_[block].children.empty(); }
  // kNoBlock below a root.
  BlockId parent(BlockId block) const { return slots_[block].parent; }
  const BlockKey& key(BlockId block) const { return slots_[block].key; }
  // The key of what `block` hangs from.
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
  // What hangs from a block or a root: nothing, one block, or a branch.
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
  void EndRootIfUnused(Root* root);
  // Checks the children of one parent and appends them to `found`.
  void CheckChildren(const Position& at, std::vector<BlockId>* found) const;

  const size_t block_tokens_;
  uint32_t size_ = 0;
  std::vector<Slot> slots_;      // by block
  std::vector<TokenId> tokens_;  // by block, block_tokens_ each
  std::unordered_map<BlockKey, std::unique_ptr<Root>> roots_;
};

}  // namespace prefixd
