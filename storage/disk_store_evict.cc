// DiskStore: how room is made. Whole segments are dropped; what is worth more than the average record is
// copied forward before, up to half of what is dropped, so that every round frees room.
#include <algorithm>
#include <tuple>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "storage/disk_store.h"
#include "storage/record_value.h"

namespace prefixd {
namespace {

// The logarithm of how many times the mean a record counts at most when segments are compared. What is worth
// more is copied forward, so it is no reason to keep the cold records beside it.
constexpr double kMostWorth = 1;
// The logarithm of how many of those one counts that is kept, so that segments with many of them stay.
constexpr double kKeptWorth = 4;
// The same of one that is held for its owner. At most 5/8 of all bytes are held, so the mean of the segments
// is at most 5/8 * (2^6 + 2^4) + 3/8 * 2^4 = 56: the segment that goes first has other records, too.
constexpr double kHeldWorth = 6;

}  // namespace

bool DiskStore::Fits(uint64_t bytes, uint64_t headroom) const {
  return ledger_.used() + bytes + reserve_ + headroom <= options_.capacity;
}

bool DiskStore::FitsWhileDropping(uint64_t bytes) const {
  if (Fits(bytes, 0)) return true;
  const bool may_grow = ledger_.used() + bytes + reserve_ <= ledger_.limit();
  return may_grow && folder_->HasRoomFor(bytes).ok();
}

bool DiskStore::Expired(uint64_t created) const {
  // In this form no number overflows, whatever the medium says.
  const int64_t limit = options_.clock->UnixSeconds() - options_.max_age_seconds;
  return options_.max_age_seconds > 0 && limit >= 0 && created <= static_cast<uint64_t>(limit);
}

Status DiskStore::MakeRoom(uint64_t bytes) {
  // Survivors are written before their segment is dropped: that is what the headroom is for.
  uint64_t most_records = 1, most_kept = 0;
  for (const auto& [number, segment] : CopySegments()) most_records = std::max(most_records, segment.count);
  {
    StateLock lock(this);
    most_records = std::max<uint64_t>(most_records, sealing_.records.size());
    most_kept = std::min<uint64_t>(most_records_, kept_.size());
  }
  const uint64_t headroom =
      db_->Bound(most_records, segment_bytes_, DirectoryBytes(most_records, 0, most_kept));
  const auto crowded = [&] {
    StateLock lock(this);
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

DiskStore::Segments DiskStore::CopySegments() {
  Segments copy;
  for (bool more = true; more;) {
    StateLock lock(this);
    auto segment = copy.empty() ? segments_.begin() : segments_.upper_bound(copy.rbegin()->first);
    for (size_t i = 0; i < kSlice && segment != segments_.end(); ++i, ++segment, ++work_)
      copy.emplace_hint(copy.end(), *segment);
    more = segment != segments_.end();
  }
  return copy;
}

Status DiskStore::LearnAll() {
  {
    StateLock lock(this);
    if (unknown_segments_ == 0) return Status::Ok();
  }
  std::vector<uint32_t> unknown;
  for (const auto& [number, segment] : CopySegments())
    if (!segment.known) unknown.push_back(number);
  for (const uint32_t number : unknown) {
    std::string bytes;
    const auto directory = Learn(number, &bytes);
    StateLock lock(this);
    if (!directory.ok() && !segments_[number].known) return directory.status();
  }
  return Status::Ok();
}

std::unordered_map<uint32_t, DiskStore::Choice> DiskStore::Choices(const std::vector<uint64_t>& spare) {
  std::unordered_map<uint32_t, Choice> choices;
  for (const auto& [number, segment] : CopySegments())
    choices[number] = {.foreign = segment.foreign, .bytes = std::max<uint64_t>(segment.bytes, 1)};
  const double most = [&] {
    StateLock lock(this);
    return MeanLogWorthLocked() + kMostWorth;
  }();
  const uint64_t now = NowSeconds();
  // A part of the index at a time: readers go on. What moves meanwhile may count twice or not at all.
  struct Record {
    RecordLocation location;
    BlockKey key;
    bool kept = false;
  };
  std::vector<Record> records;
  for (size_t shard = 0; shard < RecordIndex::kShards; ++shard) {
    records.clear();
    {
      StateLock lock(this);
      index_.ForEachInShard(shard, [&](const BlockKey& key, const RecordLocation& location) {
        records.push_back({location, key});
      });
      for (Record& record : records) record.kept = kept_.Find(record.key, now) != nullptr;
      work_ += records.size();
    }
    for (const auto& [location, key, kept] : records) {
      const double log_worth =
          kept ? kKeptWorth : std::min(0.0, LogWorth(location.heat, location.cost_class) - most);
      Choice& choice = choices[location.segment];
      choice.worth += static_cast<double>(location.bytes) * std::exp2(log_worth);
      const bool is_held = location.owner < spare.size() && spare[location.owner] != RecordOwners::kAll;
      if (is_held) choice.owned[location.owner] += location.bytes;
    }
  }
  for (auto& [number, choice] : choices)
    choice.worth += static_cast<double>(HeldOf(choice.owned, spare)) * std::exp2(kHeldWorth);
  return choices;
}

std::vector<uint32_t> DiskStore::Victims(uint64_t bytes) {
  const std::vector<uint64_t> spare = SpareBytes();
  const std::unordered_map<uint32_t, Choice> choices = Choices(spare);
  std::vector<std::pair<uint32_t, Choice>> order(choices.begin(), choices.end());
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    if (a.second.foreign != b.second.foreign) return a.second.foreign;
    const double worth_a = a.second.foreign ? 0 : a.second.worth / static_cast<double>(a.second.bytes);
    const double worth_b = b.second.foreign ? 0 : b.second.worth / static_cast<double>(b.second.bytes);
    return worth_a != worth_b ? worth_a < worth_b : a.first < b.first;
  });
  std::vector<uint32_t> victims;
  uint64_t sum = 0;
  ByOwner owned;
  for (const auto& [number, choice] : order) {
    if (sum >= bytes || (!victims.empty() && choice.foreign != order.front().second.foreign)) break;
    for (const auto& [owner, of_owner] : choice.owned) owned[owner] += of_owner;
    // What is held has to fit one segment, and to leave room.
    if (!victims.empty() && HeldOf(owned, spare) > segment_bytes_ / 2) break;
    victims.push_back(number);
    sum += choice.bytes;
    if (choice.foreign) break;  // its size is not known
  }
  return victims;
}

Status DiskStore::Rewrite(const std::vector<uint32_t>& numbers, uint64_t keep_bytes, bool keep_all) {
  Rewriting rewriting{.dropped = {numbers.begin(), numbers.end()}};
  const Segments segments = CopySegments();
  for (const uint32_t number : numbers) PREFIXD_RETURN_IF_ERROR(Examine(number, segments, &rewriting));
  uint64_t live_bytes = 0;
  for (const Candidate& candidate : rewriting.candidates) live_bytes += candidate.location.bytes;
  if (!keep_all) keep_bytes = std::min(keep_bytes, live_bytes / 2);
  // Kept records may be most of what is dropped, but every round has to free room.
  const uint64_t most_kept = std::min(segment_bytes_, rewriting.bytes / 4 * 3);
  MarkHeld(&rewriting.candidates);
  std::vector<Pending> survivors =
      ReadSurvivors(std::move(rewriting.candidates), keep_bytes, most_kept, keep_all);
  MarkUnwritten(rewriting.retained);
  uint64_t say_kept = Unwritten();
  const auto fit = [&] { return FitsWhileDropping(BoundOf(survivors, rewriting.deleted, say_kept)); };
  while (say_kept > 0 && !fit()) say_kept /= 2;  // a later segment says the rest
  while (!keep_all && !survivors.empty() && !fit()) survivors.pop_back();
  if (!(survivors.empty() && rewriting.deleted.empty() && say_kept == 0) && !fit()) {
    return ResourceExhausted("the records that a segment of the disk cache keeps do not fit " +
                             FormatSize(options_.capacity));
  }
  // Records that were put one after the other are read one after the other.
  std::sort(survivors.begin(), survivors.end(), [](const Pending& a, const Pending& b) {
    return std::pair(a.from.segment, a.from.ordinal + 0) < std::pair(b.from.segment, b.from.ordinal + 0);
  });
  std::unordered_set<BlockKey> kept;
  for (const Pending& record : survivors) kept.insert(record.key);
  const std::vector<BlockKey> deleted = DeletionsToKeep(rewriting, kept);
  // The deletions below take effect at the next start, whatever happens until then. So it is told before.
  for (const uint32_t number : numbers) DropRecords(number, rewriting.records[number], kept);
  if (!survivors.empty() || !deleted.empty() || say_kept > 0) {
    const Status status = WriteSegment(survivors, deleted, say_kept);
    // What was told dropped is still on the disk; the next segment says that it is dead.
    if (!status.ok()) RestoreDeleted(deleted);
    PREFIXD_RETURN_IF_ERROR(status);
    uint64_t bytes = 0;
    for (const Pending& record : survivors) bytes += record.record->size();
    StateLock lock(this);
    stats_.rewritten_bytes += bytes;
  }
  for (const uint32_t number : numbers) DropRecords(number, rewriting.records[number], {});
  for (const uint32_t number : numbers) PREFIXD_RETURN_IF_ERROR(DropSegment(number));
  return Status::Ok();
}

std::vector<BlockKey> DiskStore::DeletionsToKeep(const Rewriting& rewriting,
                                                 const std::unordered_set<BlockKey>& kept) {
  // Keys that are dropped now must not come back from a record that they replaced.
  std::vector<BlockKey> deleted;
  const std::vector<BlockKey>& all = rewriting.deleted;
  for (size_t begin = 0; begin < all.size(); begin += kSlice) {
    StateLock lock(this);
    for (size_t i = begin; i < std::min(begin + kSlice, all.size()); ++i) {
      const RecordLocation* location = FindLocked(all[i]);
      // Without a location it may be pending, and be lost.
      const bool dropped =
          location == nullptr || (rewriting.dropped.contains(location->segment) && !kept.contains(all[i]));
      if (dropped) deleted.push_back(all[i]);
    }
  }
  std::sort(deleted.begin(), deleted.end());
  deleted.erase(std::unique(deleted.begin(), deleted.end()), deleted.end());
  return deleted;
}

Status DiskStore::Examine(uint32_t number, const Segments& segments, Rewriting* rewriting) {
  const Segment& segment = segments.at(number);
  std::string bytes;
  const auto directory = ReadDirectory(number, &bytes);
  // Without its deletions the segment must stay. After some attempts it counts as damaged.
  if (directory.status().code() == Code::kIo) {
    StateLock lock(this);
    if (++segments_[number].failed_reads < kMostFailedReads) return directory.status();
    ++stats_.damaged_segments;
  }
  if (segment.foreign) return Status::Ok();
  if (!directory.ok()) {  // damaged: there is nothing to keep
    rewriting->records[number] = IndexedIn(number);
    return Status::Ok();
  }
  rewriting->bytes += segment.bytes;
  for (const KeptEntry& kept : directory->kept) rewriting->retained.push_back(kept.key);
  // Whether a segment with a smaller number that stays may hold records that are dead.
  const bool dead_below =
      std::any_of(segments.begin(), segments.find(number), [&](const Segments::value_type& other) {
        return !other.second.foreign && !rewriting->dropped.contains(other.first) &&
               (!other.second.known || other.second.live < other.second.count);
      });
  if (dead_below)
    rewriting->deleted.insert(rewriting->deleted.end(), directory->deleted.begin(), directory->deleted.end());
  ExamineEntries(number, *directory, dead_below, rewriting);
  return Status::Ok();
}

void DiskStore::ExamineEntries(uint32_t number, const SegmentDirectory& directory, bool dead_below,
                               Rewriting* rewriting) {
  const std::vector<DirectoryEntry>& entries = directory.entries;
  std::vector<Listed>& listed = rewriting->records[number];
  listed.reserve(entries.size());
  for (size_t begin = 0; begin < entries.size(); begin += kSlice) {
    StateLock lock(this);
    for (size_t i = begin; i < std::min(begin + kSlice, entries.size()); ++i) {
      const DirectoryEntry& entry = entries[i];
      const RecordLocation place{.segment = number, .ordinal = i};
      listed.push_back({entry.key, entry.created});
      const RecordLocation* location = FindLocked(entry.key);
      const bool live = location != nullptr && location->SamePlace(place);
      // One without a location was deleted, or replaced by a record that is pending: that is not durable yet.
      if (dead_below && (live || location == nullptr)) rewriting->deleted.push_back(entry.key);
      if (live && !Expired(entry.created))
        rewriting->candidates.push_back({.location = *location,
                                         .key = entry.key,
                                         .created = entry.created,
                                         .owner = owners_.all()[location->owner].share.owner,
                                         .kept = kept_.Find(entry.key, NowSeconds()) != nullptr});
    }
  }
}

std::vector<DiskStore::Listed> DiskStore::IndexedIn(uint32_t number) {
  std::unordered_set<BlockKey> keys;
  // A record that moves within the index while it is looked through may be missed: look again.
  while (true) {
    for (size_t shard = 0; shard < RecordIndex::kShards; ++shard) {
      StateLock lock(this);
      index_.ForEachInShard(shard, [&](const BlockKey& key, const RecordLocation& location) {
        if (location.segment == number) keys.insert(key);
      });
    }
    StateLock lock(this);
    if (keys.size() >= segments_[number].live) break;
  }
  std::vector<Listed> listed;
  for (const BlockKey& key : keys) listed.push_back({.key = key, .created = kUnknownTime});
  return listed;
}

std::vector<DiskStore::Pending> DiskStore::ReadSurvivors(std::vector<Candidate> candidates,
                                                         uint64_t keep_bytes, uint64_t most_kept,
                                                         bool keep_all) {
  const double mean = [&] {
    StateLock lock(this);
    return MeanLogWorthLocked();
  }();
  std::stable_sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return std::tuple(b.held, b.kept, b.worth()) < std::tuple(a.held, a.kept, a.worth());
  });
  std::vector<Pending> survivors;
  for (const Candidate& candidate : candidates) {
    if (survivors.size() == kMostRecords) break;
    const bool kept = candidate.kept && !keep_all;
    if (!keep_all && !candidate.held && !kept && candidate.worth() <= mean) break;
    const uint64_t most = candidate.held ? segment_bytes_ : kept ? most_kept : keep_bytes;
    if (candidate.location.bytes > most) continue;
    auto record = db_->Read(candidate.location.segment, candidate.location.ordinal);
    if (!record.ok() || record->size() != candidate.location.bytes)
      continue;  // it is dropped with its segment
    most_kept -= std::min<uint64_t>(most_kept, record->size());
    keep_bytes -= std::min<uint64_t>(keep_bytes, record->size());
    survivors.push_back({.key = candidate.key,
                         .record = std::make_shared<const std::string>(std::move(*record)),
                         .cost_class = static_cast<uint8_t>(candidate.location.cost_class),
                         .heat = candidate.location.heat,
                         .created = candidate.created,
                         .owner = candidate.owner,
                         .from = candidate.location});
  }
  return survivors;
}

