// DiskStore: how a store learns what lies in its segments, and shows it to a visitor.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "storage/disk_store.h"
#include "storage/record_value.h"

namespace prefixd {

Result<SegmentDirectory> DiskStore::ReadDirectory(uint32_t number, std::string* bytes) {
  auto directory = [&]() -> Result<SegmentDirectory> {
    PREFIXD_ASSIGN_OR_RETURN(*bytes, db_->ReadDirectory(number));
    PREFIXD_ASSIGN_OR_RETURN(SegmentDirectory decoded, DecodeDirectory(*bytes));
    // The index has no room for more.
    bool fits = decoded.entries.size() <= RecordLocation::kOrdinals;
    for (const DirectoryEntry& entry : decoded.entries)
      fits = fits && entry.bytes <= RecordLocation::kMostBytes;
    if (!fits) return Corrupt("the directory of a segment has too many or too large records");
    return decoded;
  }();
  if (!directory.ok() && directory.status().code() != Code::kUnsupported) NoteRead(directory.status());
  return directory;
}

void DiskStore::MakeKnown(uint32_t number, bool foreign) {
  std::unique_ptr<RecordIndex> deleted;  // destroyed when `state_` is free again
  StateLock lock(this);
  Segment& segment = segments_[number];
  segment.known = true;
  segment.foreign = foreign;
  if (foreign) ++other_segments_;
  if (IsSmall(segment)) ++small_segments_;
  if (--unknown_segments_ == 0) deleted.swap(deleted_);
}

void DiskStore::LearnSegment(uint32_t number, const SegmentDirectory& directory) {
  if (directory.group != options_.group) {
    if (options_.on_foreign) options_.on_foreign(directory);
    return MakeKnown(number, /*foreign=*/true);
  }
  const std::vector<DirectoryEntry>& entries = directory.entries;
  {
    StateLock lock(this);
    // Ticks go on where the process before has stopped.
    first_tick_ = std::max(first_tick_, directory.tick);
    segments_[number].count = entries.size();
  }
  for (size_t begin = 0; begin < entries.size(); begin += kSlice) {
    StateLock lock(this);
    for (size_t i = begin; i < std::min(begin + kSlice, entries.size()); ++i)
      LearnRecordLocked(number, static_cast<uint32_t>(i), entries[i]);
  }
  for (size_t begin = 0; begin < directory.deleted.size(); begin += kSlice) {
    StateLock lock(this);
    for (size_t i = begin; i < std::min(begin + kSlice, directory.deleted.size()); ++i)
      LearnDeletionLocked(number, directory.deleted[i]);
  }
  LearnKept(number, directory.kept);
  MakeKnown(number, /*foreign=*/false);
}

void DiskStore::LearnRecordLocked(uint32_t number, uint32_t ordinal, const DirectoryEntry& entry) {
  Segment& segment = segments_[number];
  segment.bytes += entry.bytes;
  segment.oldest = ordinal == 0 ? entry.created : std::min(segment.oldest, entry.created);
  const RecordLocation* newer = FindLocked(entry.key);
  const RecordLocation* deleted = deleted_->Find(entry.key);
  const bool dead = (newer != nullptr && newer->segment > number) || PendingLocked(entry.key) != nullptr ||
                    (deleted != nullptr && deleted->segment > number);
  if (dead) return;
  const RecordLocation location{.segment = number,
                                .heat = entry.heat,
                                .ordinal = ordinal,
                                .cost_class = entry.cost_class,
                                .bytes = entry.bytes};
  IndexLocked(entry.key, location, RecordOwners::OwnerOf(entry.head));
}

void DiskStore::LearnDeletionLocked(uint32_t number, const BlockKey& key) {
  const RecordLocation* known = deleted_->Find(key);
  if (known == nullptr || known->segment < number) deleted_->Insert(key, {.segment = number});
  const RecordLocation* older = FindLocked(key);
  if (older != nullptr && older->segment < number) EraseLocked(key);
}

Result<SegmentDirectory> DiskStore::Learn(uint32_t number, std::string* bytes) {
  const auto is_known = [&] {
    StateLock lock(this);
    const auto segment = segments_.find(number);
    return segment == segments_.end() || segment->second.known;
  };
  if (is_known()) return ReadDirectory(number, bytes);
  MutexLock learner(learner_);
  auto directory = ReadDirectory(number, bytes);
  if (is_known()) return directory;  // another thread was faster
  const Code code = directory.status().code();
  if (directory.ok()) {
    LearnSegment(number, *directory);
  } else if (code == Code::kUnsupported) {
    MakeKnown(number, /*foreign=*/true);
  } else {
    {
      StateLock lock(this);
      if (code == Code::kIo && ++segments_[number].failed_reads < kMostFailedReads) return directory;
      ++stats_.damaged_segments;
    }
    // Its records cannot be found. It has no worth, so it is the first to be dropped.
    MakeKnown(number, /*foreign=*/false);
    Log(LogLevel::kWarning, "a segment of the disk cache is damaged; its records are lost",
        {{"segment", number}, {"error", directory.status().ToString()}});
  }
  if (scanned()) ForgetAbsent();
  return directory;
}

std::vector<std::pair<BlockKey, DiskStore::Bytes>> DiskStore::BeginScan(ScanState* scan) {
  MutexLock writer(writer_);  // so nothing is being sealed, and the open segment stays the same one
  for (const auto& [number, segment] : CopySegments())
    if (!segment.foreign) scan->ahead.insert(number);
  size_t count = 0;
  {
    StateLock lock(this);
    scans_.push_back(scan);
    count = open_.records.size();
  }
  std::vector<std::pair<BlockKey, Bytes>> pending;
  std::unordered_set<BlockKey> seen;
  for (size_t begin = 0; begin < count; begin += kSlice) {
    StateLock lock(this);
    for (size_t i = begin; i < std::min(begin + kSlice, count); ++i, ++work_) {
      // The record may have been replaced since, and its key be there again.
      const BlockKey& key = open_.records[i].key;
      Bytes record = PendingLocked(key);
      if (record != nullptr && seen.insert(key).second) pending.emplace_back(key, std::move(record));
    }
  }
  return pending;
}

Status DiskStore::Scan(const Visitor& visitor) {
  ScanState scan;
  const std::vector<std::pair<BlockKey, Bytes>> pending = BeginScan(&scan);
  const auto visit_all = [&]() -> Status {
    for (const auto& [key, record] : pending)
      if (!visitor(key, std::string_view(*record).substr(0, kRecordHeaderBytes))) return Status::Ok();
    Status failed;
    while (true) {
      uint32_t number = 0;
      {
        StateLock lock(this);
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
  StateLock lock(this);
  std::erase(scans_, &scan);
  return status;
}

Result<bool> DiskStore::VisitSegment(uint32_t number, ScanState* scan, const Visitor& visitor) {
  std::string bytes;
  const auto directory = Learn(number, &bytes);
  {
    StateLock lock(this);
    const auto segment = segments_.find(number);
    // It may have been dropped meanwhile; its survivors are displaced.
    const bool passed = segment == segments_.end() || segment->second.foreign;
    if (passed || !directory.ok()) scan->ahead.erase(number);
    if (passed) return true;
    if (!directory.ok()) {
      // Records that were found before cannot be shown now.
      if (directory.status().code() == Code::kIo || segment->second.live > 0) return directory.status();
      return true;  // Learn has counted it
    }
    scan->current = number;
    scan->passed = 0;
  }
  const std::vector<DirectoryEntry>& entries = directory->entries;
  std::vector<const DirectoryEntry*> live;
  for (size_t begin = 0; begin < entries.size(); begin += kSlice) {
    StateLock lock(this);
    const size_t end = std::min(begin + kSlice, entries.size());
    for (size_t i = begin; i < end; ++i) {
      const RecordLocation* location = FindLocked(entries[i].key);
      if (location != nullptr && location->SamePlace({.segment = number, .ordinal = i}))
        live.push_back(&entries[i]);
    }
    scan->passed = static_cast<uint32_t>(end);
  }
  {
    StateLock lock(this);
    scan->ahead.erase(number);
  }
  for (const DirectoryEntry* entry : live)
    if (!visitor(entry->key, entry->head)) return false;
  return true;
}

Result<bool> DiskStore::VisitDisplaced(ScanState* scan, const Visitor& visitor) {
  std::vector<BlockKey> displaced;
  {
    StateLock lock(this);
    displaced.swap(scan->displaced);
  }
  const std::unordered_set<BlockKey> distinct(displaced.begin(), displaced.end());
  std::vector<BlockKey> keys(distinct.begin(), distinct.end());
  while (!keys.empty()) {
    // Of each key: its head, if it is in RAM, or the segment that has it.
    std::map<uint32_t, std::vector<std::pair<BlockKey, RecordLocation>>> by_segment;
    std::vector<std::pair<BlockKey, Bytes>> pending;
    for (size_t begin = 0; begin < keys.size(); begin += kSlice) {
      StateLock lock(this);
      for (size_t i = begin; i < std::min(begin + kSlice, keys.size()); ++i) {
        if (Bytes record = PendingLocked(keys[i]))
          pending.emplace_back(keys[i], std::move(record));
        else if (const RecordLocation* location = FindLocked(keys[i]))
          by_segment[location->segment].emplace_back(keys[i], *location);
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
          keys.push_back(key);  // it has moved again
        }
      }
    }
    // A segment whose directory is damaged keeps its keys in the index: do not look for them for ever.
    std::vector<BlockKey> moved;
    for (const BlockKey& key : keys) {
      StateLock lock(this);
      const RecordLocation* location = FindLocked(key);
      if (location == nullptr || !by_segment.contains(location->segment)) moved.push_back(key);
    }
    keys.swap(moved);
  }
  return true;
}

}  // namespace prefixd
