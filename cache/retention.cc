#include "cache/retention.h"

#include <algorithm>

#include "base/check.h"

namespace prefixd {

double PrefixUse::SecondsAt(int begin) const {
  double seconds = 0;
  for (const Breakpoint& breakpoint : breakpoints)
    if (breakpoint.tokens > begin) seconds = std::max(seconds, breakpoint.seconds);
  return seconds;
}

int PrefixUse::TokensFor(double at_least) const {
  int tokens = 0;
  for (const Breakpoint& breakpoint : breakpoints)
    if (breakpoint.seconds >= at_least) tokens = std::max(tokens, breakpoint.tokens);
  return tokens;
}

void Retention::AddOwned(NodeId node, const Entry& entry) {
  Order& owned = owned_[entry.kept.owner];
  sizes_.erase({owned.size(), entry.kept.owner});
  owned.insert(KeyOf(node, entry));
  sizes_.insert({owned.size(), entry.kept.owner});
}

void Retention::RemoveOwned(NodeId node, const Entry& entry) {
  const auto it = owned_.find(entry.kept.owner);
  sizes_.erase({it->second.size(), entry.kept.owner});
  it->second.erase(KeyOf(node, entry));
  if (it->second.empty()) {
    owned_.erase(it);
  } else {
    sizes_.insert({it->second.size(), entry.kept.owner});
  }
}

size_t Retention::OwnedBy(uint64_t owner) const {
  const auto it = owned_.find(owner);
  return it == owned_.end() ? 0 : it->second.size();
}

std::optional<NodeId> Retention::Surplus(uint64_t owner) const {
  auto most = sizes_.rbegin();
  if (most != sizes_.rend() && most->second == kOperator) ++most;
  if (most == sizes_.rend() || most->first < OwnedBy(owner) + 2) return std::nullopt;
  return std::get<2>(*owned_.at(most->second).begin());
}

void Retention::SetTime(NodeId node, Entry* entry, const Kept& kept) {
  order_.erase(KeyOf(node, *entry));
  RemoveOwned(node, *entry);
  if (entry->candidate) candidates_.erase(KeyOf(node, *entry));
  entry->kept.until = std::max(entry->kept.until, kept.until);
  entry->kept.seconds = std::max(entry->kept.seconds, kept.seconds);
  order_.insert(KeyOf(node, *entry));
  AddOwned(node, *entry);
  if (entry->candidate) candidates_.insert(KeyOf(node, *entry));
}

bool Retention::Keep(NodeId node, const Kept& kept, uint32_t depth) {
  const auto it = entries_.find(node);
  if (it != entries_.end()) {
    SetTime(node, &it->second, kept);
    return true;
  }
  if (entries_.size() >= budget_) return false;
  Entry& entry = entries_[node];
  entry = {.kept = kept, .depth = depth};
  order_.insert(KeyOf(node, entry));
  AddOwned(node, entry);
  return true;
}

bool Retention::Pin(NodeId node, uint32_t depth) {
  constexpr double kForever = 1e18;
  if (IsPinned(node)) return true;
  if (pinned() >= most_pinned()) return false;
  const Kept kept{.until = kForever, .owner = kOperator};
  const auto it = entries_.find(node);
  if (it == entries_.end()) return Keep(node, kept, depth);
  RemoveOwned(node, it->second);
  it->second.kept.owner = kOperator;
  AddOwned(node, it->second);
  SetTime(node, &it->second, kept);
  return true;
}

bool Retention::IsPinned(NodeId node) const {
  const Kept* kept = Find(node);
  return kept != nullptr && kept->owner == kOperator;
}

void Retention::Use(NodeId node, double now) {
  const auto it = entries_.find(node);
  if (it == entries_.end()) return;
  const double seconds = it->second.kept.seconds;
  SetTime(node, &it->second, {.until = now + seconds, .seconds = seconds});
}

void Retention::Forget(NodeId node) {
  const auto it = entries_.find(node);
  if (it == entries_.end()) return;
  PREFIXD_CHECK(!it->second.candidate) << "node " << node << " is a candidate";
  order_.erase(KeyOf(node, it->second));
  RemoveOwned(node, it->second);
  entries_.erase(it);
}

const Retention::Kept* Retention::Find(NodeId node) const {
  const auto it = entries_.find(node);
  return it == entries_.end() ? nullptr : &it->second.kept;
}

void Retention::AddCandidate(NodeId node) {
  const auto it = entries_.find(node);
  PREFIXD_CHECK(it != entries_.end() && !it->second.candidate) << "node " << node;
  it->second.candidate = true;
  candidates_.insert(KeyOf(node, it->second));
}

void Retention::RemoveCandidate(NodeId node) {
  const auto it = entries_.find(node);
  PREFIXD_CHECK(it != entries_.end() && it->second.candidate) << "node " << node;
  it->second.candidate = false;
  candidates_.erase(KeyOf(node, it->second));
}

bool Retention::IsCandidate(NodeId node) const {
  const auto it = entries_.find(node);
  return it != entries_.end() && it->second.candidate;
}

std::optional<NodeId> Retention::Victim() const {
  if (candidates_.empty()) return std::nullopt;
  return std::get<2>(*candidates_.begin());
}

std::optional<NodeId> Retention::Victim(const std::function<bool(NodeId)>& may_go) const {
  for (const auto& [until, depth, node] : candidates_) {
    if (may_go(node)) return node;
  }
  return std::nullopt;
}

std::optional<NodeId> Retention::Expired(double now) const {
  if (order_.empty() || std::get<double>(*order_.begin()) > now) return std::nullopt;
  return std::get<2>(*order_.begin());
}

void Retention::CheckInvariants() const {
  PREFIXD_CHECK(entries_.size() <= budget_) << entries_.size() << " nodes are kept, of " << budget_;
  PREFIXD_CHECK(order_.size() == entries_.size()) << order_.size() << " of " << entries_.size();
  size_t owned = 0;
  for (const auto& [owner, nodes] : owned_) {
    owned += nodes.size();
    PREFIXD_CHECK(!nodes.empty() && sizes_.contains({nodes.size(), owner})) << "owner " << owner;
  }
  PREFIXD_CHECK(owned == entries_.size() && sizes_.size() == owned_.size())
      << owned << " nodes of " << entries_.size() << " have owners";
  size_t candidates = 0;
  for (const auto& [node, entry] : entries_) {
    PREFIXD_CHECK(order_.contains(KeyOf(node, entry)) &&
                  owned_.at(entry.kept.owner).contains(KeyOf(node, entry)))
        << "node " << node << " has another time";
    PREFIXD_CHECK(entry.candidate == candidates_.contains(KeyOf(node, entry))) << "node " << node;
    candidates += entry.candidate ? 1 : 0;
  }
  PREFIXD_CHECK(candidates == candidates_.size()) << candidates_.size() - candidates << " are not kept";
}

}  // namespace prefixd
