#include "cache/block_pool.h"

#include "base/check.h"

namespace prefixd {

BlockPool::BlockPool(uint32_t capacity) : blocks_(capacity) {
  PREFIXD_CHECK(capacity < kNoBlock);
  free_.reserve(capacity);
  for (uint32_t i = capacity; i > 0; --i) free_.push_back(i - 1);
}

const BlockPool::Block& BlockPool::At(BlockId block) const {
  PREFIXD_CHECK(block < blocks_.size()) << "block " << block << " of " << blocks_.size();
  return blocks_[block];
}

BlockPool::Block& BlockPool::At(BlockId block, BlockState expected) {
  PREFIXD_CHECK(At(block).state == expected)
      << "block " << block << " is in state " << static_cast<int>(blocks_[block].state) << ", not "
      << static_cast<int>(expected);
  return blocks_[block];
}

std::optional<BlockId> BlockPool::Allocate() {
  if (free_.empty()) return std::nullopt;
  const BlockId block = free_.back();
  Block& entry = At(block, BlockState::kFree);
  free_.pop_back();
  entry.state = BlockState::kFilling;
  entry.references = 1;
  return block;
}

void BlockPool::Publish(BlockId block) { At(block, BlockState::kFilling).state = BlockState::kDevice; }

void BlockPool::Discard(BlockId block) { Free(block, At(block, BlockState::kFilling)); }

void BlockPool::Evict(BlockId block) {
  Block& entry = At(block, BlockState::kDevice);
  PREFIXD_CHECK(entry.references == 0) << "block " << block << " is leased " << entry.references << " times";
  --cached_;
  Free(block, entry);
}

void BlockPool::Free(BlockId block, Block& entry) {
  entry.state = BlockState::kFree;
  entry.references = 0;
  free_.push_back(block);
}

void BlockPool::AddReference(BlockId block) {
  if (At(block, BlockState::kDevice).references++ == 0) --cached_;
}

bool BlockPool::DropReference(BlockId block, uint64_t now) {
  Block& entry = At(block, BlockState::kDevice);
  PREFIXD_CHECK(entry.references > 0) << "block " << block;
  entry.last_used = now;
  if (--entry.references > 0) return false;
  ++cached_;
  return true;
}

void BlockPool::CheckInvariants() const {
  std::vector<bool> listed(blocks_.size(), false);
  for (const BlockId block : free_) {
    PREFIXD_CHECK(At(block).state == BlockState::kFree) << "block " << block << " is in the free list";
    PREFIXD_CHECK(!listed[block]) << "block " << block << " is in the free list twice";
    listed[block] = true;
  }
  uint32_t cached = 0;
  for (BlockId block = 0; block < capacity(); ++block) {
    const auto& [state, references, last_used] = blocks_[block];
    PREFIXD_CHECK(listed[block] == (state == BlockState::kFree)) << "block " << block;
    PREFIXD_CHECK(state != BlockState::kFree || references == 0) << "block " << block << ": " << references;
    PREFIXD_CHECK(state != BlockState::kFilling || references == 1)
        << "block " << block << ": " << references;
    if (state == BlockState::kDevice && references == 0) ++cached;
  }
  PREFIXD_CHECK(cached == cached_) << cached << " blocks are cached, not " << cached_;
}

}  // namespace prefixd
