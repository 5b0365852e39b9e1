// BlockPool: the state of every block of one tier, and the free blocks. It moves no bytes and knows no nodes.
// Engine thread only.
//
//            Allocate             Publish            SetLeased
//     free ------------> filling ---------> leased <-----------> cached
//       ^                   |                                       |
//       +------ Discard ----+                                       |
//       +------------------------- Evict ---------------------------+
//
//   free: the block is not in use, and its content is meaningless.
//   filling: one lease or one transfer owns the block and writes into it.
//   leased: the block holds the KV of a node, which leases or transfers refer to.
//   cached: the block holds the KV of a node to which nothing refers, so it may be evicted.
// A block that is leased or cached is full and is never written again.
//
// Invariants (CheckInvariants tests them)
//   1. A block is one of the free blocks exactly when it is free.
//   2. free + leased + cached = capacity, where filling blocks count as leased.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/types.h"
#include "cache/free_blocks.h"

namespace prefixd {

enum class BlockState : uint8_t { kFree, kFilling, kLeased, kCached };

class BlockPool {
 public:
  explicit BlockPool(uint32_t capacity);

  // The transitions. Each requires a block in the state from which it starts.
  // Takes the free block that fits the wish best. Returns nothing when no block is free.
  std::optional<BlockId> Allocate(const BlockWish& wish = {});
  void Discard(BlockId block);
  void Publish(BlockId block);
  void SetLeased(BlockId block, bool leased);  // requires the other state
  void Evict(BlockId block);

  BlockState state(BlockId block) const;

  uint32_t capacity() const { return static_cast<uint32_t>(states_.size()); }
  uint32_t free_blocks() const { return free_.size(); }
  uint32_t cached_blocks() const { return cached_; }
  uint32_t leased_blocks() const { return capacity() - free_blocks() - cached_; }

  size_t MemoryBytes() const { return MaxMemoryBytes(capacity()); }
  static size_t MaxMemoryBytes(size_t capacity) {
    return capacity * sizeof(BlockState) + FreeBlocks::MaxMemoryBytes(capacity);
  }
  void CheckInvariants() const;

 private:
  friend struct BlockPoolTestPeer;
  void Move(BlockId block, BlockState from, BlockState to);

  std::vector<BlockState> states_;
  FreeBlocks free_;
  uint32_t cached_ = 0;
};

}  // namespace prefixd
