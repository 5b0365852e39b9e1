// EvictionPolicy: which cached block is evicted next. The cache adds and removes the candidates, which are
// the blocks of the tree without a lease and without a child; the policy orders them. Engine thread only. The
// policy reads no clock: the time of last use is a number that only grows.
//
// Invariants of LruEviction (CheckInvariants tests them)
//   1. A block is a candidate at most once.
//   2. Victim() depends on the candidates alone. It is the least recently used candidate; of several with
//      equal times, the one with the lowest block id.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/types.h"

namespace prefixd {

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  // Makes `block` a candidate. Requires that it is none.
  virtual void Add(BlockId block, uint64_t last_used) = 0;
  // Removes the candidate `block`. Requires that it is one.
  virtual void Remove(BlockId block) = 0;
  virtual bool Contains(BlockId block) const = 0;
  // Returns the candidate to evict next, or nothing when there is no candidate.
  virtual std::optional<BlockId> Victim() const = 0;
  virtual void CheckInvariants() const = 0;
};

// Evicts the least recently used block first. O(log candidates) per call.
class LruEviction final : public EvictionPolicy {
 public:
  explicit LruEviction(uint32_t blocks) : times_(blocks) {}
  void Add(BlockId block, uint64_t last_used) override;
  void Remove(BlockId block) override;
  bool Contains(BlockId block) const override { return times_.at(block).has_value(); }
  std::optional<BlockId> Victim() const override;
  void CheckInvariants() const override;

 private:
  friend struct LruEvictionTestPeer;
  std::set<std::pair<uint64_t, BlockId>> order_;
  std::vector<std::optional<uint64_t>>
      times_;  // by block: its time in order_; nothing when it is no candidate
};

}  // namespace prefixd
