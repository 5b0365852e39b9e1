#include "storage/disk_store.h"

#include <algorithm>
#include <thread>
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

// How often others look whether a waiting Contains has had its turn: longer than a thread takes to wake.
constexpr int kMostYields = 200;

// Every record takes some room beside its bytes. Two segments of the smallest records must fit.
constexpr uint64_t kBytesPerRecord = 2048;

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
      most_records_(std::min<uint64_t>(kMostRecords, options.capacity / kBytesPerRecord)),
      max_segments_(MaxSegments(options.capacity)),
      reserve_(RocksdbReserve(max_segments_)),
      ledger_(options.capacity),
      open_(NewBatch()),
      kept_(options.capacity / 100 * static_cast<uint64_t>(options.retained_percent)) {}

DiskStore::StateLock::StateLock(const DiskStore* store, bool goes_first) : store_(store) {
  for (int i = 0; !goes_first && store->waiting_ > 0 && i < kMostYields; ++i) std::this_thread::yield();
  if (goes_first) ++store->waiting_;
  store->state_.Lock();
  if (goes_first) --store->waiting_;
  store->work_ = 0;
}

DiskStore::StateLock::~StateLock() {
  store_->most_work_ = std::max(store_->most_work_, store_->work_);
  store_->state_.Unlock();
}

DiskStore::Batch DiskStore::NewBatch() {
  Batch batch;
  batch.records.reserve(kMostRecords);
  batch.by_key.reserve(kMostRecords);
  batch.deleted.reserve(kMostRecords);
  return batch;
}

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
  PREFIXD_ASSIGN_OR_RETURN(folder_, DiskFolder::Open(options_.path, &ledger_, options_.note));
  // The directory may hold more than the capacity, if that was lowered. Opening the database writes little.
  ledger_.SetLimit(std::max(options_.capacity, ledger_.used() + reserve_));
  PREFIXD_ASSIGN_OR_RETURN(db_, folder_->OpenDatabase(max_segments_, options_.observer));
  MutexLock writer(writer_);
  SetShares(options_.shares);
  {
    StateLock lock(this);
    for (const uint32_t number : db_->Segments()) {
      segments_[number];
      ++unknown_segments_;
      next_segment_ = std::max(next_segment_, number + 1);
    }
    if (unknown_segments_ > 0) deleted_ = std::make_unique<RecordIndex>();
  }
  const uint64_t before = ledger_.used();
  const size_t segments = db_->Segments().size();
  if (before > options_.capacity) {
    // What is held for owners is written anew before its segments are dropped.
    ledger_.SetLimit(before + reserve_ +
                     db_->Bound(kMostRecords, segment_bytes_, DirectoryBytes(kMostRecords, 0, kMostRecords)));
  }
  if (const Status room = MakeRoom(0); !room.ok()) {
    return {room.code(), "the disk cache " + folder_->path() + " does not fit " +
                             FormatSize(options_.capacity) + ": " + room.message()};
  }
  ledger_.SetLimit(options_.capacity);
  StateLock lock(this);
  if (segments > segments_.size()) {
    Log(LogLevel::kInfo, "evicted from the disk cache at start, to fit its capacity",
        {{"records", stats_.evicted_records},
         {"bytes_before", before},
         {"bytes", ledger_.used()},
         {"capacity", options_.capacity}});
  }
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
      StateLock lock(this);
      pending = PendingLocked(key);
      RecordLocation* found = pending == nullptr ? FindLocked(key) : nullptr;
      if (pending == nullptr && found == nullptr) return NotFound("no record " + ToHex(key));
      if (found != nullptr) {
        const float heat = AddUse(found->heat, TickLocked());
        log_worth_ += found->bytes * (static_cast<double>(heat) - found->heat);
        found->heat = heat;
        owners_.Use(found->owner, TickLocked());
        location = *found;
        stats_.read_bytes += found->bytes;
      }
    }
    if (pending != nullptr) return *pending;
    auto record = db_->Read(location.segment, location.ordinal);
    if (record.ok() && record->size() == location.bytes) return record;
    const Status failure = record.ok() ? Corrupt("it has another length") : record.status();
    const bool damaged = failure.code() == Code::kNotFound || failure.code() == Code::kCorrupt;
    {
      StateLock lock(this);
      const RecordLocation* now = FindLocked(key);
      const bool moved = now == nullptr || !now->SamePlace(location);
      if (moved && attempt < 3) continue;
      if (moved) return NotFound("no record " + ToHex(key));
      if (damaged) LoseLocked(key);
    }
    NoteRead(failure);
    if (!damaged) return failure;
    Log(LogLevel::kWarning, "dropped a damaged record of the disk cache",
        {{"key", ToHex(key)}, {"segment", location.segment}});
    return Corrupt("the record " + ToHex(key) + " on the disk is damaged: " + failure.message());
  }
}

