// EvictionQueues: the nodes of one tier, divided into at most two queues. Within a queue the candidates are
// ordered by last use. The eviction policies are built on it; it also checks for them that the calls of the
// cache come in the order which cache/eviction.h gives. Engine thread only.
//
// Costs: O(log candidates) for AddCandidate and RemoveCandidate, O(1) for the rest. Memory: 5 bytes for each
// NodeId that the tree has used, and 16 bytes for each candidate.
//
// Invariants (CheckInvariants tests them)
//   1. A node is in at most one queue. A candidate is in the order of its queue exactly once.
//   2. First() is the candidate whose last use is the longest ago; of several with equal times the deepest,
//      and of several of equal depth the one with the lowest id.
//   3. size() counts the nodes of a queue, candidates or not.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cache/node.h"

namespace prefixd {

class EvictionQueues {
 public:
  struct Candidate {
    uint64_t last_use;
    uint32_t depth;
    NodeId node;
    // True if this candidate is evicted before `other`.
    bool Before(const Candidate& other) const;
  };

  // `queue` is 0 or 1.
  void Insert(NodeId node, int queue);
  void Move(NodeId node, int queue);
  void Remove(NodeId node);
  void AddCandidate(NodeId node, const NodeUse& use);
  void RemoveCandidate(NodeId node);

  bool Contains(NodeId node) const { return node < queues_.size() && queues_[node] != kAbsent; }
  bool IsCandidate(NodeId node) const { return node < places_.size() && places_[node] != kNoPlace; }
  // Ends the process unless the node has a block in the tier and is no candidate.
  void CheckNotCandidate(NodeId node) const;

  // Requires Contains(node).
  int queue(NodeId node) const;
  uint32_t size(int queue) const { return sizes_.at(static_cast<size_t>(queue)); }
  // Returns null when the queue has no candidate. Valid until the next change.
  const Candidate* First(int queue) const;
  // The same for both queues together.
  const Candidate* First() const;

  void CheckInvariants() const;

 private:
  friend struct EvictionQueuesTestPeer;
  using Heap = std::vector<Candidate>;  // binary heap: no candidate is Before the one at (place - 1) / 2
  static constexpr uint8_t kAbsent = 2;
  static constexpr uint32_t kNoPlace = ~uint32_t{0};

  Heap& heap_of(NodeId node) { return heaps_[queues_[node]]; }
  // Puts `candidate` into the free place `place` of `heap`, or where it belongs above or below.
  void Settle(Heap& heap, uint32_t place, const Candidate& candidate);

  std::vector<uint8_t> queues_;   // by node: its queue, or kAbsent
  std::vector<uint32_t> places_;  // by node: its index in the heap of its queue, or kNoPlace
  std::array<Heap, 2> heaps_;
  std::array<uint32_t, 2> sizes_ = {};
};

}  // namespace prefixd
