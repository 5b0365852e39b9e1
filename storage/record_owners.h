// RecordOwners: whose the records of a store are, and what each owner may have. An owner is a tenant: the
// high half of the root key of its records (hashing/block_key.h), which their heads say. Owners have small
// numbers, so that the index has room for them. Not thread-safe: DiskStore guards it.
//
// An owner keeps what it is guaranteed, whatever others write. Of what is not guaranteed, owners that used
// the store lately keep a part in proportion to their weights, so that one that writes a lot does not push
// out the others. The two together are at most what the store can hold.
//
// Costs: O(1) for each record, and O(log owners) when an owner passes its limit. Memory: about 150 bytes for
// each owner.
//
// Invariants
//   1. The bytes and records of an owner are those that were added and not removed.
//   2. A number belongs to one owner while it has records or a share. When all are taken, records of further
//      owners count as nobody's, which have no part.
#pragma once

#include <cstdint>
#include <limits>
#include <set>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "storage/record_index.h"

namespace prefixd {

// What an owner may have of a store, in bytes of records.
struct OwnerShare {
  uint64_t owner = 0;
  uint64_t guaranteed = 0;
  uint64_t most = std::numeric_limits<uint64_t>::max();
  double weight = 1;  // > 0

  friend bool operator==(const OwnerShare&, const OwnerShare&) = default;
};

class RecordOwners {
 public:
  static constexpr uint32_t kNobody = 0;
  static constexpr uint64_t kAll = std::numeric_limits<uint64_t>::max();
  static constexpr uint32_t kMostNumber = RecordLocation::kOwners - 1;
  // An owner that used nothing for so many ticks (record_value.h) has no part by its weight.
  static constexpr double kIdleTicks = 4;

  struct Owner {
    OwnerShare share;
    uint64_t bytes = 0;
    uint64_t records = 0;
    double last_use = 0;     // a tick
    bool has_share = false;  // was named by SetShares
  };

  RecordOwners() : owners_(1) {}

  // The owner of the record with this head; 0 when it does not say.
  static uint64_t OwnerOf(std::string_view head);

  // In place of all shares of before. Requires owners that differ.
  void SetShares(const std::vector<OwnerShare>& shares);
  // A record of the owner came. Returns the number of the owner.
  uint32_t Add(uint64_t owner, uint64_t bytes, double tick);
  void Remove(uint32_t number, uint64_t bytes);
  void Use(uint32_t number, double tick);

  // By number.
  const std::vector<Owner>& all() const { return owners_; }
  // Those that have more than they may.
  const std::set<uint32_t>& above_most() const { return above_most_; }
  uint64_t BytesOf(uint64_t owner) const;
  // How many bytes of each owner, by number, can be dropped at `tick`; kAll: nothing is held for it. What is
  // held are `most_held` bytes together at most.
  static std::vector<uint64_t> Spare(const std::vector<Owner>& owners, double tick, uint64_t most_held);

  void CheckInvariants() const;

 private:
  // kNobody when there is none left.
  uint32_t NumberOf(uint64_t owner);
  void NoteMost(uint32_t number);
  void ReleaseIfUnused(uint32_t number);

  std::vector<Owner> owners_;
  std::unordered_map<uint64_t, uint32_t> numbers_;
  std::vector<uint32_t> unused_;  // numbers
  std::set<uint32_t> above_most_;
};

}  // namespace prefixd
