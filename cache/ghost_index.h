// GhostIndex: the keys of the blocks evicted last, without their content. It distinguishes an evicted prefix
// from one that was never cached. It is bounded, first in, first out; adding a key again makes it the newest.
// Engine thread only.
//
// Invariants (CheckInvariants tests them)
//   1. The index holds at most `capacity` keys.
//   2. A key stays in the index until Add has been called `capacity` times after the key's last Add.
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
