// DiskStore: how room is made. Whole segments are dropped; what is worth more than the average record is
// copied forward before, up to half of what is dropped, so that every round frees room.
#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "storage/disk_store.h"
#include "storage/record_value.h"

namespace prefixd {
namespace {

// Segments of less than 1/16 of the usual size are joined when there are 32 of them.
constexpr uint64_t kSmallShare = 16;
constexpr size_t kSmallSegments = 32;
// The logarithm of how many times the mean a record counts at most when segments are compared. What is worth
// more is copied forward, so it is no reason to keep the cold records beside it.
constexpr double kMostWorth = 1;

}  // namespace

bool DiskStore::Fits(uint64_t bytes, uint64_t headroom) const {
  return ledger_.used() + bytes + reserve_ + headroom <= options_.capacity;
}

bool DiskStore::Expired(uint64_t created) const {
  return options_.max_age_seconds > 0 &&
         static_cast<int64_t>(created) + options_.max_age_seconds <= options_.clock->UnixSeconds();
}

Status DiskStore::MakeRoom(uint64_t bytes) {
  // Survivors are written before their segment is dropped: that is what the headroom is for.
  const uint64_t most_records = [&] {
    MutexLock lock(state_);
    uint64_t most = sealing_.records.size();
    for (const auto& [number, segment] : segments_) most = std::max(most, segment.count);
    return std::max<uint64_t>(most, 1);
  }();
  const uint64_t headroom = db_->Bound(most_records, segment_bytes_, DirectoryBytes(most_records, 0));
  const auto crowded = [&] {
    MutexLock lock(state_);
    return segments_.size() + 2 >= max_segments_;
  };
  if (!Fits(bytes, headroom) || crowded()) PREFIXD_RETURN_IF_ERROR(LearnAll());
  while (!Fits(bytes, headroom)) {
    PREFIXD_ASSIGN_OR_RETURN(const bool removed, folder_->RemoveOldest());
    if (removed) continue;
    const std::vector<uint32_t> victims = Victims(std::max(bytes, segment_bytes_ / 2));
    if (victims.empty()) {
      return ResourceExhausted(FormatSize(ledger_.used()) + " are used beside its records, of " +
                               FormatSize(options_.capacity) + "; a further " + FormatSize(bytes + headroom) +
                               " are needed");
    }
    PREFIXD_RETURN_IF_ERROR(Rewrite(victims, segment_bytes_, false));
  }
  if (crowded()) {
    std::vector<uint32_t> small = SmallSegments();
    if (small.size() < 2) small = Victims(segment_bytes_);
    return Rewrite(small, segment_bytes_, true);
  }
  return Status::Ok();
}

Status DiskStore::LearnAll() {
  std::vector<uint32_t> unknown;
  {
    MutexLock lock(state_);
    for (const auto& [number, segment] : segments_)
      if (!segment.known) unknown.push_back(number);
  }
  for (const uint32_t number : unknown) {
    std::string bytes;
    const auto directory = Learn(number, &bytes);
    MutexLock lock(state_);
    if (!directory.ok() && !segments_[number].known) return directory.status();
  }
  return Status::Ok();
}

std::vector<uint32_t> DiskStore::Victims(uint64_t bytes) const {
  struct Choice {
    bool foreign = false;
    double worth = 0;  // of its records
    uint64_t bytes = 0;
  };
  std::unordered_map<uint32_t, Choice> choices;
  double most = 0;
  {
    MutexLock lock(state_);
    for (const auto& [number, segment] : segments_)
      choices[number] = {.foreign = segment.foreign, .bytes = std::max<uint64_t>(segment.bytes, 1)};
    most = MeanLogWorthLocked() + kMostWorth;
  }
  for (size_t shard = 0; shard < RecordIndex::kShards; ++shard) {
    MutexLock lock(state_);  // for a part of the index at a time: readers go on
    index_.ForEachInShard(shard, [&](const BlockKey&, const RecordLocation& location) {
      const double log_worth = std::min(0.0, LogWorth(location.heat, location.cost_class) - most);
      choices[location.segment].worth += location.bytes * std::exp2(log_worth);
    });
  }
  std::vector<std::pair<uint32_t, Choice>> order(choices.begin(), choices.end());
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    if (a.second.foreign != b.second.foreign) return a.second.foreign;
    const double worth_a = a.second.foreign ? 0 : a.second.worth / static_cast<double>(a.second.bytes);
    const double worth_b = b.second.foreign ? 0 : b.second.worth / static_cast<double>(b.second.bytes);
    return worth_a != worth_b ? worth_a < worth_b : a.first < b.first;
  });
  std::vector<uint32_t> victims;
  uint64_t sum = 0;
  for (const auto& [number, choice] : order) {
    if (sum >= bytes || (!victims.empty() && choice.foreign != order.front().second.foreign)) break;
    victims.push_back(number);
    sum += choice.bytes;
    if (choice.foreign) break;  // its size is not known
  }
  return victims;
}

