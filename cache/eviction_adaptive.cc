#include "cache/eviction_adaptive.h"

#include "base/check.h"

namespace prefixd {
namespace {

// Group 0 of the queues is for the protected nodes: its worth stays 1.
uint8_t QueuesGroup(uint8_t group) { return static_cast<uint8_t>(group + 1); }
static_assert(EvictionQueues::kGroups == ReuseOdds::kGroups + 1);

}  // namespace

AdaptiveEviction::AdaptiveEviction(const EvictionOptions& options)
    : capacity_(options.capacity), profile_(options.capacity), odds_(options.capacity) {}

void AdaptiveEviction::Insert(NodeId node, const NodeUse& use) {
  const bool came_back = use.admissions >= 2;
  queues_.Insert(node, came_back ? kProtected : kProbation);
  if (came_back) {
    if (profile_.UsedOnce(node)) Learn(node, use, true);
    profile_.UseAgain(node);
  } else {
    profile_.UseFirst(node);
    odds_.Forget(node);
  }
}

void AdaptiveEviction::Hit(NodeId node, const NodeUse& use) {
  queues_.CheckNotCandidate(node);
  if (use.last_use == 0) return;
  if (!profile_.UseAgain(node)) return;
  if (queues_.queue(node) == kProbation) Learn(node, use, true);
  queues_.Move(node, kProtected);
}

void AdaptiveEviction::Remove(NodeId node, const NodeUse& use) {
  queues_.CheckNotCandidate(node);
  if (queues_.queue(node) == kProbation && use.last_use != 0) Learn(node, use, false);
  queues_.Remove(node);
}

void AdaptiveEviction::AddCandidate(NodeId node, const NodeUse& use) {
  queues_.CheckNotCandidate(node);
  odds_.NoteEnd(node, use);
  const bool probation = queues_.queue(node) == kProbation;
  queues_.AddCandidate(node, use, probation ? QueuesGroup(odds_.Group(node, use)) : 0);
}

void AdaptiveEviction::SetCopyCost(double share) {
  copies_are_cheaper_ = share < 1;
  queues_.SetCopyCost(share);
}

void AdaptiveEviction::Learn(NodeId node, const NodeUse& use, bool used_again) {
  if (!odds_.Count(odds_.Group(node, use), used_again)) return;
  for (uint8_t group = 0; group < ReuseOdds::kGroups; ++group) {
    queues_.SetWorth(QueuesGroup(group), odds_.worth(group));
  }
}

std::optional<NodeId> AdaptiveEviction::Victim() const {
  const EvictionQueues::Candidate* first = nullptr;
  if (const std::optional<uint32_t> probation = profile_.probation_blocks()) {
    const Queue queue = queues_.size(kProtected) > capacity_ - *probation ? kProtected : kProbation;
    first = copies_are_cheaper_ ? queues_.FirstOfQueueOrCopied(queue) : queues_.First(queue);
  }
  if (first == nullptr) first = queues_.First();
  if (first == nullptr) return std::nullopt;
  return first->node;
}

void AdaptiveEviction::CheckInvariants() const {
  queues_.CheckInvariants();
  profile_.CheckInvariants();
  odds_.CheckInvariants();
  const std::optional<NodeId> victim = Victim();
  PREFIXD_CHECK(victim ? queues_.IsCandidate(*victim) : queues_.First() == nullptr);
}

}  // namespace prefixd
