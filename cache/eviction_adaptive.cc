#include "cache/eviction_adaptive.h"

#include "base/check.h"

namespace prefixd {

AdaptiveEviction::AdaptiveEviction(const EvictionOptions& options)
    : capacity_(options.capacity), profile_(options.capacity) {}

void AdaptiveEviction::Insert(NodeId node, const NodeUse& use) {
  const bool came_back = use.admissions >= 2;
  queues_.Insert(node, came_back ? kProtected : kProbation);
  if (came_back) {
    profile_.UseAgain(node);
  } else {
    profile_.UseFirst(node);
  }
}

void AdaptiveEviction::Hit(NodeId node, const NodeUse& use) {
  queues_.CheckNotCandidate(node);
  if (use.last_use == 0) return;
  if (profile_.UseAgain(node)) queues_.Move(node, kProtected);
}

void AdaptiveEviction::Remove(NodeId node, const NodeUse&) { queues_.Remove(node); }

std::optional<NodeId> AdaptiveEviction::Victim() const {
  const EvictionQueues::Candidate* first = nullptr;
  if (const std::optional<uint32_t> probation = profile_.probation_blocks()) {
    first = queues_.First(queues_.size(kProtected) > capacity_ - *probation ? kProtected : kProbation);
  }
  if (first == nullptr) first = queues_.First();
  if (first == nullptr) return std::nullopt;
  return first->node;
}

void AdaptiveEviction::CheckInvariants() const {
  queues_.CheckInvariants();
  profile_.CheckInvariants();
  const std::optional<NodeId> victim = Victim();
  PREFIXD_CHECK(victim ? queues_.IsCandidate(*victim) : queues_.First() == nullptr);
}

}  // namespace prefixd
