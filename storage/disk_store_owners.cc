// DiskStore: what owners have, and what is held for them.
#include <algorithm>
#include <tuple>
#include <unordered_map>

#include "storage/disk_store.h"

namespace prefixd {
namespace {

// An owner that passes its limit drops so much more, so that it need not be looked for again at once.
constexpr uint64_t kSlackShare = 16;

}  // namespace

void DiskStore::SetShares(const std::vector<OwnerShare>& shares) {
  StateLock lock(this);
  owners_.SetShares(shares);
}

uint64_t DiskStore::BytesOf(uint64_t owner) const {
  StateLock lock(this);
  ++work_;
  return owners_.BytesOf(owner);
}

std::unordered_map<uint64_t, uint64_t> DiskStore::OwnedBytes() const {
  std::unordered_map<uint64_t, uint64_t> bytes;
  for (const RecordOwners::Owner& owner : CopyOwners())
    if (owner.has_share) bytes.emplace(owner.share.owner, owner.bytes);
  return bytes;
}

std::vector<RecordOwners::Owner> DiskStore::CopyOwners() const {
  std::vector<RecordOwners::Owner> copy;
  for (bool more = true; more;) {
    StateLock lock(this);
    const std::vector<RecordOwners::Owner>& all = owners_.all();
    for (size_t i = 0; i < kSlice && copy.size() < all.size(); ++i, ++work_) copy.push_back(all[copy.size()]);
    more = copy.size() < all.size();
  }
  return copy;
}

std::vector<uint64_t> DiskStore::SpareBytes() {
  uint64_t bytes = 0;
  for (const auto& [number, segment] : CopySegments()) bytes += segment.bytes;
  const double tick = [&] {
    StateLock lock(this);
    return TickLocked();
  }();
  // There is always something that can be dropped, see kHeldWorth.
  const uint64_t most_held = std::min(MostHeld(options_.capacity), bytes / 8 * 5);
  return RecordOwners::Spare(CopyOwners(), tick, most_held);
}

uint64_t DiskStore::HeldOf(const ByOwner& owned, const std::vector<uint64_t>& spare) {
  uint64_t held = 0;
  for (const auto& [owner, bytes] : owned) held += bytes - std::min(bytes, spare[owner]);
  return held;
}

void DiskStore::MarkHeld(std::vector<Candidate>* candidates) {
  std::vector<uint64_t> spare = SpareBytes();
  std::stable_sort(candidates->begin(), candidates->end(), [](const Candidate& a, const Candidate& b) {
    return std::tuple(a.kept, a.worth()) < std::tuple(b.kept, b.worth());
  });
  for (Candidate& candidate : *candidates) {
    const RecordLocation& location = candidate.location;
    if (location.owner >= spare.size() || spare[location.owner] == RecordOwners::kAll) continue;
    uint64_t& left = spare[location.owner];
    candidate.held = left < location.bytes;
    left = candidate.held ? 0 : left - location.bytes;
  }
}

void DiskStore::DropSurplus() {
  std::unordered_map<uint32_t, uint64_t> surplus;  // bytes to drop, by number
  {
    StateLock lock(this);
    if (unknown_segments_ > 0) return;  // which are the least worth is not known yet
    for (const uint32_t number : owners_.above_most()) {
      const RecordOwners::Owner& owner = owners_.all()[number];
      surplus[number] = owner.bytes - owner.share.most + owner.share.most / kSlackShare;
    }
  }
  if (surplus.empty()) return;
  std::vector<Candidate> candidates;
  const uint64_t now = NowSeconds();
  for (size_t shard = 0; shard < RecordIndex::kShards; ++shard) {
    const size_t begin = candidates.size();
    StateLock lock(this);
    index_.ForEachInShard(shard, [&](const BlockKey& key, const RecordLocation& location) {
      if (surplus.contains(location.owner)) candidates.push_back({.location = location, .key = key});
    });
    for (size_t i = begin; i < candidates.size(); ++i)
      candidates[i].kept = kept_.Find(candidates[i].key, now) != nullptr;
    work_ += candidates.size() - begin;
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return std::tuple(a.kept, a.worth(), a.key) < std::tuple(b.kept, b.worth(), b.key);
  });
  for (size_t begin = 0; begin < candidates.size(); begin += kSlice) {
    StateLock lock(this);
    for (size_t i = begin; i < std::min(begin + kSlice, candidates.size()); ++i) {
      uint64_t& left = surplus[candidates[i].location.owner];
      if (left == 0) continue;
      left -= std::min<uint64_t>(left, candidates[i].location.bytes);
      DropOwned(candidates[i]);
    }
  }
}

void DiskStore::DropOwned(const Candidate& candidate) {
  const RecordLocation* now = FindLocked(candidate.key);
  if (now == nullptr || !now->SamePlace(candidate.location)) return;
  EraseLocked(candidate.key);
  kept_.Forget(candidate.key);
  if (candidate.kept) ++stats_.evicted_kept_records;
  ++stats_.evicted_records;
  KillOlderLocked(candidate.key);
  TellDropLocked(candidate.key, DropReason::kEvicted);
}

}  // namespace prefixd
