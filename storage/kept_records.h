// KeptRecords: the records of a store that are kept until a time, within a budget of bytes. Owners share the
// budget: one may use all of it while no other asks, and then gives up what is beyond an equal share, what
// would be kept the shortest first. It also knows what of this no segment of the store says yet. Times are
// passed in, in unix seconds. Not thread-safe: DiskStore guards it.
//
// Costs: O(log size) for each record that a call names or ends. A record takes about 350 bytes.
//
// Invariants
//   1. bytes() <= budget().
//   2. A record is kept until its time, unless it is forgotten or gives way. Its time never falls, and is at
//      most `seconds` after the last call that named it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "hashing/block_key.h"
#include "storage/segment_directory.h"

namespace prefixd {

class KeptRecords {
 public:
  static constexpr size_t kMostEnded = 16;  // by one call, so that none takes long

  explicit KeptRecords(uint64_t budget) : budget_(budget) {}

  // Keeps a record, or keeps it longer. Returns false when it is not kept yet and there is no room for it.
  // What has expired takes room until EndExpired.
  bool Keep(const BlockKey& key, const RecordRetention& retention, uint64_t bytes, uint64_t now);
  // Whether Keep has room for another record of the owner.
  bool HasRoom(uint64_t owner, uint64_t bytes) const;
  // What a segment says. The same as Keep, but no segment needs to say it again.
  void Learn(const KeptEntry& entry, uint64_t now);
  // No effect when it is not kept.
  void Forget(const BlockKey& key);
  // Ends what has expired; at most kMostEnded records.
  void EndExpired(uint64_t now);
  // Null when it is not kept at `now`. Valid until the next change.
  const RecordRetention* Find(const BlockKey& key, uint64_t now) const;

  // A segment that says so is dropped: another one has to say it.
  void MarkUnwritten(const BlockKey& key);
  // Up to `most` of what no segment says; they count as written then.
  std::vector<KeptEntry> TakeUnwritten(size_t most, uint64_t now);
  size_t unwritten() const { return unwritten_.size(); }
  // Whether something of that is worth a segment of its own: it is new, or has grown by a quarter of its
  // time.
  bool is_urgent() const { return is_urgent_; }

  // Up to `most` keys that are kept, in an order of their own: those after `after`, or the first ones.
  using Place = std::pair<uint64_t, BlockKey>;
  std::vector<Place> Next(const std::optional<Place>& after, size_t most) const;

  struct Counters {
    uint64_t refused = 0;    // beyond the budget
    uint64_t expired = 0;    // the time had come
    uint64_t displaced = 0;  // by another owner
  };
  const Counters& counters() const { return counters_; }
  size_t size() const { return entries_.size(); }
  uint64_t bytes() const { return bytes_; }
  uint64_t budget() const { return budget_; }
  void CheckInvariants() const;

 private:
  struct Entry {
    RecordRetention retention;
    uint32_t bytes = 0;
    uint64_t written_until = 0;  // 0: no segment says it
  };
  using Order = std::set<Place>;  // by time
  struct Owned {
    uint64_t bytes = 0;
    Order order;
  };

  uint64_t OwnedBy(uint64_t owner) const;
  void Add(const BlockKey& key, const Entry& entry);  // to the orders and sums
  void Remove(const BlockKey& key, const Entry& entry);
  // The record to give up for one of `bytes` bytes of `owner`: of the owner that keeps the most, if that is
  // still as much as `owner` keeps afterwards.
  std::optional<BlockKey> Surplus(uint64_t owner, uint64_t bytes) const;
  bool MakeRoom(uint64_t owner, uint64_t bytes);
  void Lengthen(const BlockKey& key, Entry* entry, const RecordRetention& retention);

  const uint64_t budget_;
  uint64_t bytes_ = 0;
  std::unordered_map<BlockKey, Entry> entries_;
  Order order_;
  std::map<uint64_t, Owned> owned_;                // by owner; none is empty
  std::set<std::pair<uint64_t, uint64_t>> sizes_;  // bytes, owner
  std::unordered_set<BlockKey> unwritten_;
  bool is_urgent_ = false;
  Counters counters_;
};

}  // namespace prefixd
