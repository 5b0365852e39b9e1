// Retention: the nodes of one tier in memory that requests have asked to keep, each until a time. The cache
// evicts other nodes first. Of those that are kept, one is evicted only when nothing else is left, so that
// requests that run get their blocks: first the one that would be kept the shortest. Times are passed in, in
// seconds; there is no clock. Engine thread only.
//
// Owners share the budget: one may use all of it while no other asks, and then gives up what is beyond an
// equal share, what would be kept the shortest first.
//
// Costs: O(log size) for each call. Memory: at most `budget` entries of about 300 bytes.
//
// Invariants (CheckInvariants tests them)
//   1. size() <= budget: what is beyond it is not kept.
//   2. Every candidate is kept. Victim() is a candidate; there is one exactly when there is a candidate.
//   3. A node is kept until its time, unless the cache forgets it. Its time never falls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cache/node.h"
#include "cache/session_hints.h"

namespace prefixd {

// A request asks to keep its first `tokens` tokens for `seconds` after each use. They may end within a block.
struct Breakpoint {
  int tokens = 0;      // > 0
  double seconds = 0;  // > 0
};

// What a request says of its prefix: what is kept of it, and how much of it others may use.
struct PrefixUse {
  std::vector<Breakpoint> breakpoints;                // in ascending order of tokens
  uint64_t owner = 0;                                 // equal for all requests of one tenant
  int write_limit = std::numeric_limits<int>::max();  // tokens behind it do not enter the cache
  SessionHint hint = SessionHint::kNone;              // of the prompt and what is generated

  // For how long the block of the tokens [begin, ..) is kept; 0: it is not.
  double SecondsAt(int begin) const;
  // How many leading tokens are kept for at least `at_least` seconds.
  int TokensFor(double at_least) const;
  int asked_tokens() const { return breakpoints.empty() ? 0 : breakpoints.back().tokens; }
};

class Retention {
 public:
  struct Kept {
    double until = 0;
    double seconds = 0;  // a use at time t keeps the node until t + seconds
    uint64_t owner = 0;  // whose part of the budget it takes: that of the first request that keeps it
  };

  // The owner of what operators pin. It has at most half of the budget, and gives up nothing.
  static constexpr uint64_t kOperator = std::numeric_limits<uint64_t>::max();

  explicit Retention(size_t budget) : budget_(budget) {}

  // Keeps the node, or keeps it longer. Returns false, and changes nothing, when it is not kept yet and the
  // budget is used.
  bool Keep(NodeId node, const Kept& kept, uint32_t depth);
  // Pins the node: kOperator keeps it, and did another before. Returns false, and changes nothing, when it is
  // not pinned yet and there is no room for it.
  bool Pin(NodeId node, uint32_t depth);
  bool IsPinned(NodeId node) const;
  size_t pinned() const { return OwnedBy(kOperator); }
  size_t most_pinned() const { return budget_ / 2; }
  // The node to give up so that `owner` can keep another one: of the owner that keeps the most, if that is at
  // least two more than `owner` keeps.
  std::optional<NodeId> Surplus(uint64_t owner) const;
  // The node was used at `now`. No effect when it is not kept.
  void Use(NodeId node, double now);
  // No effect when it is not kept. Requires that it is no candidate.
  void Forget(NodeId node);
  // Null when the node is not kept. Valid until the next change.
  const Kept* Find(NodeId node) const;

  // Requires a node that is kept and no candidate, or one that is.
  void AddCandidate(NodeId node);
  void RemoveCandidate(NodeId node);
  bool IsCandidate(NodeId node) const;
  std::optional<NodeId> Victim() const;
  // The first one that may go; O(candidates).
  std::optional<NodeId> Victim(const std::function<bool(NodeId)>& may_go) const;
  // A node whose time has come, the first one first.
  std::optional<NodeId> Expired(double now) const;

  size_t size() const { return entries_.size(); }
  size_t budget() const { return budget_; }
  static size_t MaxMemoryBytes(size_t budget) { return budget * 384; }
  void CheckInvariants() const;

 private:
  struct Entry {
    Kept kept;
    uint32_t depth = 0;
    bool candidate = false;
  };
  // By time; of nodes with the same time the deepest first.
  using Order = std::set<std::tuple<double, uint32_t, NodeId>>;
  static std::tuple<double, uint32_t, NodeId> KeyOf(NodeId node, const Entry& entry) {
    return {entry.kept.until, ~entry.depth, node};
  }
  void SetTime(NodeId node, Entry* entry, const Kept& kept);

  void AddOwned(NodeId node, const Entry& entry);
  void RemoveOwned(NodeId node, const Entry& entry);
  size_t OwnedBy(uint64_t owner) const;

  const size_t budget_;
  std::unordered_map<NodeId, Entry> entries_;
  Order order_, candidates_;
  std::map<uint64_t, Order> owned_;              // by owner; none is empty
  std::set<std::pair<size_t, uint64_t>> sizes_;  // of those, with the owner
};

}  // namespace prefixd