bool DiskStore::Contains(const BlockKey& key) const {
  StateLock lock(this, /*goes_first=*/true);
  return PendingLocked(key) != nullptr || FindLocked(key) != nullptr;
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
    while (true) {
      {
        StateLock lock(this);
        PREFIXD_RETURN_IF_ERROR(MayPutLocked());
        if (!IsFullLocked(size)) {
          AddLocked(std::move(entry));
          break;
        }
      }
      MutexLock writer(writer_);
      const bool full = [&] {
        StateLock lock(this);
        return IsFullLocked(size);
      }();
      // Another thread may have sealed it meanwhile.
      if (full) PREFIXD_RETURN_IF_ERROR(Seal());
    }
  }
  return Status::Ok();
}

bool DiskStore::IsFullLocked(uint64_t size) const {
  return !open_.records.empty() &&
         (open_.bytes + size > segment_bytes_ || open_.records.size() >= most_records_);
}

void DiskStore::AddLocked(StoreEntry entry) {
  const bool replaces = ForgetLocked(entry.key) || unknown_segments_ > 0;
  if (open_.empty()) open_.opened_nanos = options_.clock->NowNanos();
  Pending pending{.key = entry.key,
                  .cost_class = CostClass(entry.cost, entry.record.size()),
                  .heat = FirstHeat(TickLocked()),
                  .created = static_cast<uint64_t>(options_.clock->UnixSeconds()),
                  .owner = RecordOwners::OwnerOf(entry.record)};
  pending.record = std::make_shared<const std::string>(std::move(entry.record));
  pending.replaces = replaces;
  open_.bytes += pending.record->size();
  open_.by_key[entry.key] = open_.records.size();
  open_.records.push_back(std::move(pending));
}

Status DiskStore::Delete(const BlockKey& key) {
  StateLock lock(this);
  const bool known = ForgetLocked(key);
  kept_.Forget(key);
  const bool all_known = unknown_segments_ == 0;
  // A segment that is not known yet may hold the record.
  if (known || !all_known) KillOlderLocked(key);
  return Status::Ok();
}

void DiskStore::KillOlderLocked(const BlockKey& key) {
  // Nothing is written any more: the deletion would be there for ever.
  if (reopen_) return;
  if (unknown_segments_ > 0) deleted_->Insert(key, {.segment = UINT32_MAX});
  if (open_.empty()) open_.opened_nanos = options_.clock->NowNanos();
  open_.deleted.push_back(key);
}

Status DiskStore::Sync() {
  MutexLock writer(writer_);
  {
    StateLock lock(this);
    open_.keeps = open_.keeps || kept_.unwritten() > 0;
  }
  return Seal();
}

Status DiskStore::Seal() {
  {
    StateLock lock(this);
    if (open_.empty() && !broken_ && !stats_.writing_fails) return Status::Ok();
  }
  Batch batch = NewBatch();
  std::vector<BlockKey> deleted;
  size_t count = 0;
  {
    StateLock lock(this);
    std::swap(sealing_, open_);
    std::swap(open_, batch);
    deleted = std::move(sealing_.deleted);
    count = sealing_.records.size();
  }
  const std::vector<Pending> records = SealingRecords(count);
  const Status status = TrySeal(records, deleted);
  if (!status.ok()) {
    LoseSealing(records);
    // A deletion must not be lost: a record of an older segment would come back.
    RestoreDeleted(std::move(deleted));
  }
  // What is left is destroyed when `state_` is free again.
  StateLock lock(this);
  std::swap(sealing_, batch);
  return status;
}

std::vector<DiskStore::Pending> DiskStore::SealingRecords(size_t count) {
  std::vector<Pending> records;
  records.reserve(count);
  for (size_t begin = 0; begin < count; begin += kSlice) {
    StateLock lock(this);
    for (size_t i = begin; i < std::min(begin + kSlice, count); ++i, ++work_)
      if (!sealing_.records[i].dead) records.push_back(sealing_.records[i]);
  }
  return records;
}

Status DiskStore::TrySeal(const std::vector<Pending>& records, const std::vector<BlockKey>& deleted) {
  const uint64_t most_kept = Unwritten();
  const bool nothing = records.empty() && deleted.empty() && most_kept == 0;
  const uint64_t bound = nothing ? failed_bytes_ : BoundOf(records, deleted, most_kept);
  Status status = CheckFolder();
  if (!status.ok()) return status;
  if (broken_) status = Repair();
  if (status.ok()) status = MakeRoom(bound);
  if (status.ok() && nothing) status = folder_->HasRoomFor(bound);
  if (status.ok() && !nothing) status = WriteSegment(records, deleted, most_kept);
  // A small segment that finds room says nothing of those that found none.
  const bool recovers = status.ok() && !nothing && bound < failed_bytes_;
  NoteWrite(recovers ? folder_->HasRoomFor(failed_bytes_) : status, std::max(bound, failed_bytes_));
  if (!status.ok()) return status;
  uint64_t bytes = 0;
  for (const Pending& record : records) bytes += record.record->size();
  StateLock lock(this);
  stats_.written_bytes += bytes;
  return status;
}

