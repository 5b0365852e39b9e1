// DiskStore: what it does when the medium fails, and what it does now and then. A failed write is tried again
// after a while; what no further try can mend is told to the owner.
#include <algorithm>
#include <iterator>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/log.h"
#include "storage/disk_store.h"

namespace prefixd {
namespace {

// Segments of less than 1/16 of the usual size are joined when there are 32 of them.
constexpr uint64_t kSmallShare = 16;
constexpr size_t kSmallSegments = 32;

}  // namespace

Status DiskStore::MayPutLocked() const {
  if (reopen_) return Unavailable("the disk cache must be opened again: " + stats_.last_write_error);
  if (stats_.writing_fails && options_.clock->NowNanos() < next_try_nanos_)
    return Unavailable("the disk cache cannot be written now: " + stats_.last_write_error);
  return Status::Ok();
}

bool DiskStore::NeedsReopen() const {
  StateLock lock(this);
  return reopen_;
}

Status DiskStore::CheckFolder() {
  {
    StateLock lock(this);
    if (reopen_) return MayPutLocked();
  }
  const Status there = folder_->StillThere();
  return there.ok() ? there : DemandReopen(there);
}

Status DiskStore::DemandReopen(const Status& why) {
  bool first = false;
  Status status;
  {
    StateLock lock(this);
    first = !std::exchange(reopen_, true);
    stats_.writing_fails = true;
    if (first) stats_.last_write_error = why.ToString();
    status = MayPutLocked();
  }
  if (first) Log(LogLevel::kError, "the disk cache must be opened again", {{"error", why.ToString()}});
  return status;
}

Status DiskStore::Repair() {
  const Status recovered = db_->Recover();
  if (recovered.code() == Code::kCorrupt) return DemandReopen(recovered);
  PREFIXD_RETURN_IF_ERROR(recovered);
  const Segments expected = CopySegments();
  const std::vector<uint32_t> found = db_->Segments();
  for (const auto& [number, segment] : expected) {
    if (segment.live > 0 && !std::binary_search(found.begin(), found.end(), number))
      return DemandReopen(Corrupt("segment " + std::to_string(number) + " is gone"));
  }
  // A segment whose write failed may be there all the same. Its records were told lost.
  for (const uint32_t number : found)
    if (!expected.contains(number)) PREFIXD_RETURN_IF_ERROR(db_->Drop(number));
  broken_ = false;
  return Status::Ok();
}

void DiskStore::NoteWrite(const Status& status, uint64_t bytes) {
  const int64_t now = options_.clock->NowNanos();
  bool before = false;
  {
    StateLock lock(this);
    if (reopen_) return;
    before = std::exchange(stats_.writing_fails, !status.ok());
    if (!status.ok()) {
      ++stats_.failed_writes;
      stats_.last_write_error = status.ToString();
      next_try_nanos_ = now + kRetryNanos;
    }
  }
  failed_bytes_ = status.ok() ? 0 : bytes;
  if (status.ok()) {
    if (before) Log(LogLevel::kInfo, "the disk cache can be written again", {});
    return;
  }
  if (before && now - logged_nanos_ < kLogNanos) return;
  logged_nanos_ = now;
  Log(LogLevel::kWarning, "could not write a segment of the disk cache", {{"error", status.ToString()}});
}

void DiskStore::NoteRead(const Status& failure) {
  std::string text = failure.ToString();
  StateLock lock(this);
  ++stats_.failed_reads;
  stats_.last_read_error.swap(text);
}

void DiskStore::LoseSealing(const std::vector<Pending>& records) {
  for (size_t begin = 0; begin < records.size(); begin += kSlice) {
    StateLock lock(this);
    for (size_t i = begin; i < std::min(begin + kSlice, records.size()); ++i) {
      const Pending& record = records[i];
      if (sealing_.by_key.erase(record.key) == 0) continue;
      sealing_.bytes -= record.record->size();
      ++stats_.lost_records;
      kept_.Forget(record.key);
      TellDropLocked(record.key, DropReason::kLost);
      // The record before it must not come back at the next start.
      if (record.replaces) KillOlderLocked(record.key);
    }
  }
}

void DiskStore::RestoreDeleted(std::vector<BlockKey> deleted) {
  std::vector<BlockKey> later;
  {
    StateLock lock(this);
    later.swap(open_.deleted);
  }
  deleted.insert(deleted.end(), later.begin(), later.end());
  if (deleted.empty()) return;
  // The same keys may fail again and again.
  std::sort(deleted.begin(), deleted.end());
  deleted.erase(std::unique(deleted.begin(), deleted.end()), deleted.end());
  if (deleted.size() > kMostDeleted) {
    (void)DemandReopen(ResourceExhausted("too many deletions could not be written"));
    return;
  }
  StateLock lock(this);
  if (open_.empty()) open_.opened_nanos = options_.clock->NowNanos();
  deleted.insert(deleted.end(), open_.deleted.begin(), open_.deleted.end());
  open_.deleted.swap(deleted);
}

bool DiskStore::IsSmall(const Segment& segment) const {
  return segment.known && !segment.foreign && segment.bytes < segment_bytes_ / kSmallShare;
}

std::vector<uint32_t> DiskStore::SmallSegments() {
  std::vector<std::pair<uint64_t, uint32_t>> small;
  const Segments segments = CopySegments();
  for (const auto& [number, segment] : segments)
    if (IsSmall(segment)) small.emplace_back(segment.bytes, number);
  std::sort(small.begin(), small.end());
  std::vector<uint32_t> numbers;
  uint64_t sum = 0, records = 0;
  for (const auto& [bytes, number] : small) {
    sum += bytes;
    records += segments.at(number).count;
    if (sum > segment_bytes_ / 2 || records > kMostRecords) break;
    numbers.push_back(number);
  }
  return numbers;
}

Status DiskStore::Maintain() {
  MutexLock writer(writer_);
  PREFIXD_RETURN_IF_ERROR(CheckFolder());
  const int64_t now = options_.clock->NowNanos();
  bool seal = false;
  bool tidy = false;
  {
    StateLock lock(this);
    if (stats_.writing_fails && now < next_try_nanos_) return Status::Ok();
    seal = stats_.writing_fails || (!open_.empty() && now - open_.opened_nanos >= kSegmentAgeNanos);
    tidy = unknown_segments_ == 0;
  }
  EndExpired();
  DropSurplus();
  if (seal) PREFIXD_RETURN_IF_ERROR(Seal());
  if (!tidy || now < next_tidy_nanos_) return Status::Ok();
  const Status status = Tidy();
  if (status.ok()) return status;
  next_tidy_nanos_ = now + kRetryNanos;
  if (broken_) NoteWrite(status, segment_bytes_);
  return status;
}

Status DiskStore::Tidy() {
  const int64_t seconds = options_.clock->UnixSeconds();
  if (options_.max_age_seconds > 0 && seconds != expiry_seconds_) {
    PREFIXD_RETURN_IF_ERROR(DropExpired());
    expiry_seconds_ = seconds;
  }
  {
    StateLock lock(this);
    if (small_segments_ < kSmallSegments) return Status::Ok();
  }
  const std::vector<uint32_t> small = SmallSegments();
  return small.size() >= kSmallSegments ? Rewrite(small, segment_bytes_, true) : Status::Ok();
}

DiskStoreStats DiskStore::stats() const {
  StateLock lock(this);
  DiskStoreStats stats = stats_;
  stats.records = index_.size() + open_.by_key.size() + sealing_.by_key.size();
  stats.other_segments = other_segments_;
  stats.segments = segments_.size() - other_segments_;
  stats.pending_bytes = open_.bytes + sealing_.bytes;
  stats.index_bytes = index_.memory_bytes();
  stats.kept_records = kept_.size();
  stats.kept_bytes = kept_.bytes();
  stats.most_kept_bytes = kept_.budget();
  stats.retention = kept_.counters();
  stats.most_work = most_work_;
  return stats;
}

bool DiskStore::scanned() const {
  StateLock lock(this);
  return unknown_segments_ == 0;
}

void DiskStore::CheckInvariants() const {
  ledger_.CheckInvariants();
  StateLock lock(this);
  PREFIXD_CHECK(ledger_.used() <= ledger_.limit()) << ledger_.used();
  index_.CheckInvariants();
  kept_.CheckInvariants();
  owners_.CheckInvariants();
  std::map<uint32_t, Segment> sums;
  std::map<uint32_t, uint64_t> owned;
  uint64_t live_bytes = 0;
  std::vector<BlockKey> keys;
  index_.ForEach([&](const BlockKey& key, const RecordLocation& location) {
    keys.push_back(key);
    Segment& sum = sums[location.segment];
    ++sum.live;
    sum.live_bytes += location.bytes;
    live_bytes += location.bytes;
    owned[location.owner] += location.bytes;
  });
  for (uint32_t number = 1; number < owners_.all().size(); ++number)
    PREFIXD_CHECK(owners_.all()[number].bytes == owned[number]) << "owner " << number;
  for (const BlockKey& key : keys)
    PREFIXD_CHECK(!open_.by_key.contains(key) && !sealing_.by_key.contains(key)) << ToHex(key);
  PREFIXD_CHECK(live_bytes == live_bytes_) << live_bytes;
  for (const auto& [number, sum] : sums) PREFIXD_CHECK(segments_.contains(number)) << number;
  uint64_t unknown = 0;
  uint64_t small = 0;
  uint64_t other = 0;
  for (const auto& [number, segment] : segments_) {
    if (!segment.known) ++unknown;
    if (IsSmall(segment)) ++small;
    if (segment.foreign) ++other;
    PREFIXD_CHECK(segment.live == sums[number].live && segment.live_bytes == sums[number].live_bytes)
        << "segment " << number << " has " << sums[number].live << " records, not " << segment.live;
    PREFIXD_CHECK(segment.live <= segment.count || !segment.known) << number;
  }
  PREFIXD_CHECK(unknown == unknown_segments_) << unknown;
  PREFIXD_CHECK(small == small_segments_ && other == other_segments_) << small << " " << other;
  PREFIXD_CHECK((deleted_ == nullptr) == (unknown == 0));
  for (const Batch* batch : {&open_, &sealing_}) {
    uint64_t bytes = 0;
    for (const auto& [key, i] : batch->by_key) bytes += batch->records[i].record->size();
    PREFIXD_CHECK(bytes == batch->bytes) << bytes << " " << batch->bytes;
  }
}

}  // namespace prefixd
