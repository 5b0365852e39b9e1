// DiskStore: how a store learns what lies in its segments, and shows it to a visitor.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "storage/disk_store.h"
#include "storage/record_value.h"

namespace prefixd {
Result<SegmentDirectory> DiskStore::ReadDirectory(uint32_t number, std::string* bytes) {
  PREFIXD_ASSIGN_OR_RETURN(*bytes, db_->ReadDirectory(number));
  return DecodeDirectory(*bytes);
}

void DiskStore::LearnLocked(uint32_t number, const SegmentDirectory& directory) {
  Segment& segment = segments_[number];
  MakeKnownLocked(&segment);
  if (directory.group != options_.group) {
    segment.foreign = true;
    return;
  }
  // Ticks go on where the process before has stopped.
  first_tick_ = std::max(first_tick_, directory.tick);
  segment.count = directory.entries.size();
  for (uint32_t ordinal = 0; ordinal < directory.entries.size(); ++ordinal) {
    const DirectoryEntry& entry = directory.entries[ordinal];
    segment.bytes += entry.bytes;
    segment.oldest = ordinal == 0 ? entry.created : std::min(segment.oldest, entry.created);
    const RecordLocation* newer = index_.Find(entry.key);
    const auto deleted = deleted_.find(entry.key);
    const bool dead = (newer != nullptr && newer->segment > number) || PendingLocked(entry.key) != nullptr ||
                      (deleted != deleted_.end() && deleted->second > number);
    if (dead) continue;
    IndexLocked(entry.key, {.segment = number,
                            .ordinal = ordinal,
                            .cost_class = entry.cost_class,
                            .bytes = entry.bytes,
                            .heat = entry.heat});
  }
  for (const BlockKey& key : directory.deleted) {
    uint32_t& by = deleted_[key];
    by = std::max(by, number);
    const RecordLocation* older = index_.Find(key);
    if (older != nullptr && older->segment < number) EraseLocked(key);
  }
  if (unknown_segments_ == 0) deleted_.clear();
}

Result<SegmentDirectory> DiskStore::Learn(uint32_t number, std::string* bytes) {
  auto directory = ReadDirectory(number, bytes);
  MutexLock lock(state_);
  const auto segment = segments_.find(number);
  if (segment == segments_.end() || segment->second.known) return directory;
  if (directory.ok()) {
    LearnLocked(number, *directory);
  } else if (directory.status().code() == Code::kUnsupported) {
    MakeKnownLocked(&segment->second);
    segment->second.foreign = true;
  } else if (directory.status().code() != Code::kIo || ++segment->second.failed_reads >= kMostFailedReads) {
    // Its records cannot be found. It has no worth, so it is the first to be dropped.
    MakeKnownLocked(&segment->second);
    ++stats_.damaged_segments;
    Log(LogLevel::kWarning, "a segment of the disk cache is damaged; its records are lost",
        {{"segment", number}, {"error", directory.status().ToString()}});
  }
  return directory;
}

Status DiskStore::Scan(const Visitor& visitor) {
  ScanState scan;
  std::vector<std::pair<BlockKey, Bytes>> pending;
  {
    MutexLock lock(state_);
    for (const Batch* batch : {&open_, &sealing_})
      for (const auto& [key, i] : batch->by_key) pending.emplace_back(key, batch->records[i].record);
    for (const auto& [number, segment] : segments_)
      if (!segment.foreign) scan.ahead.insert(number);
    scans_.push_back(&scan);
  }
  const auto visit_all = [&]() -> Status {
    for (const auto& [key, record] : pending)
      if (!visitor(key, std::string_view(*record).substr(0, kRecordHeaderBytes))) return Status::Ok();
    Status failed;
    while (true) {
      uint32_t number = 0;
      {
        MutexLock lock(state_);
        if (scan.ahead.empty()) break;
        number = *scan.ahead.rbegin();  // newer records first: they hide older ones
      }
      const auto goes_on = VisitSegment(number, &scan, visitor);
      if (!goes_on.ok()) failed = goes_on.status();
      if (goes_on.ok() && !*goes_on) return Status::Ok();
    }
    const auto displaced = VisitDisplaced(&scan, visitor);
    return displaced.ok() ? failed : displaced.status();
  };
  const Status status = visit_all();
  MutexLock lock(state_);
  std::erase(scans_, &scan);
  return status;
}

Result<bool> DiskStore::VisitSegment(uint32_t number, ScanState* scan, const Visitor& visitor) {
  std::string bytes;
  const auto directory = Learn(number, &bytes);
  std::vector<const DirectoryEntry*> live;
  {
    MutexLock lock(state_);
    scan->ahead.erase(number);
    const auto segment = segments_.find(number);
    // It may have been dropped meanwhile; its survivors are displaced.
    if (segment == segments_.end() || segment->second.foreign) return true;
    if (!directory.ok()) {
      // Records that were found before cannot be shown now.
      if (directory.status().code() == Code::kIo || segment->second.live > 0) return directory.status();
      return true;  // Learn has counted it
    }
    for (uint32_t ordinal = 0; ordinal < directory->entries.size(); ++ordinal) {
      const RecordLocation* location = index_.Find(directory->entries[ordinal].key);
      if (location != nullptr && location->SamePlace({.segment = number, .ordinal = ordinal}))
        live.push_back(&directory->entries[ordinal]);
    }
  }
  for (const DirectoryEntry* entry : live)
    if (!visitor(entry->key, entry->head)) return false;
  return true;
}

Result<bool> DiskStore::VisitDisplaced(ScanState* scan, const Visitor& visitor) {
  std::unordered_set<BlockKey> keys;
  {
    MutexLock lock(state_);
    keys.insert(scan->displaced.begin(), scan->displaced.end());
  }
  while (!keys.empty()) {
    // Of each key: its head, if it is in RAM, or the segment that has it.
    std::map<uint32_t, std::vector<std::pair<BlockKey, RecordLocation>>> by_segment;
    std::vector<std::pair<BlockKey, Bytes>> pending;
    {
      MutexLock lock(state_);
      for (const BlockKey& key : keys) {
        if (Bytes record = PendingLocked(key))
          pending.emplace_back(key, std::move(record));
        else if (const RecordLocation* location = index_.Find(key))
          by_segment[location->segment].emplace_back(key, *location);
      }
    }
    keys.clear();
    for (const auto& [key, record] : pending)
      if (!visitor(key, std::string_view(*record).substr(0, kRecordHeaderBytes))) return false;
    for (const auto& [number, records] : by_segment) {
      std::string bytes;
      const auto directory = ReadDirectory(number, &bytes);
      if (!directory.ok() && directory.status().code() == Code::kIo) return directory.status();
      for (const auto& [key, location] : records) {
        if (directory.ok() && location.ordinal < directory->entries.size()) {
          if (!visitor(key, directory->entries[location.ordinal].head)) return false;
        } else {
          keys.insert(key);  // it has moved again
        }
      }
    }
    if (!by_segment.empty() && !keys.empty()) {
      // A segment whose directory is damaged keeps its keys in the index: do not look for them for ever.
      MutexLock lock(state_);
      std::erase_if(keys, [&](const BlockKey& key) REQUIRES(state_) {
        const RecordLocation* location = index_.Find(key);
        return location != nullptr && by_segment.contains(location->segment);
      });
    }
  }
  return true;
}

}  // namespace prefixd
