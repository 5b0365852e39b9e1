// DiskStore: which records are kept, and what segments say of it.
#include <algorithm>

#include "storage/disk_store.h"

namespace prefixd {

bool DiskStore::Keep(const BlockKey& key, const RecordRetention& retention) {
  StateLock lock(this, /*goes_first=*/true);
  const Bytes pending = PendingLocked(key);
  const RecordLocation* location = pending == nullptr ? FindLocked(key) : nullptr;
  if (pending == nullptr && location == nullptr) return false;
  const uint64_t bytes = pending == nullptr ? location->bytes : pending->size();
  const uint64_t now = NowSeconds();
  kept_.EndExpired(now);
  work_ += KeptRecords::kMostEnded;
  if (!kept_.Keep(key, retention, bytes, now)) return false;
  ever_kept_ = true;
  OpenForKeptLocked();
  return true;
}

bool DiskStore::MayKeep(uint64_t owner, uint64_t bytes) const {
  StateLock lock(this, /*goes_first=*/true);
  ++work_;
  return kept_.HasRoom(owner, bytes);
}

std::optional<RecordRetention> DiskStore::KeptUntil(const BlockKey& key) const {
  if (!ever_kept_) return std::nullopt;
  StateLock lock(this, /*goes_first=*/true);
  ++work_;
  const RecordRetention* kept = kept_.Find(key, NowSeconds());
  return kept == nullptr ? std::nullopt : std::optional(*kept);
}

void DiskStore::OpenForKeptLocked() {
  if (!kept_.is_urgent() || open_.keeps) return;
  if (open_.empty()) open_.opened_nanos = options_.clock->NowNanos();
  open_.keeps = true;
}

uint64_t DiskStore::Unwritten() const {
  StateLock lock(this);
  return std::min<uint64_t>(kept_.unwritten(), most_records_);
}

std::vector<KeptEntry> DiskStore::TakeUnwritten(uint64_t most) {
  std::vector<KeptEntry> taken;
  for (uint64_t begin = 0; begin < most; begin += kSlice) {
    StateLock lock(this);
    const std::vector<KeptEntry> slice =
        kept_.TakeUnwritten(std::min<uint64_t>(kSlice, most - begin), NowSeconds());
    work_ += kSlice;
    taken.insert(taken.end(), slice.begin(), slice.end());
  }
  StateLock lock(this);
  OpenForKeptLocked();  // there may be more
  return taken;
}

void DiskStore::MarkUnwritten(const std::vector<BlockKey>& keys) {
  for (size_t begin = 0; begin < keys.size(); begin += kSlice) {
    StateLock lock(this);
    for (size_t i = begin; i < std::min(begin + kSlice, keys.size()); ++i, ++work_)
      kept_.MarkUnwritten(keys[i]);
    OpenForKeptLocked();
  }
}

void DiskStore::LearnKept(uint32_t number, const std::vector<KeptEntry>& kept) {
  if (!kept.empty()) ever_kept_ = true;
  for (size_t begin = 0; begin < kept.size(); begin += kSlice) {
    StateLock lock(this);
    for (size_t i = begin; i < std::min(begin + kSlice, kept.size()); ++i, ++work_) {
      const RecordLocation* deleted = deleted_->Find(kept[i].key);
      const bool gone = deleted != nullptr && deleted->segment > number && FindLocked(kept[i].key) == nullptr;
      if (!gone) kept_.Learn(kept[i], NowSeconds());
    }
  }
}

void DiskStore::ForgetAbsent() {
  std::optional<KeptRecords::Place> last;
  while (true) {
    StateLock lock(this);
    const std::vector<KeptRecords::Place> places = kept_.Next(last, kSlice);
    if (places.empty()) return;
    last = places.back();
    for (const auto& [until, key] : places)
      if (PendingLocked(key) == nullptr && FindLocked(key) == nullptr) kept_.Forget(key);
  }
}

void DiskStore::EndExpired() {
  for (size_t before = 1, after = 0; before > after;) {
    StateLock lock(this);
    before = kept_.size();
    kept_.EndExpired(NowSeconds());
    after = kept_.size();
    work_ += KeptRecords::kMostEnded;
  }
}

}  // namespace prefixd
