// Which cached block goes first when room is needed. The cache offers the candidates (blocks of the tree
// without a lease and without a child), the policy orders them. Engine thread only; no clock: the time of a
// use is a number that only grows.
//
// Invariants of LruEviction (CheckInvariants proves them)
//   1. A block is a candidate at most once.
//   2. Victim() is a function of the candidates alone: the least recently used, of equals the lowest block.
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
  // `block` is not a candidate and becomes one.
  virtual void Add(BlockId block, uint64_t last_used) = 0;
  // `block` is a candidate and ceases to be one.
  virtual void Remove(BlockId block) = 0;
  virtual bool Contains(BlockId block) const = 0;
  // The candidate to evict next; nothing when there is none.
  virtual std::optional<BlockId> Victim() const = 0;
  virtual void CheckInvariants() const = 0;
};

// Least recently used first. O(log candidates) per call.
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
  std::vector<std::optional<uint64_t>> times_;  // by block: its place in order_
};

}  // namespace prefixd
