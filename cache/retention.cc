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

void Retention::SetTime(NodeId node, Entry* entry, const Kept& kept) {
  order_.erase(KeyOf(node, *entry));
  if (entry->candidate) candidates_.erase(KeyOf(node, *entry));
  entry->kept.until = std::max(entry->kept.until, kept.until);
  entry->kept.seconds = std::max(entry->kept.seconds, kept.seconds);
  order_.insert(KeyOf(node, *entry));
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
  entry.depth = depth;
  SetTime(node, &entry, kept);
  return true;
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

std::optional<NodeId> Retention::Expired(double now) const {
  if (order_.empty() || std::get<double>(*order_.begin()) > now) return std::nullopt;
  return std::get<2>(*order_.begin());
}

void Retention::CheckInvariants() const {
  PREFIXD_CHECK(entries_.size() <= budget_) << entries_.size() << " nodes are kept, of " << budget_;
  PREFIXD_CHECK(order_.size() == entries_.size()) << order_.size() << " of " << entries_.size();
  size_t candidates = 0;
  for (const auto& [node, entry] : entries_) {
    PREFIXD_CHECK(order_.contains(KeyOf(node, entry))) << "node " << node << " has another time";
    PREFIXD_CHECK(entry.candidate == candidates_.contains(KeyOf(node, entry))) << "node " << node;
    candidates += entry.candidate ? 1 : 0;
  }
  PREFIXD_CHECK(candidates == candidates_.size()) << candidates_.size() - candidates << " are not kept";
}

}  // namespace prefixd
