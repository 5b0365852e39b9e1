#include "daemon/api/explain/request_memory.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

namespace prefixd {

void RequestMemory::Put(std::string_view owner, Record record) {
  const size_t bytes = record->held_bytes();
  if (bytes > max_bytes_ / 4) return;
  MutexLock lock(mutex_);
  const auto at = owners_.try_emplace(std::string(owner)).first;
  Owned& owned = at->second;
  const auto same = std::ranges::find(owned.records, record->id, &PromptRecord::id);
  if (same != owned.records.end()) {
    bytes_ -= (*same)->held_bytes();
    owned.bytes -= (*same)->held_bytes();
    owned.records.erase(same);
  }
  owned.records.push_front(std::move(record));
  owned.bytes += bytes;
  bytes_ += bytes;
  if (owned.records.size() > max_requests_) DropOldest(at);
  const auto less = [](const auto& a, const auto& b) { return a.second.bytes < b.second.bytes; };
  while (bytes_ > max_bytes_) DropOldest(std::max_element(owners_.begin(), owners_.end(), less));
}

void RequestMemory::DropOldest(Owners::iterator owner) {
  Owned& owned = owner->second;
  const size_t bytes = owned.records.back()->held_bytes();
  owned.records.pop_back();
  owned.bytes -= bytes;
  bytes_ -= bytes;
  if (owned.records.empty()) owners_.erase(owner);
}

RequestMemory::Record RequestMemory::Find(std::string_view owner, std::string_view id) const {
  MutexLock lock(mutex_);
  const auto owned = owners_.find(owner);
  if (owned == owners_.end()) return nullptr;
  const auto found = std::ranges::find(owned->second.records, id, &PromptRecord::id);
  return found == owned->second.records.end() ? nullptr : *found;
}

RequestMemory::Record RequestMemory::Nearest(std::string_view owner, const PromptRecord& prompt) const {
  std::vector<Record> records;  // compared without the lock
  {
    MutexLock lock(mutex_);
    const auto owned = owners_.find(owner);
    if (owned == owners_.end()) return nullptr;
    records.assign(owned->second.records.begin(), owned->second.records.end());
  }
  const auto same_key = [&](const Record& record) { return record->key == prompt.key; };
  const bool of_key = prompt.key && std::ranges::any_of(records, same_key);
  if (of_key) std::erase_if(records, std::not_fn(same_key));
  Record best;
  std::pair<bool, size_t> most{false, 0};
  for (Record& record : records) {
    const size_t common = PrefixTrace::CommonLength(prompt.tokens, record->tokens);
    const std::pair<bool, size_t> worth{record->salt == prompt.salt && common > 0, common};
    if (worth <= most && !(of_key && best == nullptr)) continue;
    most = worth;
    best = std::move(record);
  }
  return best;
}

RequestMemory::OfKey RequestMemory::Sum(std::string_view owner, uint64_t key) const {
  OfKey sum;
  MutexLock lock(mutex_);
  const auto owned = owners_.find(owner);
  if (owned == owners_.end()) return sum;
  for (const Record& record : owned->second.records) {
    if (record->key != key) continue;
    ++sum.requests;
    sum.prompt_tokens += record->usage.total();
    sum.cached_tokens += record->usage.cached();
  }
  return sum;
}

size_t RequestMemory::bytes() const {
  MutexLock lock(mutex_);
  return bytes_;
}

size_t RequestMemory::size() const {
  MutexLock lock(mutex_);
  size_t records = 0;
  for (const auto& [owner, owned] : owners_) records += owned.records.size();
  return records;
}

}  // namespace prefixd
