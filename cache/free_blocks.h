// FreeBlocks: the set of free blocks of a pool, and the choice of the one that is taken next. Memory gives a
// run of blocks with consecutive ids faster than the same blocks one by one (kernels/backend_memory.h,
// kKvGroup), so the blocks of a sequence get such ids where they can: next to a block that the sequence has
// already, or else in a group of which every block is free, where the sequence can grow. Engine thread only.
//
// Costs: O(1) for Add and Contains, O(capacity / 4096) for Take. Memory: MaxMemoryBytes().
//
// Invariants (CheckInvariants tests them)
//   1. some_ and whole_ say of each word of free_ whether it has a free block, and a group that is free.
//   2. size() is the number of free blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "base/types.h"

namespace prefixd {

inline constexpr BlockId kNoBlock = std::numeric_limits<BlockId>::max();

// Where a block would be best, beside others of its sequence.
struct BlockWish {
  BlockId previous = kNoBlock;  // the block before; kNoBlock: none, or not known
  BlockId next = kNoBlock;      // the block after
  int place = -1;               // in a group that is free, without such a block; below 0: any block will do
};

class FreeBlocks {
 public:
  // Blocks of a group. The last blocks of a capacity that it does not divide are in none.
  static constexpr uint32_t kGroup = 16;

  // All of the blocks 0 .. capacity - 1 are free.
  explicit FreeBlocks(uint32_t capacity);

  void Add(BlockId block);  // requires that it is not free
  // Takes the block after `previous`, else the one before `next`, each if it is in the same group as that
  // one; else that of the wished place in the first group of which all are free, else the first that is
  // free. Returns nothing when none is free.
  std::optional<BlockId> Take(const BlockWish& wish);

  bool Contains(BlockId block) const {
    return block < capacity_ && (free_[block / 64] >> block % 64 & 1) != 0;
  }
  uint32_t size() const { return size_; }

  static size_t MaxMemoryBytes(size_t capacity);
  void CheckInvariants() const;

 private:
  friend struct BlockPoolTestPeer;
  using Bits = std::vector<uint64_t>;
  static std::optional<uint32_t> FirstOf(const Bits& bits);  // that is set
  void Set(BlockId block, bool free);

  const uint32_t capacity_;
  Bits free_;          // of each block
  Bits some_, whole_;  // of each word of free_
  uint32_t size_ = 0;
};

}  // namespace prefixd
