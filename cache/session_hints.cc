#include "cache/session_hints.h"

#include "base/check.h"

namespace prefixd {
namespace {

constexpr Tier kMemory[] = {Tier::kDevice, Tier::kHost};
constexpr int kMostExpired = 512;  // at a time: the rest next time

}  // namespace

void SessionHints::Count(SessionHint hint, Outcome outcome, size_t blocks) {
  counters_->blocks[static_cast<size_t>(hint)][static_cast<size_t>(outcome)] += blocks;
}

void SessionHints::Set(NodeId node, const Entry& entry) {
  Forget(node);
  if (entries_.size() >= most_nodes_) {
    Ignore(entry.hint, 1);
    return;
  }
  entries_.emplace(node, entry);
  if (entry.hint == SessionHint::kToolPending) raised_.emplace(entry.until, node);
}

void SessionHints::Lower(NodeId node, SessionHint hint) { Set(node, {.order = ++next_, .hint = hint}); }

void SessionHints::Raise(NodeId node, double until) {
  Set(node, {.until = until, .hint = SessionHint::kToolPending});
}

bool SessionHints::IsLow(NodeId node) const {
  const auto it = entries_.find(node);
  return it != entries_.end() && it->second.hint != SessionHint::kToolPending;
}

void SessionHints::End(Entries::iterator entry, bool used) {
  const auto& [node, of] = *entry;
  for (const Tier tier : kMemory) PREFIXD_CHECK(!IsCandidate(tier, node)) << "node " << node;
  const bool right = used == (of.hint == SessionHint::kToolPending);
  Count(of.hint, right ? Outcome::kRight : Outcome::kWrong, 1);
  raised_.erase({of.until, node});
  entries_.erase(entry);
}

std::optional<double> SessionHints::Used(NodeId node) {
  const auto it = entries_.find(node);
  if (it == entries_.end()) return std::nullopt;
  const Entry entry = it->second;
  End(it, true);
  return entry.hint == SessionHint::kToolPending ? std::optional(entry.until) : std::nullopt;
}

void SessionHints::Lost(NodeId node) {
  if (const auto it = entries_.find(node); it != entries_.end()) End(it, false);
}

void SessionHints::Forget(NodeId node) {
  for (const Tier tier : kMemory) PREFIXD_CHECK(!IsCandidate(tier, node)) << "node " << node;
  const auto it = entries_.find(node);
  if (it == entries_.end()) return;
  raised_.erase({it->second.until, node});
  entries_.erase(it);
}

void SessionHints::EndExpired(double now) {
  for (int ended = 0; ended < kMostExpired && !raised_.empty() && raised_.begin()->first <= now; ++ended)
    End(entries_.find(raised_.begin()->second), false);
}

void SessionHints::AddCandidate(Tier tier, NodeId node, uint32_t tenant) {
  PREFIXD_CHECK(IsLow(node)) << "node " << node;
  Entry& entry = entries_.at(node);
  for (const Tier other : kMemory)
    PREFIXD_CHECK(!IsCandidate(other, node) || (other != tier && entry.tenant == tenant)) << "node " << node;
  entry.tenant = tenant;
  candidates_[static_cast<size_t>(tier)][tenant].emplace(entry.order, node);
}

void SessionHints::RemoveCandidate(Tier tier, NodeId node) {
  PREFIXD_CHECK(IsCandidate(tier, node)) << "node " << node;
  const Entry& entry = entries_.at(node);
  auto& tenants = candidates_[static_cast<size_t>(tier)];
  const auto of = tenants.find(entry.tenant);
  of->second.erase({entry.order, node});
  if (of->second.empty()) tenants.erase(of);
}

bool SessionHints::IsCandidate(Tier tier, NodeId node) const {
  const auto it = entries_.find(node);
  if (it == entries_.end()) return false;
  const auto& tenants = candidates_[static_cast<size_t>(tier)];
  const auto of = tenants.find(it->second.tenant);
  return of != tenants.end() && of->second.contains({it->second.order, node});
}

std::optional<NodeId> SessionHints::Victim(Tier tier, const std::function<bool(uint32_t)>& may_take) const {
  const std::pair<uint64_t, NodeId>* first = nullptr;
  for (const auto& [tenant, nodes] : candidates_[static_cast<size_t>(tier)]) {
    if (may_take(tenant) && (first == nullptr || *nodes.begin() < *first)) first = &*nodes.begin();
  }
  return first == nullptr ? std::nullopt : std::optional(first->second);
}

void SessionHints::CheckInvariants() const {
  PREFIXD_CHECK(entries_.size() <= most_nodes_) << entries_.size() << " nodes have a hint";
  for (const auto& tenants : candidates_) {
    for (const auto& [tenant, nodes] : tenants) {
      PREFIXD_CHECK(!nodes.empty()) << "tenant " << tenant;
      for (const auto& [order, node] : nodes)
        PREFIXD_CHECK(IsLow(node) && entries_.at(node).order == order && entries_.at(node).tenant == tenant)
            << "node " << node << " is not low";
    }
  }
  for (const auto& [until, node] : raised_)
    PREFIXD_CHECK(entries_.contains(node) && entries_.at(node).until == until) << "node " << node;
}

}  // namespace prefixd
