#include "cache/drop_queue.h"

#include <algorithm>
#include <utility>

namespace prefixd {

void DropQueue::Add(const BlockKey& key, std::optional<DropReason> reason) {
  MutexLock lock(mutex_);
  if (drops_.size() < capacity_) {
    drops_.push_back({key, reason});
  } else {
    drops_[added_ % capacity_] = {key, reason};
  }
  if (added_++ == 0 && wake_) wake_();
}

bool DropQueue::Take(std::vector<RecordDrop>* drops) {
  std::vector<RecordDrop> taken;
  uint64_t added = 0;
  {
    MutexLock lock(mutex_);
    taken.swap(drops_);
    added = std::exchange(added_, 0);
  }
  const bool whole = added <= taken.size();
  if (!whole) std::ranges::rotate(taken, taken.begin() + static_cast<ptrdiff_t>(added % taken.size()));
  drops->insert(drops->end(), taken.begin(), taken.end());
  return whole;
}

void DropQueue::SetWake(std::function<void()> wake) {
  MutexLock lock(mutex_);
  wake_ = std::move(wake);
}

}  // namespace prefixd