void DiskStore::DropRecords(uint32_t number, const std::vector<Listed>& records,
                            const std::unordered_set<BlockKey>& kept) {
  for (size_t begin = 0; begin < records.size(); begin += kSlice) {
    StateLock lock(this);
    for (size_t i = begin; i < std::min(begin + kSlice, records.size()); ++i) {
      const auto& [key, created] = records[i];
      const RecordLocation* location = FindLocked(key);
      if (location == nullptr || location->segment != number || kept.contains(key)) continue;
      EraseLocked(key);
      const bool expired = Expired(created);
      if (!expired && kept_.Find(key, NowSeconds()) != nullptr) ++stats_.evicted_kept_records;
      kept_.Forget(key);
      ++(expired ? stats_.expired_records : stats_.evicted_records);
      if (created != kUnknownTime && !expired)
        stats_.ages_at_eviction.Add(AgeOfRecord(created, options_.clock->UnixSeconds()));
      TellDropLocked(key, expired ? DropReason::kExpired : DropReason::kEvicted);
    }
  }
  StateLock lock(this);
  for (ScanState* scan : scans_) scan->ahead.erase(number);
}

Status DiskStore::DropSegment(uint32_t number) {
  // After a failure the segment stays, without records, and is the first to be dropped again.
  const Status dropped = db_->Drop(number);
  if (!dropped.ok()) broken_ = true;
  PREFIXD_RETURN_IF_ERROR(dropped);
  StateLock lock(this);
  const Segment& segment = segments_[number];
  if (IsSmall(segment)) --small_segments_;
  if (segment.foreign) --other_segments_;
  segments_.erase(number);
  return Status::Ok();
}

Status DiskStore::DropExpired() {
  std::vector<uint32_t> expired;
  for (const auto& [number, segment] : CopySegments())
    if (segment.known && !segment.foreign && segment.count > 0 && Expired(segment.oldest))
      expired.push_back(number);
  for (const uint32_t number : expired) PREFIXD_RETURN_IF_ERROR(Rewrite({number}, segment_bytes_, true));
  return Status::Ok();
}

}  // namespace prefixd
