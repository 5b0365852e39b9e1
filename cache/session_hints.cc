#include "cache/session_hints.h"

#include "base/check.h"

namespace prefixd {
namespace {

constexpr Tier kMemory[] = {Tier::kDevice, Tier::kHost};

}  // namespace

// Whoever comes last is right about the node: what an earlier hint said is not counted.
void SessionHints::Lower(NodeId node, SessionHint hint) {
  for (const Tier tier : kMemory) PREFIXD_CHECK(!IsCandidate(tier, node)) << "node " << node;
  Entry& entry = entries_[node];
  raised_.erase({entry.until, node});
  entry = {.hint = hint, .order = ++next_};
}

void SessionHints::Raise(NodeId node, double until) {
  for (const Tier tier : kMemory) PREFIXD_CHECK(!IsCandidate(tier, node)) << "node " << node;
  Entry& entry = entries_[node];
  raised_.erase({entry.until, node});
  entry = {.hint = SessionHint::kToolPending, .until = until};
  raised_.emplace(until, node);
}

bool SessionHints::IsLow(NodeId node) const {
  const auto it = entries_.find(node);
  return it != entries_.end() && it->second.hint != SessionHint::kToolPending;
}

void SessionHints::End(Entries::iterator entry, bool used) {
  const auto& [node, of] = *entry;
  for (const Tier tier : kMemory) PREFIXD_CHECK(!IsCandidate(tier, node)) << "node " << node;
  const bool right = used == (of.hint == SessionHint::kToolPending);
  const Outcome outcome = right ? Outcome::kRight : Outcome::kWrong;
  ++counters_->blocks[static_cast<size_t>(of.hint)][static_cast<size_t>(outcome)];
  raised_.erase({of.until, node});
  entries_.erase(entry);
}

void SessionHints::Used(NodeId node) {
  if (const auto it = entries_.find(node); it != entries_.end()) End(it, true);
}

void SessionHints::Lost(NodeId node) {
  if (const auto it = entries_.find(node); it != entries_.end()) End(it, false);
}

void SessionHints::EndExpired(double now) {
  while (!raised_.empty() && raised_.begin()->first <= now)
    End(entries_.find(raised_.begin()->second), false);
}

void SessionHints::AddCandidate(Tier tier, NodeId node) {
  PREFIXD_CHECK(IsLow(node)) << "node " << node;
  const bool added = candidates_[static_cast<size_t>(tier)].emplace(entries_.at(node).order, node).second;
  PREFIXD_CHECK(added) << "node " << node;
}

void SessionHints::RemoveCandidate(Tier tier, NodeId node) {
  const size_t removed = candidates_[static_cast<size_t>(tier)].erase({entries_.at(node).order, node});
  PREFIXD_CHECK(removed == 1) << "node " << node;
}

bool SessionHints::IsCandidate(Tier tier, NodeId node) const {
  const auto it = entries_.find(node);
  return it != entries_.end() && candidates_[static_cast<size_t>(tier)].contains({it->second.order, node});
}

std::optional<NodeId> SessionHints::Victim(Tier tier, const std::function<bool(NodeId)>& may_go) const {
  for (const auto& [order, node] : candidates_[static_cast<size_t>(tier)]) {
    if (may_go(node)) return node;
  }
  return std::nullopt;
}

void SessionHints::CheckInvariants() const {
  for (const auto& candidates : candidates_) {
    for (const auto& [order, node] : candidates)
      PREFIXD_CHECK(IsLow(node) && entries_.at(node).order == order) << "node " << node << " is not low";
  }
  for (const auto& [until, node] : raised_)
    PREFIXD_CHECK(entries_.contains(node) && entries_.at(node).until == until) << "node " << node;
}

}  // namespace prefixd
