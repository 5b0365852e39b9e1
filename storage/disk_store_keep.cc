// DiskStore: which records are kept, and what segments say of it.
#include <algorithm>

#include "storage/disk_store.h"

namespace prefixd {

bool DiskStore::Keep(const BlockKey& key, const RecordRetention& retention) {
  StateLock lock(this);
  const Bytes pending = PendingLocked(key);
  const RecordLocation* location = pending == nullptr ? FindLocked(key) : nullptr;
  if (pending == nullptr && location == nullptr) return false;
  const uint64_t bytes = pending == nullptr ? location->bytes : pending->size();
  if (!kept_.Keep(key, retention, bytes, NowSeconds())) return false;
  if (kept_.is_urgent() && !open_.keeps) {
    if (open_.empty()) open_.opened_nanos = options_.clock->NowNanos();
    open_.keeps = true;
  }
  return true;
}

std::optional<RecordRetention> DiskStore::KeptUntil(const BlockKey& key) const {
  StateLock lock(this);
  ++work_;
  const RecordRetention* kept = kept_.Find(key, NowSeconds());
  return kept == nullptr ? std::nullopt : std::optional(*kept);
}

uint64_t DiskStore::Unwritten() const {
  StateLock lock(this);
  return std::min<uint64_t>(kept_.unwritten(), most_records_);
}

std::vector<KeptEntry> DiskStore::TakeUnwritten() {
  std::vector<KeptEntry> taken;
  while (taken.size() < most_records_) {
    StateLock lock(this);
    if (kept_.unwritten() == 0) break;
    for (KeptEntry& entry :
         kept_.TakeUnwritten(std::min<size_t>(kSlice, most_records_ - taken.size()), NowSeconds()))
      taken.push_back(entry);
    work_ += kSlice;
  }
  return taken;
}

void DiskStore::MarkUnwritten(const std::vector<BlockKey>& keys) {
  for (size_t begin = 0; begin < keys.size(); begin += kSlice) {
    StateLock lock(this);
    for (size_t i = begin; i < std::min(begin + kSlice, keys.size()); ++i, ++work_)
      kept_.MarkUnwritten(keys[i]);
  }
}

}  // namespace prefixd
