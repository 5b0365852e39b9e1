#include "storage/kept_records.h"

#include <algorithm>

#include "base/check.h"

namespace prefixd {

uint64_t KeptRecords::OwnedBy(uint64_t owner) const {
  const auto it = owned_.find(owner);
  return it == owned_.end() ? 0 : it->second.bytes;
}

void KeptRecords::Add(const BlockKey& key, const Entry& entry) {
  const uint64_t owner = entry.retention.owner;
  order_.emplace(entry.retention.until, key);
  Owned& owned = owned_[owner];
  sizes_.erase({owned.bytes, owner});
  owned.order.emplace(entry.retention.until, key);
  owned.bytes += entry.bytes;
  sizes_.emplace(owned.bytes, owner);
  bytes_ += entry.bytes;
}

void KeptRecords::Remove(const BlockKey& key, const Entry& entry) {
  const uint64_t owner = entry.retention.owner;
  order_.erase({entry.retention.until, key});
  const auto it = owned_.find(owner);
  Owned& owned = it->second;
  sizes_.erase({owned.bytes, owner});
  owned.order.erase({entry.retention.until, key});
  owned.bytes -= entry.bytes;
  bytes_ -= entry.bytes;
  if (owned.order.empty()) {
    owned_.erase(it);
  } else {
    sizes_.emplace(owned.bytes, owner);
  }
}

void KeptRecords::EndExpired(uint64_t now) {
  for (size_t i = 0; i < kMostEnded && !order_.empty() && order_.begin()->first <= now; ++i) {
    Forget(BlockKey(order_.begin()->second));
    ++counters_.expired;
  }
}

std::optional<BlockKey> KeptRecords::Surplus(uint64_t owner, uint64_t bytes) const {
  if (sizes_.empty()) return std::nullopt;
  const auto [most, whose] = *sizes_.rbegin();
  const BlockKey key = owned_.at(whose).order.begin()->second;
  const bool fair = whose != owner && most >= OwnedBy(owner) + bytes + entries_.at(key).bytes;
  return fair ? std::optional(key) : std::nullopt;
}

bool KeptRecords::HasRoom(uint64_t owner, uint64_t bytes) const {
  return bytes_ + bytes <= budget_ || (bytes <= budget_ && Surplus(owner, bytes));
}

bool KeptRecords::MakeRoom(uint64_t owner, uint64_t bytes) {
  if (bytes > budget_) return false;
  while (bytes_ + bytes > budget_) {
    const std::optional<BlockKey> surplus = Surplus(owner, bytes);
    if (!surplus) return false;
    Forget(*surplus);
    ++counters_.displaced;
  }
  return true;
}

bool KeptRecords::Keep(const BlockKey& key, const RecordRetention& retention, uint64_t bytes, uint64_t now) {
  RecordRetention asked = retention;
  asked.until = std::min(asked.until, now + asked.seconds);
  const auto it = entries_.find(key);
  if (it != entries_.end()) {
    Lengthen(key, &it->second, asked);
    return true;
  }
  if (asked.until <= now) return false;
  if (!MakeRoom(asked.owner, bytes)) {
    ++counters_.refused;
    return false;
  }
  Entry& entry = entries_[key];
  entry = {.retention = asked, .bytes = static_cast<uint32_t>(bytes)};
  Add(key, entry);
  unwritten_.insert(key);
  is_urgent_ = true;
  return true;
}

void KeptRecords::Lengthen(const BlockKey& key, Entry* entry, const RecordRetention& retention) {
  const RecordRetention longer{.until = std::max(entry->retention.until, retention.until),
                               .seconds = std::max(entry->retention.seconds, retention.seconds),
                               .owner = entry->retention.owner};
  if (longer == entry->retention) return;
  Remove(key, *entry);
  entry->retention = longer;
  Add(key, *entry);
  unwritten_.insert(key);
  is_urgent_ = is_urgent_ || longer.until - entry->written_until > longer.seconds / 4;
}

void KeptRecords::Learn(const KeptEntry& learned, uint64_t now) {
  const bool was_urgent = is_urgent_, was_unwritten = unwritten_.contains(learned.key);
  if (!Keep(learned.key, learned.retention, learned.bytes, now)) return;
  Entry& entry = entries_.at(learned.key);
  entry.written_until =
      std::max(entry.written_until, std::min(learned.retention.until, entry.retention.until));
  if (!was_unwritten) unwritten_.erase(learned.key);
  is_urgent_ = was_urgent;
}

void KeptRecords::Forget(const BlockKey& key) {
  const auto it = entries_.find(key);
  if (it == entries_.end()) return;
  Remove(key, it->second);
  entries_.erase(it);
  unwritten_.erase(key);
}

const RecordRetention* KeptRecords::Find(const BlockKey& key, uint64_t now) const {
  const auto it = entries_.find(key);
  return it == entries_.end() || it->second.retention.until <= now ? nullptr : &it->second.retention;
}

void KeptRecords::MarkUnwritten(const BlockKey& key) {
  const auto it = entries_.find(key);
  if (it == entries_.end()) return;
  it->second.written_until = 0;
  unwritten_.insert(key);
  is_urgent_ = true;
}

std::vector<KeptEntry> KeptRecords::TakeUnwritten(size_t most, uint64_t now) {
  std::vector<KeptEntry> taken;
  for (size_t i = 0; i < most && !unwritten_.empty(); ++i) {
    const BlockKey key = *unwritten_.begin();
    unwritten_.erase(unwritten_.begin());
    Entry& entry = entries_.at(key);
    if (entry.retention.until <= now) continue;
    entry.written_until = entry.retention.until;
    taken.push_back({.key = key, .bytes = entry.bytes, .retention = entry.retention});
  }
  if (unwritten_.empty()) is_urgent_ = false;
  return taken;
}

std::vector<KeptRecords::Place> KeptRecords::Next(const std::optional<Place>& after, size_t most) const {
  std::vector<Place> places;
  for (auto it = after ? order_.upper_bound(*after) : order_.begin();
       places.size() < most && it != order_.end(); ++it)
    places.push_back(*it);
  return places;
}

void KeptRecords::CheckInvariants() const {
  PREFIXD_CHECK(bytes_ <= budget_) << bytes_ << " bytes are kept, of " << budget_;
  uint64_t bytes = 0, owned_bytes = 0;
  for (const auto& [key, entry] : entries_) {
    PREFIXD_CHECK(order_.contains({entry.retention.until, key})) << "another time";
    bytes += entry.bytes;
  }
  for (const auto& [owner, owned] : owned_) {
    owned_bytes += owned.bytes;
    PREFIXD_CHECK(sizes_.contains({owned.bytes, owner})) << "owner " << owner;
  }
  PREFIXD_CHECK(bytes == bytes_ && owned_bytes == bytes_) << bytes << " of " << bytes_;
  PREFIXD_CHECK(order_.size() == entries_.size() && sizes_.size() == owned_.size());
  for (const BlockKey& key : unwritten_) PREFIXD_CHECK(entries_.contains(key)) << "it is not kept";
}

}  // namespace prefixd
