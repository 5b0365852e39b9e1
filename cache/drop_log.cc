#include "cache/drop_log.h"

namespace prefixd {

void DropLog::Add(const BlockKey& key, DropReason reason) {
  MutexLock lock(mutex_);
  added_.push_back({key, reason});
  if (added_.size() > capacity_) added_.pop_front();
}

void DropLog::Take() {
  std::deque<Drop> added;
  {
    MutexLock lock(mutex_);
    added.swap(added_);
  }
  for (const Drop& drop : added) {
    if (taken_.insert_or_assign(drop.key, drop.reason).second) order_.push_back(drop.key);
    if (order_.size() <= capacity_) continue;
    taken_.erase(order_.front());
    order_.pop_front();
  }
}

std::optional<DropReason> DropLog::Find(const BlockKey& key) const {
  const auto drop = taken_.find(key);
  return drop == taken_.end() ? std::nullopt : std::optional(drop->second);
}

// Two deques, and a hash table with a node and at most two bucket pointers for each entry.
size_t DropLog::MaxMemoryBytes(size_t capacity) {
  constexpr size_t kTableEntry = sizeof(BlockKey) + sizeof(DropReason) + 48;
  return capacity * (2 * sizeof(Drop) + sizeof(BlockKey) + kTableEntry);
}

}  // namespace prefixd
