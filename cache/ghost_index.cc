#include "cache/ghost_index.h"

#include <algorithm>

#include "base/check.h"

namespace prefixd {

GhostIndex::Added GhostIndex::Add(NodeId node) {
  if (capacity_ == 0) return {.forgotten = node};
  Added added{.slot = next_};
  PREFIXD_CHECK(node != kNoNode);
  if (next_ == ring_.size()) {
    ring_.push_back(node);
  } else {
    added.forgotten = ring_[next_];
    ring_[next_] = node;
  }
  if (added.forgotten == kNoNode) ++size_;
  next_ = (next_ + 1) % capacity_;
  return added;
}

void GhostIndex::Remove(NodeId node, uint32_t slot) {
  PREFIXD_CHECK(Contains(node, slot)) << "node " << node << " is no ghost";
  ring_[slot] = kNoNode;
  --size_;
}

void GhostIndex::CheckInvariants() const {
  PREFIXD_CHECK(ring_.size() <= capacity_) << ring_.size() << " of " << capacity_;
  std::vector<NodeId> nodes;
  for (const NodeId node : ring_) {
    if (node != kNoNode) nodes.push_back(node);
  }
  PREFIXD_CHECK(nodes.size() == size_) << nodes.size() << " nodes, not " << size_;
  std::ranges::sort(nodes);
  PREFIXD_CHECK(std::ranges::adjacent_find(nodes) == nodes.end()) << "a node is in the index twice";
}

}  // namespace prefixd
