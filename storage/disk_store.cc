#include "storage/disk_store.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/log.h"
#include "storage/record_value.h"

namespace prefixd {
namespace {

constexpr uint64_t kMaxSegmentBytes = 64 << 20;
constexpr uint64_t kSegmentsPerCapacity = 32;
// Small segments come from quiet times, in which a segment is sealed by its age.
constexpr uint64_t kMinMaxSegments = 128;

uint64_t MaxSegments(uint64_t capacity) {
  return kMinMaxSegments + 4 * capacity / DiskStore::SegmentBytes(capacity);
}

}  // namespace

uint64_t DiskStore::SegmentBytes(uint64_t capacity) {
  return std::min(kMaxSegmentBytes, capacity / kSegmentsPerCapacity);
}

DiskStore::DiskStore(const DiskStoreOptions& options)
    : options_(options),
      segment_bytes_(SegmentBytes(options.capacity)),
      max_segments_(MaxSegments(options.capacity)),
      reserve_(RocksdbReserve(max_segments_)),
      ledger_(options.capacity) {}

Result<std::unique_ptr<DiskStore>> DiskStore::Open(const DiskStoreOptions& options) {
  if (options.capacity < kMinDiskCapacity) {
    return InvalidArgument("a disk cache of " + FormatSize(options.capacity) +
                           " is too small; it needs at least " + FormatSize(kMinDiskCapacity));
  }
  std::unique_ptr<DiskStore> store(new DiskStore(options));
  PREFIXD_RETURN_IF_ERROR(store->OpenFolder());
  return store;
}

Status DiskStore::OpenFolder() {
  PREFIXD_ASSIGN_OR_RETURN(folder_, DiskFolder::Open(options_.path, &ledger_));
  // The directory may hold more than the capacity, if that was lowered. Opening the database writes little.
  ledger_.SetLimit(std::max(options_.capacity, ledger_.used() + reserve_));
  PREFIXD_ASSIGN_OR_RETURN(db_, folder_->OpenDatabase(max_segments_, options_.observer));
  MutexLock writer(writer_);
  {
    MutexLock lock(state_);
    for (const uint32_t number : db_->Segments()) {
      segments_[number];
      ++unknown_segments_;
      next_segment_ = std::max(next_segment_, number + 1);
    }
  }
  if (const Status room = MakeRoom(0); !room.ok()) {
    return {room.code(), "the disk cache " + folder_->path() + " does not fit " +
                             FormatSize(options_.capacity) + ": " + room.message()};
  }
  ledger_.SetLimit(options_.capacity);
  return Status::Ok();
}

DiskStore::~DiskStore() {
  if (db_ != nullptr) (void)Sync();  // a failure was counted and logged
}

Result<std::string> DiskStore::Get(const BlockKey& key) {
  // A record that eviction moves while it is read is found in its new place.
  for (int attempt = 0;; ++attempt) {
    RecordLocation location;
    Bytes pending;
    {
      MutexLock lock(state_);
      pending = PendingLocked(key);
      RecordLocation* found = pending == nullptr ? index_.Find(key) : nullptr;
      if (pending == nullptr && found == nullptr) return NotFound("no record " + ToHex(key));
      if (found != nullptr) {
        const float heat = AddUse(found->heat, TickLocked());
        log_worth_ += found->bytes * (static_cast<double>(heat) - found->heat);
        found->heat = heat;
        location = *found;
        stats_.read_bytes += found->bytes;
      }
    }
    if (pending != nullptr) return *pending;
    auto record = db_->Read(location.segment, location.ordinal);
    if (record.ok() && record->size() == location.bytes) return record;
    MutexLock lock(state_);
    const RecordLocation* now = index_.Find(key);
    const bool moved = now == nullptr || !now->SamePlace(location);
    if (moved && attempt < 3) continue;
    if (moved) return NotFound("no record " + ToHex(key));
    if (!record.ok() && record.status().code() != Code::kNotFound && record.status().code() != Code::kCorrupt)
      return record.status();
    LoseLocked(key, location);
    return Corrupt("the record " + ToHex(key) + " on the disk is damaged: " +
                   (record.ok() ? "it has another length" : record.status().message()));
  }
}

bool DiskStore::Contains(const BlockKey& key) const {
  MutexLock lock(state_);
  return PendingLocked(key) != nullptr || index_.Find(key) != nullptr;
}

Status DiskStore::PutBatch(std::vector<StoreEntry> batch) {
  for (const StoreEntry& entry : batch) {
    PREFIXD_CHECK(entry.cost > 0) << entry.cost;
    if (entry.record.size() > max_record_bytes()) {
      return ResourceExhausted("a record of " + FormatSize(entry.record.size()) +
                               " does not fit a disk cache of " + FormatSize(capacity()) +
                               ", whose records have at most " + FormatSize(max_record_bytes()));
    }
  }
  for (StoreEntry& entry : batch) {
    const uint64_t size = entry.record.size();
    const auto add = [&]() {
      MutexLock lock(state_);
      if (!open_.records.empty() && open_.bytes + size > segment_bytes_) return false;
      AddLocked(std::move(entry));
      return true;
    };
    while (!add()) {
      MutexLock writer(writer_);
      const bool full = [&] {
        MutexLock lock(state_);
        return open_.bytes + size > segment_bytes_;
      }();
      // Another thread may have sealed it meanwhile.
      if (full) PREFIXD_RETURN_IF_ERROR(Seal());
    }
  }
  return Status::Ok();
}

void DiskStore::AddLocked(StoreEntry entry) {
  const bool replaces = ForgetLocked(entry.key) || unknown_segments_ > 0;
  if (open_.empty()) open_.opened_nanos = options_.clock->NowNanos();
  Pending pending{.key = entry.key,
                  .cost_class = CostClass(entry.cost, entry.record.size()),
                  .heat = FirstHeat(TickLocked()),
                  .created = static_cast<uint64_t>(options_.clock->UnixSeconds())};
  pending.record = std::make_shared<const std::string>(std::move(entry.record));
  pending.replaces = replaces;
  open_.bytes += pending.record->size();
  open_.by_key[entry.key] = open_.records.size();
  open_.records.push_back(std::move(pending));
}

Status DiskStore::Delete(const BlockKey& key) {
  MutexLock lock(state_);
  const bool known = ForgetLocked(key);
  const bool all_known = unknown_segments_ == 0;
  // A segment that is not known yet may hold the record.
  if (known || !all_known) KillOlderLocked(key);
  return Status::Ok();
}

void DiskStore::KillOlderLocked(const BlockKey& key) {
  if (unknown_segments_ > 0) deleted_[key] = UINT32_MAX;
  if (open_.empty()) open_.opened_nanos = options_.clock->NowNanos();
  open_.deleted.push_back(key);
}

Status DiskStore::Sync() {
  MutexLock writer(writer_);
  return Seal();
}

Status DiskStore::Seal() {
  std::vector<Pending> records;
  std::vector<BlockKey> deleted;
  {
    MutexLock lock(state_);
    if (open_.empty() && !broken_) return Status::Ok();
    sealing_ = std::move(open_);
    open_ = {};
    for (const Pending& record : sealing_.records)
      if (!record.dead) records.push_back(record);
    deleted = sealing_.deleted;
  }
  Status status = broken_ ? Repair() : Status::Ok();
  if (status.ok()) status = MakeRoom(BoundOf(records, deleted));
  if (status.ok() && !(records.empty() && deleted.empty())) status = WriteSegment(records, deleted);
  MutexLock lock(state_);
  for (const Pending& record : records) {
    if (status.ok()) {
      stats_.written_bytes += record.record->size();
    } else if (sealing_.by_key.contains(record.key)) {
      ++stats_.lost_records;
      TellDropLocked(record.key, DropReason::kLost);
      // The record before it must not come back at the next start.
      if (record.replaces) KillOlderLocked(record.key);
    }
  }
  // A deletion must not be lost: a record of an older segment would come back.
  if (!status.ok()) RestoreDeletedLocked(deleted);
  sealing_ = {};
  return status;
}

void DiskStore::RestoreDeletedLocked(const std::vector<BlockKey>& deleted) {
  if (deleted.empty()) return;
  if (open_.empty()) open_.opened_nanos = options_.clock->NowNanos();
  open_.deleted.insert(open_.deleted.end(), deleted.begin(), deleted.end());
  // The same keys may fail again and again.
  std::sort(open_.deleted.begin(), open_.deleted.end());
  open_.deleted.erase(std::unique(open_.deleted.begin(), open_.deleted.end()), open_.deleted.end());
}

Status DiskStore::Repair() {
  PREFIXD_RETURN_IF_ERROR(db_->Recover());
  // A segment whose write failed may be there all the same. Its records were told lost.
  for (const uint32_t number : db_->Segments()) {
    const bool expected = [&] {
      MutexLock lock(state_);
      return segments_.contains(number);
    }();
    if (!expected) PREFIXD_RETURN_IF_ERROR(db_->Drop(number));
  }
  broken_ = false;
  return Status::Ok();
}

uint64_t DiskStore::BoundOf(const std::vector<Pending>& records, const std::vector<BlockKey>& deleted) const {
  uint64_t bytes = 0;
  for (const Pending& record : records) bytes += record.record->size();
  return db_->Bound(records.size(), bytes, DirectoryBytes(records.size(), deleted.size()));
}

bool DiskStore::IsAliveLocked(const Pending& record) const {
  if (record.from.segment == 0) return sealing_.by_key.contains(record.key);
  const RecordLocation* now = index_.Find(record.key);
  return now != nullptr && now->SamePlace(record.from);
}

Status DiskStore::WriteSegment(const std::vector<Pending>& records, const std::vector<BlockKey>& deleted) {
  const uint32_t number = next_segment_++;
  SegmentDirectory directory{.group = options_.group, .deleted = deleted};
  std::vector<std::string_view> payloads;
  Segment segment{.known = true, .count = records.size()};
  for (const Pending& record : records) {
    directory.entries.push_back({.key = record.key,
                                 .bytes = static_cast<uint32_t>(record.record->size()),
                                 .heat = record.heat,
                                 .created = record.created,
                                 .cost_class = record.cost_class,
                                 .head = std::string_view(*record.record).substr(0, kRecordHeaderBytes)});
    payloads.push_back(*record.record);
    segment.bytes += record.record->size();
    const bool first = payloads.size() == 1;
    segment.oldest = first ? record.created : std::min(segment.oldest, record.created);
  }
  {
    MutexLock lock(state_);
    directory.tick = TickLocked();
  }
  const Status status = db_->Add(number, payloads, EncodeDirectory(directory));
  MutexLock lock(state_);
  if (!status.ok()) {
    broken_ = true;
    ++stats_.failed_writes;
    Log(LogLevel::kWarning, "could not write a segment of the disk cache", {{"error", status.ToString()}});
    return status;
  }
  segments_[number] = segment;
  if (unknown_segments_ > 0)
    for (const BlockKey& key : deleted) deleted_.try_emplace(key, number);
  for (uint32_t ordinal = 0; ordinal < records.size(); ++ordinal) {
    const Pending& record = records[ordinal];
    if (!IsAliveLocked(record)) continue;
    IndexLocked(record.key, {.segment = number,
                             .ordinal = ordinal,
                             .cost_class = record.cost_class,
                             .bytes = static_cast<uint32_t>(record.record->size()),
                             .heat = record.heat});
  }
  return Status::Ok();
}

DiskStore::Bytes DiskStore::PendingLocked(const BlockKey& key) const {
  for (const Batch* batch : {&open_, &sealing_}) {
    const auto found = batch->by_key.find(key);
    if (found != batch->by_key.end()) return batch->records[found->second].record;
  }
  return nullptr;
}

bool DiskStore::ForgetLocked(const BlockKey& key) {
  for (Batch* batch : {&open_, &sealing_}) {
    const auto found = batch->by_key.find(key);
    if (found == batch->by_key.end()) continue;
    Pending& record = batch->records[found->second];
    record.dead = true;
    if (batch == &open_) {
      batch->bytes -= record.record->size();
      record.record = nullptr;  // nobody is going to write it
    }
    batch->by_key.erase(found);
    return true;
  }
  if (index_.Find(key) == nullptr) return false;
  EraseLocked(key);
  return true;
}

void DiskStore::EraseLocked(const BlockKey& key) {
  const RecordLocation* location = index_.Find(key);
  live_bytes_ -= location->bytes;
  log_worth_ -= location->bytes * LogWorth(location->heat, location->cost_class);
  Segment& segment = segments_[location->segment];
  --segment.live;
  segment.live_bytes -= location->bytes;
  for (ScanState* scan : scans_)
    if (scan->ahead.contains(location->segment)) scan->displaced.push_back(key);
  index_.Erase(key);
}

void DiskStore::IndexLocked(const BlockKey& key, const RecordLocation& location) {
  if (index_.Find(key) != nullptr) {
    EraseLocked(key);
    // A scan that has yet to visit the segment finds the record there.
    for (ScanState* scan : scans_) {
      const bool displaced = !scan->displaced.empty() && scan->displaced.back() == key;
      if (displaced && scan->ahead.contains(location.segment)) scan->displaced.pop_back();
    }
  }
  index_.Insert(key, location);
  Segment& segment = segments_[location.segment];
  ++segment.live;
  segment.live_bytes += location.bytes;
  live_bytes_ += location.bytes;
  log_worth_ += location.bytes * LogWorth(location.heat, location.cost_class);
}

double DiskStore::MeanLogWorthLocked() const {
  return live_bytes_ == 0 ? 0 : log_worth_ / static_cast<double>(live_bytes_);
}

double DiskStore::TickLocked() const {
  return first_tick_ + TicksOf(stats_.written_bytes, options_.capacity);
}

void DiskStore::TellDropLocked(const BlockKey& key, DropReason reason) {
  if (options_.on_drop) options_.on_drop(key, reason);
}

void DiskStore::LoseLocked(const BlockKey& key, const RecordLocation& location) {
  Log(LogLevel::kWarning, "dropped a damaged record of the disk cache",
      {{"key", ToHex(key)}, {"segment", location.segment}});
  EraseLocked(key);
  ++stats_.lost_records;
  KillOlderLocked(key);
  TellDropLocked(key, DropReason::kLost);
}

DiskStoreStats DiskStore::stats() const {
  MutexLock lock(state_);
  DiskStoreStats stats = stats_;
  stats.records = index_.size() + open_.by_key.size() + sealing_.by_key.size();
  for (const auto& [number, segment] : segments_) ++(segment.foreign ? stats.other_segments : stats.segments);
  stats.pending_bytes = open_.bytes;
  for (const auto& [key, i] : sealing_.by_key) stats.pending_bytes += sealing_.records[i].record->size();
  stats.index_bytes = index_.memory_bytes();
  return stats;
}

bool DiskStore::scanned() const {
  MutexLock lock(state_);
  return unknown_segments_ == 0;
}

void DiskStore::MakeKnownLocked(Segment* segment) {
  if (!segment->known) --unknown_segments_;
  segment->known = true;
}

void DiskStore::CheckInvariants() const {
  ledger_.CheckInvariants();
  MutexLock lock(state_);
  PREFIXD_CHECK(ledger_.used() <= ledger_.limit()) << ledger_.used();
  index_.CheckInvariants();
  std::map<uint32_t, Segment> sums;
  uint64_t live_bytes = 0;
  std::vector<BlockKey> keys;
  index_.ForEach([&](const BlockKey& key, const RecordLocation& location) {
    keys.push_back(key);
    Segment& sum = sums[location.segment];
    ++sum.live;
    sum.live_bytes += location.bytes;
    live_bytes += location.bytes;
  });
  for (const BlockKey& key : keys)
    PREFIXD_CHECK(!open_.by_key.contains(key) && !sealing_.by_key.contains(key)) << ToHex(key);
  PREFIXD_CHECK(live_bytes == live_bytes_) << live_bytes;
  for (const auto& [number, sum] : sums) PREFIXD_CHECK(segments_.contains(number)) << number;
  uint64_t unknown = 0;
  for (const auto& [number, segment] : segments_) {
    if (!segment.known) ++unknown;
    PREFIXD_CHECK(segment.live == sums[number].live && segment.live_bytes == sums[number].live_bytes)
        << "segment " << number << " has " << sums[number].live << " records, not " << segment.live;
    PREFIXD_CHECK(segment.live <= segment.count || !segment.known) << number;
  }
  PREFIXD_CHECK(unknown == unknown_segments_) << unknown;
}

}  // namespace prefixd
