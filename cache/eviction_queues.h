// EvictionQueues: the nodes of one tier, divided into at most two queues. The eviction policies are built on
// it; it also checks for them that the calls of the cache come in the order which cache/eviction.h gives.
// Engine thread only.
//
// To lose a candidate costs its share: the worth of the group that the policy has put it into, and for a
// copied one `copy_cost` of that. The candidates go in the order of cost over age, as in GreedyDual (Young:
// "The k-server dual and loose competitiveness for paging", 1994): of two, the one goes first that has waited
// longer in proportion to its share. While all shares are 1, the order is that of the last use.
//
// Costs: O(kHeaps) for First, O(log candidates) for AddCandidate and RemoveCandidate, O(1) for the rest. No
// heap moves as it grows or shrinks. Memory: 5 bytes for each NodeId that the tree has used, 17 bytes for
// each candidate that there has been at once, and 90 KiB.
//
// Invariants (CheckInvariants tests them)
//   1. A node is in at most one queue. A candidate is in the order of its queue exactly once.
//   2. Among the candidates of one group that are copied, and among those that are not, First() is the one
//      whose last use is the longest ago; of several with equal times the deepest, and of several of equal
//      depth the one with the lowest id.
//   3. size() counts the nodes of a queue, candidates or not.
//   4. A heap has room for less than kPiece candidates more than it has. What one gives back, others use.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cache/node.h"
#include "cache/piece_memory.h"

namespace prefixd {

class EvictionQueues {
 public:
  static constexpr uint8_t kGroups = 17;
  static constexpr uint8_t kHeaps = 4 * kGroups;
  static constexpr size_t kPiece = 16;  // candidates
  struct Candidate {
    uint64_t last_use;
    uint32_t depth;
    NodeId node;
    // True if this candidate is evicted before `other`.
    bool Before(const Candidate& other) const;
  };

  EvictionQueues() { worths_.fill(1); }
  ~EvictionQueues();
  EvictionQueues(const EvictionQueues&) = delete;
  EvictionQueues& operator=(const EvictionQueues&) = delete;
  // `queue` is 0 or 1.
  void Insert(NodeId node, int queue);
  void Move(NodeId node, int queue);
  void Remove(NodeId node);
  void AddCandidate(NodeId node, const NodeUse& use, uint8_t group = 0);
  void RemoveCandidate(NodeId node);
  // In (0, 1]; 1 at first.
  void SetCopyCost(double share) { copy_cost_ = share; }
  // Above 0; 1 at first. `group` is below kGroups.
  void SetWorth(uint8_t group, double worth) { worths_.at(group) = worth; }

  bool Contains(NodeId node) const { return node < queues_.size() && queues_[node] != kAbsent; }
  bool IsCandidate(NodeId node) const { return node < places_.size() && places_[node] != kNoPlace; }
  // Ends the process unless the node has a block in the tier and is no candidate.
  void CheckNotCandidate(NodeId node) const;

  // Requires Contains(node).
  int queue(NodeId node) const;
  uint32_t size(int queue) const { return sizes_.at(static_cast<size_t>(queue)); }
  // Returns null when the queue has no candidate. Valid until the next change.
  const Candidate* First(int queue) const;
  // The same for the candidates of the queue and the copied ones of the other.
  const Candidate* FirstOfQueueOrCopied(int queue) const;
  // The same for both queues together.
  const Candidate* First() const;

  void CheckInvariants() const;

 private:
  friend struct EvictionQueuesTestPeer;
  // A binary heap: no candidate is Before the one at (place - 1) / 2.
  class Heap {
   public:
    size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    Candidate& operator[](size_t place) { return pieces_[place / kPiece][place % kPiece]; }
    const Candidate& operator[](size_t place) const { return pieces_[place / kPiece][place % kPiece]; }
    void AddPlace(PieceMemory* memory);
    void DropLastPlace(PieceMemory* memory);

   private:
    std::vector<Candidate*> pieces_;
    size_t size_ = 0;
  };
  // The number of a heap is the queue, kCopied for copied candidates, and kGroup times the group.
  static constexpr uint8_t kCopied = 2;
  static constexpr uint8_t kGroup = 4;
  static constexpr uint8_t kAbsent = 255;
  static constexpr uint32_t kNoPlace = ~uint32_t{0};

  // Of the heaps h for which bit h % kGroup of `kinds` is set.
  const Candidate* Best(unsigned kinds) const;
  Heap& heap_of(NodeId node) { return heaps_[queues_[node]]; }
  // Puts `candidate` into the free place `place` of `heap`, or where it belongs above or below.
  void Settle(Heap& heap, uint32_t place, const Candidate& candidate);

  std::vector<uint8_t> queues_;   // by node: its queue, of a candidate the number of its heap, or kAbsent
  std::vector<uint32_t> places_;  // by node: its index in its heap, or kNoPlace
  PieceMemory memory_{kPiece * sizeof(Candidate)};
  std::array<Heap, kHeaps> heaps_;
  std::array<uint32_t, 2> sizes_ = {};
  std::array<double, kGroups> worths_;
  double copy_cost_ = 1;
  uint64_t newest_use_ = 0;  // of all candidates so far
};

}  // namespace prefixd
