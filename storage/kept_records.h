// KeptRecords: the records of a store that are kept until a time, within a budget of bytes. Owners share the
// budget: one may use all of it while no other asks, and then gives up what is beyond an equal share, what
// would be kept the shortest first. It also knows what of this no segment of the store says yet. Not
// thread-safe: DiskStore guards it.
//
// Costs: O(log size) for each call. A record takes about 300 bytes.
//
// Invariants
//   1. bytes() <= budget.
//   2. A record is kept until its time, unless it is forgotten or gives way. Its time never falls.
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
#include "storage/block_store.h"
#include "storage/segment_directory.h"

namespace prefixd {

class KeptRecords {
 public:
  explicit KeptRecords(uint64_t budget) : budget_(budget) {}

  // Keeps a record, or keeps it longer. Returns false when the budget is used.
  bool Keep(const BlockKey& key, const RecordRetention& retention, uint64_t bytes, uint64_t now);
  // What a segment says. The same, but it is no news.
  void Learn(const KeptEntry& entry, uint64_t now);
  // No effect when it is not kept.
  void Forget(const BlockKey& key);
  // Null when it is not kept at `now`. Valid until the next change.
  const RecordRetention* Find(const BlockKey& key, uint64_t now) const;

  // The segment that said so is dropped: another one has to say it.
  void MarkUnwritten(const BlockKey& key);
  // Up to `most` of what no segment says; they count as written then.
  std::vector<KeptEntry> TakeUnwritten(size_t most, uint64_t now);
  size_t unwritten() const { return unwritten_.size(); }
  // Whether something of that is worth a segment of its own: it is new, or has grown by a quarter of its
  // time.
  bool is_urgent() const { return is_urgent_; }

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
  using Entries = std::unordered_map<BlockKey, Entry>;
  using Order = std::set<std::pair<uint64_t, BlockKey>>;  // by time
  struct Owned {
    uint64_t bytes = 0;
    Order order;
  };

  uint64_t OwnedBy(uint64_t owner) const;
  void Add(const BlockKey& key, const Entry& entry);  // to the orders and sums
  void Remove(const BlockKey& key, const Entry& entry);
  void EndExpired(uint64_t now);
  bool MakeRoom(uint64_t owner, uint64_t bytes);

  const uint64_t budget_;
  uint64_t bytes_ = 0;
  Entries entries_;
  Order order_;
  std::map<uint64_t, Owned> owned_;                // by owner; none is empty
  std::set<std::pair<uint64_t, uint64_t>> sizes_;  // bytes, owner
  std::unordered_set<BlockKey> unwritten_;
  bool is_urgent_ = false;
};

}  // namespace prefixd
