#include "storage/memory_store.h"

#include <vector>

#include "base/bytes.h"
#include "base/check.h"

namespace prefixd {

Result<std::string> MemoryStore::Get(const BlockKey& key) {
  MutexLock lock(mutex_);
  const auto it = records_.find(key);
  if (it == records_.end()) return NotFound("no record of block " + ToHex(key));
  return it->second;
}

Status MemoryStore::Put(const BlockKey& key, std::string_view record) {
  MutexLock lock(mutex_);
  const auto it = records_.find(key);
  const uint64_t replaced = it == records_.end() ? 0 : it->second.size() + kRecordOverhead;
  const uint64_t kept = bytes_ - replaced;
  if (record.size() + kRecordOverhead > capacity_ - kept) {
    return ResourceExhausted("a record of " + FormatSize(record.size()) +
                             " does not fit: " + FormatSize(kept) + " of " + FormatSize(capacity_) +
                             " are taken; delete records first");
  }
  if (it != records_.end())
    records_.erase(it);  // first, so that the old and the new record are never in memory at once
  records_.emplace(key, record);
  bytes_ = kept + record.size() + kRecordOverhead;
  return Status::Ok();
}

Status MemoryStore::Delete(const BlockKey& key) {
  MutexLock lock(mutex_);
  const auto it = records_.find(key);
  if (it == records_.end()) return Status::Ok();
  bytes_ -= it->second.size() + kRecordOverhead;
  records_.erase(it);
  return Status::Ok();
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
      head.assign(it->second, 0, kRecordHeaderBytes);
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
  for (const auto& [key, record] : records_) bytes += record.size() + kRecordOverhead;
  PREFIXD_CHECK(bytes == bytes_) << bytes << " bytes, not " << bytes_;
  PREFIXD_CHECK(bytes_ <= capacity_) << bytes_ << " of " << capacity_;
}

}  // namespace prefixd
