// BlockPool: the state, reference count and time of last use of every block of the device tier, and the free
// list. It moves no bytes. Engine thread only.
//
// States of a block, and the function that makes each transition (dashed: lower tiers, which do not exist
// yet):
//
//            Allocate            Publish
//     free ------------> filling ---------> device - - (copying) - -> host - - (writing) - -> disk
//       ^                   |                  | ^                      |                      |
//       |      Discard      |                  | +- - - - - - - - - - - + - - - - - - - - - - -+
//       +-------------------+                  |           promotion, through filling
//       |                 Evict                |
//       +--------------------------------------+
//
//   free: the block is not in use, and its content is meaningless.
//   filling: one lease or one copy owns the block and writes into it.
//   device: the block is full and in the radix tree, and is never written again. It is leased while it has
//       references, and cached while it has none.
//
// Invariants (CheckInvariants tests them)
//   1. A block is in the free list exactly when it is free, and only once.
//   2. A free block has 0 references, a filling block 1, a device block any number.
//   3. free + leased + cached = capacity. Leased blocks have references; cached blocks are device blocks
//      without.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "base/types.h"

namespace prefixd {

inline constexpr BlockId kNoBlock = std::numeric_limits<BlockId>::max();

enum class BlockState : uint8_t { kFree, kFilling, kDevice };

class BlockPool {
 public:
  explicit BlockPool(uint32_t capacity);

  // The transitions. Each requires a block in the state from which it starts.
  std::optional<BlockId> Allocate();  // the block has one reference; nothing when no block is free
  void Publish(BlockId block);        // the owner keeps its reference
  void Discard(BlockId block);        // drops the owner's reference
  void Evict(BlockId block);          // requires a block without references

  // Both require a block in kDevice. DropReference requires a reference, records `now` as the time of last
  // use, and returns whether it dropped the last one.
  void AddReference(BlockId block);
  bool DropReference(BlockId block, uint64_t now);

  BlockState state(BlockId block) const { return At(block).state; }
  uint32_t references(BlockId block) const { return At(block).references; }
  uint64_t last_used(BlockId block) const { return At(block).last_used; }

  uint32_t capacity() const { return static_cast<uint32_t>(blocks_.size()); }
  uint32_t free_blocks() const { return static_cast<uint32_t>(free_.size()); }
  uint32_t cached_blocks() const { return cached_; }
  uint32_t leased_blocks() const { return capacity() - free_blocks() - cached_; }

  void CheckInvariants() const;

 private:
  friend struct BlockPoolTestPeer;
  struct Block {
    BlockState state = BlockState::kFree;
    uint32_t references = 0;
    uint64_t last_used = 0;
  };
  const Block& At(BlockId block) const;
  Block& At(BlockId block, BlockState expected);
  void Free(BlockId block, Block& entry);

  std::vector<Block> blocks_;
  std::vector<BlockId> free_;  // a stack: the block freed last is taken first
  uint32_t cached_ = 0;
};

}  // namespace prefixd
