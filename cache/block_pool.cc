#include "cache/block_pool.h"

#include "base/check.h"

namespace prefixd {

BlockPool::BlockPool(uint32_t capacity) {
  PREFIXD_CHECK(capacity < kNoBlock);
  states_.resize(capacity, BlockState::kFree);
  free_.reserve(capacity);
  for (uint32_t i = capacity; i > 0; --i) free_.push_back(i - 1);
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
  if (to == BlockState::kFree) free_.push_back(block);
}

std::optional<BlockId> BlockPool::Allocate() {
  if (free_.empty()) return std::nullopt;
  const BlockId block = free_.back();
  free_.pop_back();
  Move(block, BlockState::kFree, BlockState::kFilling);
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
  std::vector<bool> listed(states_.size(), false);
  for (const BlockId block : free_) {
    PREFIXD_CHECK(state(block) == BlockState::kFree) << "block " << block << " is in the free list";
    PREFIXD_CHECK(!listed[block]) << "block " << block << " is in the free list twice";
    listed[block] = true;
  }
  uint32_t cached = 0;
  for (BlockId block = 0; block < capacity(); ++block) {
    PREFIXD_CHECK(listed[block] == (states_[block] == BlockState::kFree)) << "block " << block;
    if (states_[block] == BlockState::kCached) ++cached;
  }
  PREFIXD_CHECK(cached == cached_) << cached << " blocks are cached, not " << cached_;
}

}  // namespace prefixd
