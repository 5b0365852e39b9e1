// SessionHints: the nodes of which a client has said whether they will be used again, and what came of it. A
// hint lowers what a node is worth, so that it is evicted before all others in each tier in memory, or raises
// it (the cache keeps the node for a time then). It deletes nothing. A node has one hint at most: the last
// one. Engine thread only.
//
// Costs: O(log size) for each call; Victim() also O(tenants with candidates). Memory: MaxMemoryBytes().
//
// Invariants (CheckInvariants tests them)
//   1. At most `most_nodes` nodes have a hint. A further hint is ignored, and counted as such.
//   2. Every candidate is low. Victim() is the one of the tier that was lowered first, of those that may go.
//   3. Each block that a hint speaks of counts once, when its outcome is known.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "cache/node.h"
#include "cache/tier.h"

namespace prefixd {

// What a client says of the session of a request.
enum class SessionHint : uint8_t {
  kNone,
  kEnded,        // no further turn comes
  kOneShot,      // nothing continues this prompt
  kToolPending,  // the next turn comes as soon as a tool has answered
};
inline constexpr size_t kSessionHints = 4;

class SessionHints {
 public:
  // For how long the blocks of kToolPending are kept, unless they are used before.
  static constexpr double kToolSeconds = 120;

  enum class Outcome : uint8_t {
    kRight,  // what was low left the memory unused; what was raised was used in time
    kWrong,
    kIgnored,  // too many nodes had a hint, or the budget of what is kept was used
  };
  static constexpr size_t kOutcomes = 3;
  struct Counters {
    // Blocks, by SessionHint and Outcome.
    std::array<std::array<uint64_t, kOutcomes>, kSessionHints> blocks{};
  };

  // `counters` must outlive the result.
  SessionHints(size_t most_nodes, Counters* counters) : most_nodes_(most_nodes), counters_(counters) {}

  // Requires that the node is no candidate. Whoever comes last is right about a node: what an earlier hint
  // said of it is not counted.
  void Lower(NodeId node, SessionHint hint);
  // The node is kept until then because of a hint.
  void Raise(NodeId node, double until);
  void Ignore(SessionHint hint, size_t blocks) { Count(hint, Outcome::kIgnored, blocks); }
  bool IsLow(NodeId node) const;
  // The node was used, which ends its hint. Returns until when it was raised, if it was. Requires that it is
  // no candidate.
  std::optional<double> Used(NodeId node);
  // It has lost its KV in memory. Requires that it is no candidate.
  void Lost(NodeId node);
  // It is taken away by force, which says nothing of its hint. Requires that it is no candidate.
  void Forget(NodeId node);
  // Raised nodes whose time has come.
  void EndExpired(double now);

  // Requires a low node that is no candidate of the tier, or one that is. `tenant` is that of the node: the
  // same in all tiers in which it is a candidate.
  void AddCandidate(Tier tier, NodeId node, uint32_t tenant);
  void RemoveCandidate(Tier tier, NodeId node);
  bool IsCandidate(Tier tier, NodeId node) const;
  // The first candidate of the tenants of which blocks may go.
  std::optional<NodeId> Victim(Tier tier, const std::function<bool(uint32_t)>& may_take) const;

  bool Contains(NodeId node) const { return entries_.contains(node); }
  size_t size() const { return entries_.size(); }
  size_t most_nodes() const { return most_nodes_; }
  static size_t MaxMemoryBytes(size_t most_nodes) { return most_nodes * 144; }
  void CheckInvariants() const;

 private:
  struct Entry {
    uint64_t order = 0;   // of low nodes
    double until = 0;     // of raised ones
    uint32_t tenant = 0;  // of candidates
    SessionHint hint = SessionHint::kNone;
  };
  using Order = std::set<std::pair<uint64_t, NodeId>>;  // by Entry::order
  using Entries = std::unordered_map<NodeId, Entry>;
  void Set(NodeId node, const Entry& entry);
  void End(Entries::iterator entry, bool used);
  void Count(SessionHint hint, Outcome outcome, size_t blocks);

  const size_t most_nodes_;
  Entries entries_;
  std::map<uint32_t, Order> candidates_[kPoolTiers];  // by tenant; none is empty
  std::set<std::pair<double, NodeId>> raised_;        // by Entry::until
  uint64_t next_ = 0;
  Counters* const counters_;
};

}  // namespace prefixd
