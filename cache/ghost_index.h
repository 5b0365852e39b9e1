// GhostIndex: the keys of the blocks evicted last, without their content: it tells an evicted prefix from one
// that was never seen. Bounded, first in first out; a key that is added again counts as new. Engine thread
// only.
//
// Invariants (CheckInvariants proves them)
//   1. At most `capacity` keys are remembered.
//   2. A key is remembered until `capacity` others have been added after its last Add.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "hashing/block_key.h"

namespace prefixd {

class GhostIndex {
 public:
  explicit GhostIndex(uint32_t capacity) : capacity_(capacity) {}

  void Add(const BlockKey& key);
  bool Contains(const BlockKey& key) const { return added_.contains(key); }
  size_t size() const { return added_.size(); }

  void CheckInvariants() const;

 private:
  friend struct GhostIndexTestPeer;
  const uint32_t capacity_;
  uint64_t adds_ = 0;
  std::vector<BlockKey> ring_;                    // the key of the n-th Add is at n % capacity
  std::unordered_map<BlockKey, uint64_t> added_;  // number of the last Add of a key
};

}  // namespace prefixd
