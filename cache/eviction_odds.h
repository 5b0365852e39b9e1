// ReuseOdds: learns how likely a node that was used once is used again, by its place in the request that used
// it. The blocks that end a request, its question and its answer, are often of no use to another one; a node
// may only be evicted after them. AdaptiveEviction orders its candidates by it. Engine thread only.
//
// A node belongs to one of 16 groups: by the number of nodes from it to the end of its request, up to 7, and
// by whether the request continued a cached prefix (RequestClass). For each group the profile counts the
// nodes that were used again and those that lost their block unused. Their proportion, over that of all
// groups, is the worth of the group. To order by the chance of a hit of such groups is the idea of LHD
// (Beckmann, Chen, Cidon: "LHD: Improving cache hit rate by maximizing hit density", NSDI 2018); that
// requests to language models differ so by their kind is from Wang et al.: "KVCache cache in the wild",
// USENIX ATC 2025.
//
// Two nodes of average worth are added to what was counted, so that a group of which little is known is worth
// 1. Older counts are worth half after each 4 * capacity counts. No worth is below 1/32: every candidate is
// evicted one day. The worths change every capacity / 16 counts.
//
// Costs: O(1), and O(16) for a change of the worths. Memory: 16 bytes for each block of the
// tier, and 1 byte for each NodeId that the tree has used.
//
// Invariants (CheckInvariants tests them)
//   1. The worths are at least 1/32. They are 1 until a node was used again.
//   2. The end of a request is in the slot of its time, and no time is above the newest one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "cache/node.h"

namespace prefixd {

class ReuseOdds {
 public:
  static constexpr uint8_t kGroups = 16;
  static constexpr size_t kBytesOfBlock = 16;

  // Requires capacity > 0.
  explicit ReuseOdds(uint32_t capacity);

  // `node` is new. Its id may have belonged to another node before.
  void Forget(NodeId node);
  // `node` has become a candidate: its request ends there or deeper. A lease gives back its last node first,
  // so the end is known before it is asked for. The ends of the `capacity` newest times are kept.
  void NoteEnd(NodeId node, const NodeUse& use);
  // A node whose request has no known end is in the group that it was in as a candidate, be it before it lost
  // its block; the others count as far from the end.
  uint8_t Group(NodeId node, const NodeUse& use) const;

  // A node of the group was used again, or lost its block unused. Returns whether the worths have changed.
  bool Count(uint8_t group, bool used_again);
  // How likely a node of the group is used again, as a multiple of the average.
  double worth(uint8_t group) const { return worths_.at(group); }

  void CheckInvariants() const;

 private:
  friend struct ReuseOddsTestPeer;
  static constexpr uint8_t kFar = kGroups / 2 - 1;
  static constexpr double kLeastWorth = 1.0 / 32;
  static constexpr double kPrior = 2;  // nodes
  struct End {
    uint64_t last_use = 0;  // 0: of no request
    uint32_t depth = 0;
  };
  static_assert(sizeof(End) == kBytesOfBlock);
  struct Counts {
    double again = 0;
    double all = 0;
  };

  std::optional<uint8_t> GroupOfKnownEnd(const NodeUse& use) const;
  void Weigh();

  const uint32_t capacity_;
  std::vector<End> ends_;        // by last use, modulo the capacity
  std::vector<uint8_t> groups_;  // by node: of its last turn as a candidate
  uint64_t newest_use_ = 0;
  std::array<Counts, kGroups> counts_ = {};
  std::array<double, kGroups> worths_;
  uint64_t counted_ = 0;
};

}  // namespace prefixd
