// RecordIndex: where the record of each key lies on the disk. A hash table with open addressing and linear
// probing; a key is itself a hash. Not thread-safe: DiskStore guards it.
//
// A slot has 32 bytes, and at least 7/16 of the slots are taken once the table has grown, so a record costs
// 36.6 to 73.1 bytes, beside 128 KiB in all. The table is divided into shards that grow one by one, so that
// no call takes long: with ten million records, an Insert that grows a shard moves about 2,000 of them. A
// shard is not grown in steps, so with a hundred million it moves about 20,000.
//
// Invariants
//   1. At most 7/8 of the slots of a shard are taken, so a search ends.
//   2. A key is in at most one slot, and no free slot lies between its home and its slot.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "hashing/block_key.h"

namespace prefixd {

struct RecordLocation {
  static constexpr uint32_t kOrdinals = 1 << 14;
  static constexpr uint32_t kOwners = 1 << 15;
  static constexpr uint32_t kMostBytes = (1 << 27) - 1;

  uint32_t segment = 0;  // never 0 for a record that is there
  float heat = 0;        // see record_value.h
  uint64_t ordinal : 14 = 0;
  uint64_t cost_class : 8 = 0;  // see record_value.h
  uint64_t bytes : 27 = 0;
  uint64_t owner : 15 = 0;  // see record_owners.h

  bool SamePlace(const RecordLocation& other) const {
    return segment == other.segment && ordinal == other.ordinal;
  }
};

class RecordIndex {
 public:
  static constexpr size_t kShards = 4096;

  // Null when the key is not there. The pointer is valid until the next Insert or Erase.
  RecordLocation* Find(const BlockKey& key);
  const RecordLocation* Find(const BlockKey& key) const;
  // Replaces the location of the key. Requires location.segment != 0.
  void Insert(const BlockKey& key, const RecordLocation& location);
  void Erase(const BlockKey& key);

  size_t size() const { return size_; }
  // The bytes of the table.
  size_t memory_bytes() const { return sizeof *this + slots_ * sizeof(Slot); }
  // The most slots that an Insert has looked through to grow a shard.
  size_t most_moved() const { return most_moved_; }
  // Calls `visit(key, location)` for every record.
  template <typename F>
  void ForEach(const F& visit) const {
    for (size_t shard = 0; shard < kShards; ++shard) ForEachInShard(shard, visit);
  }
  template <typename F>
  void ForEachInShard(size_t shard, const F& visit) const {
    for (const Slot& slot : shards_[shard].slots)
      if (slot.location.segment != 0) visit(slot.key, slot.location);
  }
  // Aborts when an invariant does not hold. O(records).
  void CheckInvariants() const;

 private:
  struct Slot {
    BlockKey key;
    RecordLocation location;  // segment 0: the slot is free
  };
  static_assert(sizeof(Slot) == 32);
  struct Shard {
    std::vector<Slot> slots;  // their number is a power of two, or 0
    size_t taken = 0;
  };
  static constexpr size_t kFirstSlots = 4;

  // The slot of the key, or the free one where it belongs. Requires slots.
  static size_t Probe(const Shard& shard, const BlockKey& key);
  void Grow(Shard* shard);
  Shard& ShardOf(const BlockKey& key) { return shards_[key.high % kShards]; }
  const Shard& ShardOf(const BlockKey& key) const { return shards_[key.high % kShards]; }

  std::array<Shard, kShards> shards_;
  size_t size_ = 0;
  size_t slots_ = 0;  // of all shards
  size_t most_moved_ = 0;
};

}  // namespace prefixd
