#include "cache/eviction_two_queue.h"

#include "base/check.h"

namespace prefixd {

TwoQueueEviction::TwoQueueEviction(const EvictionOptions& options)
    : protected_limit_(options.capacity - options.capacity / 4) {
  PREFIXD_CHECK(options.capacity > 0);
}

void TwoQueueEviction::Insert(NodeId node, const NodeUse& use) {
  queues_.Insert(node, use.admissions >= 2 ? kProtected : kProbation);
}

// A hit does not promote: soon after the first use it is likely to belong to the same event.
void TwoQueueEviction::Hit(NodeId node, const NodeUse&) { queues_.CheckNotCandidate(node); }

void TwoQueueEviction::Remove(NodeId node, const NodeUse&) { queues_.Remove(node); }

std::optional<NodeId> TwoQueueEviction::Victim() const {
  const Queue preferred = queues_.size(kProtected) > protected_limit_ ? kProtected : kProbation;
  const EvictionQueues::Candidate* first = queues_.First(preferred);
  if (first == nullptr) first = queues_.First();
  if (first == nullptr) return std::nullopt;
  return first->node;
}

void TwoQueueEviction::CheckInvariants() const {
  queues_.CheckInvariants();
  const std::optional<NodeId> victim = Victim();
  PREFIXD_CHECK(victim ? queues_.IsCandidate(*victim) : queues_.First() == nullptr);
}

}  // namespace prefixd