std::vector<uint32_t> DiskStore::SmallSegments() const {
  std::vector<std::pair<uint64_t, uint32_t>> small;
  MutexLock lock(state_);
  for (const auto& [number, segment] : segments_) {
    if (segment.known && !segment.foreign && segment.bytes < segment_bytes_ / kSmallShare)
      small.emplace_back(segment.bytes, number);
  }
  std::sort(small.begin(), small.end());
  std::vector<uint32_t> numbers;
  uint64_t sum = 0;
  for (const auto& [bytes, number] : small) {
    sum += bytes;
    if (sum > segment_bytes_ / 2) break;
    numbers.push_back(number);
  }
  return numbers;
}

Status DiskStore::Rewrite(const std::vector<uint32_t>& numbers, uint64_t keep_bytes, bool keep_all) {
  const std::set<uint32_t> dropped(numbers.begin(), numbers.end());
  Rewriting rewriting;
  for (const uint32_t number : numbers) PREFIXD_RETURN_IF_ERROR(Examine(number, dropped, &rewriting));
  uint64_t live_bytes = 0;
  for (const Candidate& candidate : rewriting.candidates) live_bytes += candidate.location.bytes;
  if (!keep_all) keep_bytes = std::min(keep_bytes, live_bytes / 2);
  std::vector<Pending> survivors = ReadSurvivors(std::move(rewriting.candidates), keep_bytes, keep_all);
  const auto fit = [&] { return Fits(BoundOf(survivors, rewriting.deleted), 0); };
  while (!keep_all && !survivors.empty() && !fit()) survivors.pop_back();
  if (!(survivors.empty() && rewriting.deleted.empty()) && !fit()) {
    return ResourceExhausted("the records that a segment of the disk cache keeps do not fit " +
                             FormatSize(options_.capacity));
  }
  std::unordered_set<BlockKey> kept;
  for (const Pending& record : survivors) kept.insert(record.key);
  {
    // Keys that are dropped now must not come back from a record that they replaced.
    MutexLock lock(state_);
    std::erase_if(rewriting.deleted, [&](const BlockKey& key) REQUIRES(state_) {
      const RecordLocation* location = index_.Find(key);
      if (location == nullptr) return false;  // also when a record is pending, which may be lost
      return !dropped.contains(location->segment) || kept.contains(key);
    });
    std::sort(rewriting.deleted.begin(), rewriting.deleted.end());
    rewriting.deleted.erase(std::unique(rewriting.deleted.begin(), rewriting.deleted.end()),
                            rewriting.deleted.end());
  }
  // The deletions below take effect at the next start, whatever happens until then. So it is told before.
  for (const uint32_t number : numbers) DropRecords(number, kept);
  if (!survivors.empty() || !rewriting.deleted.empty()) {
    const Status status = WriteSegment(survivors, rewriting.deleted);
    MutexLock lock(state_);
    // What was told dropped is still on the disk; the next segment says that it is dead.
    if (!status.ok()) RestoreDeletedLocked(rewriting.deleted);
    PREFIXD_RETURN_IF_ERROR(status);
    for (const Pending& record : survivors) stats_.rewritten_bytes += record.record->size();
  }
  for (const uint32_t number : numbers) DropRecords(number, {});
  for (const uint32_t number : numbers) PREFIXD_RETURN_IF_ERROR(DropSegment(number));
  return Status::Ok();
}

bool DiskStore::DeadBelowLocked(uint32_t number, const std::set<uint32_t>& dropped) const {
  for (const auto& [other, segment] : segments_) {
    if (other >= number) break;
    if (!segment.foreign && !dropped.contains(other) && (!segment.known || segment.live < segment.count))
      return true;
  }
  return false;
}

Status DiskStore::Examine(uint32_t number, const std::set<uint32_t>& dropped, Rewriting* rewriting) {
  std::string bytes;
  const auto directory = ReadDirectory(number, &bytes);
  MutexLock lock(state_);
  // Without its deletions the segment must stay. After some attempts it counts as damaged.
  if (directory.status().code() == Code::kIo) {
    if (++segments_[number].failed_reads < kMostFailedReads) return directory.status();
    ++stats_.damaged_segments;
  }
  if (!directory.ok()) return Status::Ok();  // of another format, or damaged: there is nothing to keep
  if (segments_[number].foreign) return Status::Ok();
  const bool dead_below = DeadBelowLocked(number, dropped);
  if (dead_below)
    rewriting->deleted.insert(rewriting->deleted.end(), directory->deleted.begin(), directory->deleted.end());
  for (uint32_t ordinal = 0; ordinal < directory->entries.size(); ++ordinal) {
    const DirectoryEntry& entry = directory->entries[ordinal];
    const RecordLocation* location = index_.Find(entry.key);
    // It was deleted, or replaced by a record that is pending: that is not durable yet.
    if (location == nullptr && dead_below) rewriting->deleted.push_back(entry.key);
    if (location == nullptr || !location->SamePlace({.segment = number, .ordinal = ordinal})) continue;
    if (dead_below) rewriting->deleted.push_back(entry.key);
    if (!Expired(entry.created)) rewriting->candidates.push_back({*location, entry.key, entry.created});
  }
  return Status::Ok();
}

