// GhostIndex: the nodes that lost their KV in memory last; the disk may still have it. The cache keeps these
// nodes in the tree, so it can tell an evicted prefix from one that was never cached, and a policy can tell a
// block that comes back from a new one. It is bounded, first in, first out. Engine thread only.
//
// Invariants (CheckInvariants tests them)
//   1. The index holds at most `capacity` nodes.
//   2. A node stays until it is removed, or until Add has been called `capacity` times after its Add.
#pragma once

#include <cstdint>
#include <vector>

#include "cache/node.h"

namespace prefixd {

class GhostIndex {
 public:
  explicit GhostIndex(uint32_t capacity) : capacity_(capacity) {}

  struct Added {
    uint32_t slot = 0;           // the node's place, which Remove and Contains require; the caller keeps it
    NodeId forgotten = kNoNode;  // the node that gave way, if any
  };
  // Adds a node, which must not be in the index. With a capacity of 0 the node itself is forgotten.
  Added Add(NodeId node);
  void Remove(NodeId node, uint32_t slot);
  bool Contains(NodeId node, uint32_t slot) const { return slot < ring_.size() && ring_[slot] == node; }
  size_t size() const { return size_; }
  size_t MemoryBytes() const { return ring_.capacity() * sizeof(NodeId); }
  // The vector grows.
  static size_t MaxMemoryBytes(size_t capacity) { return 2 * capacity * sizeof(NodeId); }

  void CheckInvariants() const;

 private:
  friend struct GhostIndexTestPeer;
  const uint32_t capacity_;
  uint32_t next_ = 0;  // the slot of the next Add
  size_t size_ = 0;
  std::vector<NodeId> ring_;  // by slot; kNoNode: the node was removed
};

}  // namespace prefixd
