// BlockPool: the books of the blocks of the device tier: which state each is in, who refers to it, when it
// was last used. It moves no bytes. Engine thread only.
//
// States of a block, and the function that takes each edge (dashed: the place of the lower tiers, which do
// not exist yet):
//
//            Allocate            Publish
//     free ------------> filling ---------> device - - (copying) - -> host - - (writing) - -> disk
//       ^                   |                  | ^                      |                      |
//       |      Discard      |                  | +- - - - - - - - - - - + - - - - - - - - - - -+
//       +-------------------+                  |           promotion, through filling
//       |                 Evict                |
//       +--------------------------------------+
//
//   free     nobody's; content means nothing
//   filling  private to one owner (a lease or a copy), which writes into it
//   device   full, in the radix tree, never written again; shared by any number of owners, or cached when
//            there is none
//
// Invariants (CheckInvariants proves them)
//   1. A block is in the free list exactly when it is free, and once.
//   2. References: free 0, filling 1, device any number.
//   3. free + leased + cached = capacity: leased with references, cached in device without.
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

  // Edges.
  std::optional<BlockId> Allocate();  // with one reference; nothing when no block is free
  void Publish(BlockId block);        // the reference of the owner stays
  void Discard(BlockId block);        // takes the owner's reference
  void Evict(BlockId block);          // requires no reference

  // References to a block in kDevice. Drop says whether it was the last one, and notes `now` as the time of
  // use.
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
