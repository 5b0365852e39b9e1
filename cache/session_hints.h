// SessionHints: the nodes of which a client has said whether they will be used again, and what came of it. A
// hint lowers what a node is worth, so that it is evicted before all others in each tier in memory, or raises
// it (the cache keeps the node for a time then). It deletes nothing. A node has one hint at most: the last
// one. Engine thread only.
//
// Costs: O(log size) for each call; Victim() also the candidates that may not go. Memory: an entry of about
// 200 bytes for each node in memory at most.
//
// Invariants (CheckInvariants tests them)
//   1. Every candidate is low. Victim() is the one of the tier that was lowered first, of those that may go.
//   2. Each block that a hint speaks of counts once, when its outcome is known.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
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
  // For how long the blocks of kToolPending are kept, unless they are used.
  static constexpr double kToolSeconds = 120;

  enum class Outcome : uint8_t {
    kRight,  // not used again while it was low; used again while it was kept
    kWrong,
  };
  struct Counters {
    // Blocks, by SessionHint and Outcome.
    std::array<std::array<uint64_t, 2>, kSessionHints> blocks{};
  };

  // `counters` must outlive the result.
  explicit SessionHints(Counters* counters) : counters_(counters) {}

  // Requires that the node is no candidate.
  void Lower(NodeId node, SessionHint hint);
  // The node is kept until then because of a hint.
  void Raise(NodeId node, double until);
  bool IsLow(NodeId node) const;
  // The node was used. Requires that it is no candidate.
  void Used(NodeId node);
  // It has lost its KV in memory. Requires that it is no candidate.
  void Lost(NodeId node);
  // Raised nodes whose time has come.
  void EndExpired(double now);

  // Requires a low node that is no candidate of the tier, or one that is.
  void AddCandidate(Tier tier, NodeId node);
  void RemoveCandidate(Tier tier, NodeId node);
  bool IsCandidate(Tier tier, NodeId node) const;
  // The first candidate that may go.
  std::optional<NodeId> Victim(Tier tier, const std::function<bool(NodeId)>& may_go) const;

  size_t size() const { return entries_.size(); }
  static constexpr size_t kEntryBytes = 256;
  void CheckInvariants() const;

 private:
  struct Entry {
    SessionHint hint = SessionHint::kNone;
    uint64_t order = 0;  // of low nodes
    double until = 0;    // of raised ones
  };
  using Entries = std::unordered_map<NodeId, Entry>;
  void End(Entries::iterator entry, bool used);

  Entries entries_;
  std::set<std::pair<uint64_t, NodeId>> candidates_[kPoolTiers];  // by Entry::order
  std::set<std::pair<double, NodeId>> raised_;                    // by Entry::until
  uint64_t next_ = 0;
  Counters* const counters_;
};

}  // namespace prefixd
