#include "storage/memory_store.h"

#include <vector>

#include "base/bytes.h"
#include "base/check.h"

namespace prefixd {

Result<std::string> MemoryStore::Get(const BlockKey& key) {
  MutexLock lock(mutex_);
  const auto it = records_.find(key);
  if (it == records_.end()) return NotFound("no record of block " + ToHex(key));
  by_use_.splice(by_use_.begin(), by_use_, it->second.use);
  return it->second.record;
}

bool MemoryStore::Contains(const BlockKey& key) const {
  MutexLock lock(mutex_);
  return records_.contains(key);
}

Status MemoryStore::PutBatch(std::vector<StoreEntry> batch) {
  for (const StoreEntry& entry : batch) {
    if (entry.record.size() > max_record_bytes()) {
      return ResourceExhausted("a record of " + FormatSize(entry.record.size()) +
                               " does not fit a store of " + FormatSize(capacity_));
    }
  }
  MutexLock lock(mutex_);
  for (StoreEntry& entry : batch) {
    if (const auto it = records_.find(entry.key); it != records_.end()) EraseLocked(it);
    const uint64_t bytes = entry.record.size() + kRecordOverhead;
    while (bytes > capacity_ - bytes_) {
      const BlockKey victim = by_use_.back();
      EraseLocked(records_.find(victim));
      if (on_drop_) on_drop_(victim, DropReason::kEvicted);
    }
    by_use_.push_front(entry.key);
    records_.emplace(entry.key, Stored{std::move(entry.record), by_use_.begin()});
    bytes_ += bytes;
  }
  return Status::Ok();
}

Status MemoryStore::Delete(const BlockKey& key) {
  MutexLock lock(mutex_);
  if (const auto it = records_.find(key); it != records_.end()) EraseLocked(it);
  return Status::Ok();
}

void MemoryStore::EraseLocked(std::unordered_map<BlockKey, Stored>::iterator record) {
  bytes_ -= record->second.record.size() + kRecordOverhead;
  by_use_.erase(record->second.use);
  records_.erase(record);
}

Status MemoryStore::Scan(const Visitor& visitor) {
  // The visitor runs without the lock, and a map cannot be walked while it changes: so the keys come first.
  std::vector<BlockKey> keys;
  {
    MutexLock lock(mutex_);
    keys.reserve(records_.size());
    for (const auto& [key, record] : records_) keys.push_back(key);
  }
  std::string head;
  for (const BlockKey& key : keys) {
    {
      MutexLock lock(mutex_);
      const auto it = records_.find(key);
      if (it == records_.end()) continue;  // deleted meanwhile
      head.assign(it->second.record, 0, kRecordHeaderBytes);
    }
    if (!visitor(key, head)) break;
  }
  return Status::Ok();
}

uint64_t MemoryStore::bytes() const {
  MutexLock lock(mutex_);
  return bytes_;
}

void MemoryStore::CheckInvariants() const {
  MutexLock lock(mutex_);
  uint64_t bytes = 0;
  for (const auto& [key, stored] : records_) {
    bytes += stored.record.size() + kRecordOverhead;
    PREFIXD_CHECK(*stored.use == key) << ToHex(key);
  }
  PREFIXD_CHECK(by_use_.size() == records_.size()) << by_use_.size();
  PREFIXD_CHECK(bytes == bytes_) << bytes << " bytes, not " << bytes_;
  PREFIXD_CHECK(bytes_ <= capacity_) << bytes_ << " of " << capacity_;
}

}  // namespace prefixd
