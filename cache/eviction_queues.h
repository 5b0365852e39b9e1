// EvictionQueues: the nodes of one tier, divided into at most two queues. Within a queue the candidates are
// ordered by last use. The eviction policies are built on it; it also checks for them that the calls of the
// cache come in the order which cache/eviction.h gives. Engine thread only.
//
// Of the copied and the other candidates of a queue, those that have waited longest are compared: the copied
// one goes first when it has waited at least `copy_cost` times as long as the other. To lose it costs that
// share, so this is the order of cost over age, as in GreedyDual (Young: "The k-server dual and loose
// competitiveness for paging", 1994). With a copy_cost of 1 it is one order by last use.
//
// Costs: O(log candidates) for AddCandidate and RemoveCandidate, O(1) for the rest. Memory: 5 bytes for each
// NodeId that the tree has used, and 16 bytes for each candidate.
//
// Invariants (CheckInvariants tests them)
//   1. A node is in at most one queue. A candidate is in the order of its queue exactly once.
//   2. Among copied candidates, and among the others, First() is the one whose last use is the longest ago;
//      of several with equal times the deepest, and of several of equal depth the one with the lowest id.
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
  // In (0, 1]; 1 at first.
  void SetCopyCost(double share) { copy_cost_ = share; }

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
  using Heap = std::vector<Candidate>;   // binary heap: no candidate is Before the one at (place - 1) / 2
  static constexpr uint8_t kCopied = 2;  // added to the queue of a copied candidate
  static constexpr uint8_t kAbsent = 4;
  static constexpr uint32_t kNoPlace = ~uint32_t{0};

  static const Candidate* FirstOf(const Heap& heap) { return heap.empty() ? nullptr : &heap.front(); }
  // Either may be null.
  static const Candidate* Older(const Candidate* one, const Candidate* other);
  const Candidate* Cheaper(const Candidate* sole, const Candidate* copied) const;
  Heap& heap_of(NodeId node) { return heaps_[queues_[node]]; }
  // Puts `candidate` into the free place `place` of `heap`, or where it belongs above or below.
  void Settle(Heap& heap, uint32_t place, const Candidate& candidate);

  std::vector<uint8_t> queues_;   // by node: its queue, with kCopied or without, or kAbsent
  std::vector<uint32_t> places_;  // by node: its index in the heap of its queue, or kNoPlace
  std::array<Heap, 4> heaps_;     // by queue, with kCopied or without
  std::array<uint32_t, 2> sizes_ = {};
  double copy_cost_ = 1;
  uint64_t newest_use_ = 0;  // of all candidates so far
};

}  // namespace prefixd
