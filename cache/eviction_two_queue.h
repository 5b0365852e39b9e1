// TwoQueueEviction: 2Q (Johnson, Shasha: "2Q: a low overhead high performance buffer management replacement
// algorithm", VLDB 1994). A node whose KV enters the tier for the first time is on probation. A node that
// comes back while the ghost index knows it (NodeUse::admissions >= 2) is protected. The probation queue gets
// a quarter of the tier, as the paper recommends. The ghost index, which is the paper's queue A1out, is the
// cache's. Engine thread only.
//
// Two details differ from the paper. Both queues are ordered by last use, because the uses of a prefix are
// those of its descendants. And the quarter limits the protected queue to the other three quarters of the
// tier: blocks that leases have taken and not yet filled count like blocks on probation.
//
// The victim is the first candidate on probation. It is the first protected one when more than three
// quarters of the tier's blocks are protected, or when there is no other. Costs and memory are those of
// EvictionQueues.
//
// Invariants (CheckInvariants tests them): those of cache/eviction.h and cache/eviction_queues.h.
#pragma once

#include "cache/eviction.h"
#include "cache/eviction_queues.h"

namespace prefixd {

class TwoQueueEviction final : public EvictionPolicy {
 public:
  explicit TwoQueueEviction(const EvictionOptions& options);
  void Insert(NodeId node, const NodeUse& use) override;
  void Hit(NodeId node, const NodeUse& use) override;
  void Remove(NodeId node, const NodeUse& use) override;
  void AddCandidate(NodeId node, const NodeUse& use) override { queues_.AddCandidate(node, use); }
  void RemoveCandidate(NodeId node) override { queues_.RemoveCandidate(node); }
  bool IsCandidate(NodeId node) const override { return queues_.IsCandidate(node); }
  std::optional<NodeId> Victim() const override;
  void CheckInvariants() const override;

 private:
  friend struct EvictionPolicyTestPeer;
  enum Queue { kProbation = 0, kProtected = 1 };
  const uint32_t protected_limit_;  // blocks
  EvictionQueues queues_;
};

}  // namespace prefixd
