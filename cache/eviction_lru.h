// LruEviction: evicts the least recently used candidate; of several with equal times the deepest, and of
// several of equal depth the one with the lowest id. Costs and memory are those of EvictionQueues. Engine
// thread only.
//
// Invariants (CheckInvariants tests them): those of cache/eviction.h and cache/eviction_queues.h.
#pragma once

#include "cache/eviction.h"
#include "cache/eviction_queues.h"

namespace prefixd {

class LruEviction final : public EvictionPolicy {
 public:
  explicit LruEviction(const EvictionOptions&) {}
  void Insert(NodeId node, const NodeUse& use) override;
  void Hit(NodeId node, const NodeUse& use) override;
  void Remove(NodeId node, const NodeUse& use) override;
  void AddCandidate(NodeId node, const NodeUse& use) override { queues_.AddCandidate(node, use); }
  void RemoveCandidate(NodeId node) override { queues_.RemoveCandidate(node); }
  bool IsCandidate(NodeId node) const override { return queues_.IsCandidate(node); }
  std::optional<NodeId> Victim() const override;
  void CheckInvariants() const override { queues_.CheckInvariants(); }

 private:
  friend struct EvictionPolicyTestPeer;
  EvictionQueues queues_;
};

}  // namespace prefixd
