#include "cache/block_pool.h"

#include "base/check.h"

namespace prefixd {

BlockPool::BlockPool(uint32_t capacity) : states_(capacity, BlockState::kFree), free_(capacity) {
  PREFIXD_CHECK(capacity < kNoBlock);
}

BlockState BlockPool::state(BlockId block) const {
  PREFIXD_CHECK(block < states_.size()) << "block " << block << " of " << states_.size();
  return states_[block];
}

void BlockPool::Move(BlockId block, BlockState from, BlockState to) {
  PREFIXD_CHECK(state(block) == from)
      << "block " << block << " is in state " << static_cast<int>(states_[block]) << ", not "
      << static_cast<int>(from);
  states_[block] = to;
  if (to == BlockState::kFree) free_.Add(block);
}

std::optional<BlockId> BlockPool::Allocate(const BlockWish& wish) {
  const std::optional<BlockId> block = free_.Take(wish);
  if (block) Move(*block, BlockState::kFree, BlockState::kFilling);
  return block;
}

void BlockPool::Discard(BlockId block) { Move(block, BlockState::kFilling, BlockState::kFree); }

void BlockPool::Publish(BlockId block) { Move(block, BlockState::kFilling, BlockState::kLeased); }

void BlockPool::SetLeased(BlockId block, bool leased) {
  if (leased) {
    Move(block, BlockState::kCached, BlockState::kLeased);
    --cached_;
  } else {
    Move(block, BlockState::kLeased, BlockState::kCached);
    ++cached_;
  }
}

void BlockPool::Evict(BlockId block) {
  Move(block, BlockState::kCached, BlockState::kFree);
  --cached_;
}

void BlockPool::CheckInvariants() const {
  free_.CheckInvariants();
  uint32_t cached = 0;
  for (BlockId block = 0; block < capacity(); ++block) {
    PREFIXD_CHECK(free_.Contains(block) == (states_[block] == BlockState::kFree))
        << "block " << block << " is " << (free_.Contains(block) ? "" : "not ") << "among the free blocks";
    if (states_[block] == BlockState::kCached) ++cached;
  }
  PREFIXD_CHECK(cached == cached_) << cached << " blocks are cached, not " << cached_;
}

}  // namespace prefixd
