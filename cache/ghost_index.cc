#include "cache/ghost_index.h"

#include "base/check.h"

namespace prefixd {

void GhostIndex::Add(const BlockKey& key) {
  if (capacity_ == 0) return;
  const uint64_t number = adds_++;
  if (number < capacity_) {
    ring_.push_back(key);
  } else {
    BlockKey& oldest = ring_[number % capacity_];
    const auto it = added_.find(oldest);
    if (it != added_.end() && it->second == number - capacity_)
      added_.erase(it);  // else it was added again since
    oldest = key;
  }
  added_[key] = number;
}

void GhostIndex::CheckInvariants() const {
  PREFIXD_CHECK(ring_.size() <= capacity_);
  PREFIXD_CHECK(added_.size() <= ring_.size()) << added_.size() << " keys in " << ring_.size() << " places";
  for (const auto& [key, number] : added_) {
    PREFIXD_CHECK(number < adds_ && adds_ - number <= capacity_) << "key " << ToHex(key) << " is too old";
    PREFIXD_CHECK(ring_[number % capacity_] == key) << "key " << ToHex(key) << " has lost its place";
  }
}

}  // namespace prefixd
