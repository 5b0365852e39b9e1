// AdaptiveEviction: divides the tier between the nodes used once, which are on probation, and the protected
// nodes, which were used again, in the proportion that would have found the most blocks so far. Where no
// division is better than plain LRU, it is plain LRU. cache/eviction_profile.h describes the measurement. It
// needs no setting, because the measurement is about the capacity and the requests of this tier. Engine
// thread only.
//
// A node is used again when a lease hits it after another lease has given it back, or when its KV enters the
// tier again while the ghost index knows it. A hit soon after the use before is not another use: the choices
// of one prompt, for example, and a prompt that is sent several times in a row.
//
// The victim is the first candidate on probation. It is the first protected one when the protected nodes have
// more blocks than their part of the tier, or when there is no other. Blocks that leases have taken and not
// yet filled count like blocks on probation.
//
// Candidates on probation wait the shorter the less likely they are used again (cache/eviction_odds.h). Those
// with a copy in a lower tier go earlier, as cache/eviction_queues.h says: a load brings them back. So it
// does where they are protected, and the proportion is about blocks that have to be computed again: copied
// ones compete with the victim that it says, whichever part they are in.
//
// Costs: amortized O(log candidates) per call, and what EvictionQueues, ReuseProfile and ReuseOdds say.
// Memory: theirs, 14 bytes for each NodeId that the tree has used, at most 96 bytes for each block of the
// tier and 81 KiB.
//
// Invariants (CheckInvariants tests them): those of cache/eviction.h, cache/eviction_queues.h,
// cache/eviction_profile.h and cache/eviction_odds.h.
#pragma once

#include "cache/eviction.h"
#include "cache/eviction_odds.h"
#include "cache/eviction_profile.h"
#include "cache/eviction_queues.h"

namespace prefixd {

class AdaptiveEviction final : public EvictionPolicy {
 public:
  explicit AdaptiveEviction(const EvictionOptions& options);
  void Insert(NodeId node, const NodeUse& use) override;
  void Hit(NodeId node, const NodeUse& use) override;
  void Remove(NodeId node, const NodeUse& use) override;
  void AddCandidate(NodeId node, const NodeUse& use) override;
  void RemoveCandidate(NodeId node) override { queues_.RemoveCandidate(node); }
  void SetCopyCost(double share) override;
  bool IsCandidate(NodeId node) const override { return queues_.IsCandidate(node); }
  std::optional<NodeId> Victim() const override;
  void CheckInvariants() const override;

 private:
  friend struct EvictionPolicyTestPeer;
  enum Queue { kProbation = 0, kProtected = 1 };
  // A node that was used once was used again, or it was not and has lost its block.
  void Learn(NodeId node, const NodeUse& use, bool used_again);

  const uint32_t capacity_;
  EvictionQueues queues_;
  ReuseProfile profile_;
  ReuseOdds odds_;
  bool copies_are_cheaper_ = false;
};

}  // namespace prefixd
