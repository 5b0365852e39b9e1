#include "cache/eviction_lru.h"

namespace prefixd {

void LruEviction::Insert(NodeId node, const NodeUse&) { queues_.Insert(node, 0); }

// The time of the use reaches the policy when the node becomes a candidate again.
void LruEviction::Hit(NodeId node, const NodeUse&) { queues_.CheckNotCandidate(node); }

void LruEviction::Remove(NodeId node, const NodeUse&) { queues_.Remove(node); }

std::optional<NodeId> LruEviction::Victim() const {
  const EvictionQueues::Candidate* first = queues_.First();
  if (first == nullptr) return std::nullopt;
  return first->node;
}

}  // namespace prefixd