std::vector<DiskStore::Pending> DiskStore::ReadSurvivors(std::vector<Candidate> candidates,
                                                         uint64_t keep_bytes, bool keep_all) {
  const double mean = [&] {
    MutexLock lock(state_);
    return MeanLogWorthLocked();
  }();
  const auto worth_of = [](const Candidate& c) { return LogWorth(c.location.heat, c.location.cost_class); };
  std::stable_sort(candidates.begin(), candidates.end(),
                   [&](const Candidate& a, const Candidate& b) { return worth_of(a) > worth_of(b); });
  std::vector<Pending> survivors;
  for (const Candidate& candidate : candidates) {
    if (!keep_all && worth_of(candidate) <= mean) break;
    if (candidate.location.bytes > keep_bytes) continue;
    auto record = db_->Read(candidate.location.segment, candidate.location.ordinal);
    if (!record.ok() || record->size() != candidate.location.bytes)
      continue;  // it is dropped with its segment
    keep_bytes -= record->size();
    survivors.push_back({.key = candidate.key,
                         .record = std::make_shared<const std::string>(std::move(*record)),
                         .cost_class = static_cast<uint8_t>(candidate.location.cost_class),
                         .heat = candidate.location.heat,
                         .created = candidate.created,
                         .from = candidate.location});
  }
  // Records that were put one after the other are read one after the other.
  std::sort(survivors.begin(), survivors.end(), [](const Pending& a, const Pending& b) {
    return std::pair(a.from.segment, uint32_t{a.from.ordinal}) <
           std::pair(b.from.segment, uint32_t{b.from.ordinal});
  });
  return survivors;
}

void DiskStore::DropRecords(uint32_t number, const std::unordered_set<BlockKey>& kept) {
  std::string bytes;
  const auto directory = ReadDirectory(number, &bytes);
  MutexLock lock(state_);
  const auto drop = [&](const BlockKey& key, bool expired) REQUIRES(state_) {
    EraseLocked(key);
    ++(expired ? stats_.expired_records : stats_.evicted_records);
    TellDropLocked(key, expired ? DropReason::kExpired : DropReason::kEvicted);
  };
  if (directory.ok()) {
    for (const DirectoryEntry& entry : directory->entries) {
      const RecordLocation* location = index_.Find(entry.key);
      if (location != nullptr && location->segment == number && !kept.contains(entry.key))
        drop(entry.key, Expired(entry.created));
    }
  }
  if (!directory.ok() && segments_[number].live > 0) {
    // The directory was readable once and is no more. The index knows the records.
    std::vector<BlockKey> rest;
    index_.ForEach([&](const BlockKey& key, const RecordLocation& location) {
      if (location.segment == number && !kept.contains(key)) rest.push_back(key);
    });
    for (const BlockKey& key : rest) drop(key, false);
  }
  for (ScanState* scan : scans_) scan->ahead.erase(number);
}

Status DiskStore::DropSegment(uint32_t number) {
  // After a failure the segment stays, without records, and is the first to be dropped again.
  const Status dropped = db_->Drop(number);
  if (!dropped.ok()) broken_ = true;
  PREFIXD_RETURN_IF_ERROR(dropped);
  MutexLock lock(state_);
  MakeKnownLocked(&segments_[number]);
  segments_.erase(number);
  return Status::Ok();
}

Status DiskStore::DropExpired() {
  std::vector<uint32_t> expired;
  {
    MutexLock lock(state_);
    for (const auto& [number, segment] : segments_)
      if (segment.known && !segment.foreign && segment.count > 0 && Expired(segment.oldest))
        expired.push_back(number);
  }
  for (const uint32_t number : expired) PREFIXD_RETURN_IF_ERROR(Rewrite({number}, segment_bytes_, true));
  return Status::Ok();
}

Status DiskStore::Maintain() {
  MutexLock writer(writer_);
  const bool old = [&] {
    MutexLock lock(state_);
    return !open_.empty() && options_.clock->NowNanos() - open_.opened_nanos >= kSegmentAgeNanos;
  }();
  if (old) PREFIXD_RETURN_IF_ERROR(Seal());
  if (!scanned()) return Status::Ok();
  if (options_.max_age_seconds > 0) PREFIXD_RETURN_IF_ERROR(DropExpired());
  const std::vector<uint32_t> small = SmallSegments();
  if (small.size() >= kSmallSegments) return Rewrite(small, segment_bytes_, true);
  return Status::Ok();
}

}  // namespace prefixd
