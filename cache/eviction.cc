#include "cache/eviction.h"

#include "base/check.h"

namespace prefixd {

void LruEviction::Add(BlockId block, uint64_t last_used) {
  PREFIXD_CHECK(!Contains(block)) << "block " << block << " is a candidate already";
  times_[block] = last_used;
  order_.emplace(last_used, block);
}

void LruEviction::Remove(BlockId block) {
  PREFIXD_CHECK(Contains(block)) << "block " << block << " is no candidate";
  order_.erase({*times_[block], block});
  times_[block].reset();
}

std::optional<BlockId> LruEviction::Victim() const {
  if (order_.empty()) return std::nullopt;
  return order_.begin()->second;
}

void LruEviction::CheckInvariants() const {
  size_t candidates = 0;
  for (BlockId block = 0; block < times_.size(); ++block) {
    if (!times_[block]) continue;
    ++candidates;
    PREFIXD_CHECK(order_.contains({*times_[block], block})) << "block " << block << " has lost its place";
  }
  PREFIXD_CHECK(candidates == order_.size()) << candidates << " candidates in " << order_.size() << " places";
}

}  // namespace prefixd