uint64_t DiskStore::BoundOf(const std::vector<Pending>& records, const std::vector<BlockKey>& deleted,
                            uint64_t most_kept) const {
  uint64_t bytes = 0;
  for (const Pending& record : records) bytes += record.record->size();
  return db_->Bound(records.size(), bytes, DirectoryBytes(records.size(), deleted.size(), most_kept));
}

bool DiskStore::IsAliveLocked(const Pending& record) const {
  if (record.from.segment == 0) return sealing_.by_key.contains(record.key);
  const RecordLocation* now = FindLocked(record.key);
  return now != nullptr && now->SamePlace(record.from);
}

Status DiskStore::WriteSegment(const std::vector<Pending>& records, const std::vector<BlockKey>& deleted,
                               uint64_t most_kept) {
  const uint32_t number = next_segment_++;
  SegmentDirectory directory{.group = options_.group, .deleted = deleted, .kept = TakeUnwritten(most_kept)};
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
    StateLock lock(this);
    directory.tick = TickLocked();
  }
  const Status status = db_->Add(number, payloads, EncodeDirectory(directory));
  if (!status.ok()) {
    broken_ = true;
    std::vector<BlockKey> unwritten;
    for (const KeptEntry& kept : directory.kept) unwritten.push_back(kept.key);
    MarkUnwritten(unwritten);
    return status;
  }
  {
    StateLock lock(this);
    segments_[number] = segment;
    if (IsSmall(segment)) ++small_segments_;
  }
  for (size_t begin = 0; begin < deleted.size(); begin += kSlice) {
    StateLock lock(this);
    if (unknown_segments_ == 0) break;
    for (size_t i = begin; i < std::min(begin + kSlice, deleted.size()); ++i, ++work_)
      if (deleted_->Find(deleted[i]) == nullptr) deleted_->Insert(deleted[i], {.segment = number});
  }
  IndexSegment(number, records);
  return Status::Ok();
}

void DiskStore::IndexSegment(uint32_t number, const std::vector<Pending>& records) {
  for (size_t begin = 0; begin < records.size(); begin += kSlice) {
    StateLock lock(this);
    for (size_t i = begin; i < std::min(begin + kSlice, records.size()); ++i) {
      const Pending& record = records[i];
      if (!IsAliveLocked(record)) continue;
      const auto size = static_cast<uint32_t>(record.record->size());
      if (record.from.segment == 0) {
        sealing_.by_key.erase(record.key);
        sealing_.bytes -= size;
      }
      const RecordLocation location{.segment = number,
                                    .heat = record.heat,
                                    .ordinal = i,
                                    .cost_class = record.cost_class,
                                    .bytes = size};
      IndexLocked(record.key, location, record.owner);
    }
  }
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
    batch->bytes -= record.record->size();
    batch->by_key.erase(found);
    if (batch == &sealing_) return true;
    record.record = nullptr;  // nobody is going to write it
    return record.replaces;
  }
  if (FindLocked(key) == nullptr) return false;
  EraseLocked(key);
  return true;
}

RecordLocation* DiskStore::FindLocked(const BlockKey& key) {
  ++work_;
  return index_.Find(key);
}

const RecordLocation* DiskStore::FindLocked(const BlockKey& key) const {
  ++work_;
  return index_.Find(key);
}

void DiskStore::EraseLocked(const BlockKey& key) {
  const RecordLocation* location = FindLocked(key);
  live_bytes_ -= location->bytes;
  log_worth_ -= location->bytes * LogWorth(location->heat, location->cost_class);
  Segment& segment = segments_[location->segment];
  --segment.live;
  segment.live_bytes -= location->bytes;
  for (ScanState* scan : scans_)
    if (scan->IsAhead(*location)) scan->displaced.push_back(key);
  owners_.Remove(location->owner, location->bytes);
  index_.Erase(key);
}

void DiskStore::IndexLocked(const BlockKey& key, RecordLocation location, uint64_t owner) {
  location.owner = owners_.Add(owner, location.bytes, std::min<double>(location.heat, TickLocked()));
  if (FindLocked(key) != nullptr) {
    EraseLocked(key);
    // A scan that has yet to visit the segment finds the record there.
    for (ScanState* scan : scans_) {
      const bool displaced = !scan->displaced.empty() && scan->displaced.back() == key;
      if (displaced && scan->IsAhead(location)) scan->displaced.pop_back();
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
  ++work_;
  if (options_.on_drop) options_.on_drop(key, reason);
}

void DiskStore::LoseLocked(const BlockKey& key) {
  EraseLocked(key);
  kept_.Forget(key);
  ++stats_.lost_records;
  KillOlderLocked(key);
  TellDropLocked(key, DropReason::kLost);
}

}  // namespace prefixd
