// ReuseProfile: measures which division of a tier between the nodes used once and the nodes used again would
// have found the most blocks. AdaptiveEviction divides its tier by it. Engine thread only.
//
// The profile keeps all nodes, those that lost their block included, in the order of their last use. The
// stack distance of a node in a set is the number of nodes of the set from the newest down to it: an LRU
// order of that set finds the node if it has at least that many blocks (Mattson, Gecsei, Slutz, Traiger:
// "Evaluation techniques for storage hierarchies", 1970). When a node is used again, the profile counts its
// distance among the nodes used once or among those used again, whichever it was. So it knows the hits of
// either set at every size, and their sum for every division of the tier; and it knows those of one LRU order
// for all nodes from the distance among all. Older counts are worth half after each 4 * capacity uses.
//
// The order is kept in segments of about capacity / 64 nodes, as MIMIR does (Saemundsson et al.: "Dynamic
// performance profiling of cloud caches", SoCC 2014): a node knows its segment, and the profile the number of
// nodes in each. So the distances are multiples of a segment and the tier is divided in at most 64 shares. A
// node in none of the 4,096 newest segments is forgotten.
//
// Costs: a use takes O(log segments), and every capacity / 16 uses the division is chosen anew in O(64).
// Memory: 64 KiB, and 8 bytes for each NodeId that the tree has used.
//
// Invariants (CheckInvariants tests them)
//   1. The count of a segment is the number of nodes that are in it, for either set.
//   2. probation_blocks() is at most the capacity.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "cache/node.h"

namespace prefixd {

class ReuseProfile {
 public:
  // Requires capacity > 0.
  explicit ReuseProfile(uint32_t capacity);

  // `node` is used for the first time. Its id may have belonged to another node before.
  void UseFirst(NodeId node);
  // `node` is used again. Returns whether that says anything. A use within capacity / 16 other uses does not:
  // every division finds the node then. It makes the node the newest of its set, and counts nothing.
  bool UseAgain(NodeId node);

  // The node counts among those used once, and is not forgotten.
  bool UsedOnce(NodeId node) const;

  // Blocks of the tier for the nodes used once. Nothing: one LRU order for all nodes is about as good as any
  // division.
  std::optional<uint32_t> probation_blocks() const { return probation_blocks_; }

  void CheckInvariants() const;

 private:
  friend struct ReuseProfileTestPeer;
  enum Set { kOnce = 0, kAgain = 1 };
  static constexpr uint32_t kShares = 64;
  static constexpr uint32_t kSegments = 4096;

  // The numbers of nodes per segment, as a binary indexed tree over a ring of segments.
  class Counts {
   public:
    void Add(uint64_t segment, int delta);
    uint32_t at(uint64_t segment) const { return counts_[segment % kSegments]; }
    // Nodes in the segments from `from` to `to`; requires from <= to < from + kSegments.
    uint32_t Sum(uint64_t from, uint64_t to) const;

   private:
    friend struct ReuseProfileTestPeer;
    uint32_t SumOfFirst(uint32_t slots) const;
    std::vector<uint32_t> counts_ = std::vector<uint32_t>(kSegments);
    std::vector<uint32_t> tree_ = std::vector<uint32_t>(kSegments + 1);
  };
  // 0: never used. Otherwise 1 + 2 * segment + set.
  using Record = uint64_t;
  static uint64_t SegmentOf(Record record) { return (record - 1) / 2; }
  static Set SetOf(Record record) { return static_cast<Set>((record - 1) % 2); }

  bool Remembers(Record record) const { return record != 0 && SegmentOf(record) + kSegments > newest_; }
  // How many nodes of each set were used since, those of the record's own segment included.
  std::array<uint32_t, 2> Distances(Record record) const;
  void Count(Record record);
  void MoveToNewest(NodeId node, Set set);
  void EndUse();
  void Choose();

  const uint32_t capacity_;
  const uint32_t width_;   // nodes of a segment, and blocks of a share
  const uint32_t shares_;  // of the tier
  std::vector<Record> records_;
  std::array<Counts, 2> counts_;
  uint64_t newest_ = 0;  // segment
  // By set and by the number of shares that it takes to find the node: the uses.
  std::array<std::array<uint64_t, kShares + 1>, 2> hits_ = {};
  uint64_t undivided_hits_ = 0;
  uint64_t uses_ = 0;
  std::optional<uint32_t> probation_blocks_;
};

}  // namespace prefixd
