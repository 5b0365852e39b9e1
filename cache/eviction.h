// EvictionPolicy: which node loses its block of one tier next. Each tier has a policy of its own. The cache
// tells the policy which nodes have a block in the tier, and which of these are candidates. A node is cached
// in the tier when it has a block there and no lease or running transfer refers to it; it is a candidate
// when, in addition, none of its children is cached there. The policy orders the candidates. Engine thread
// only. A policy reads no clock; NodeUse has the times.
//
// The calls for one node: Insert, then any number of AddCandidate and RemoveCandidate in turns, then Remove.
// The cache calls Hit and Remove while the node is no candidate. The policy checks this order.
//
// Invariants of every policy (CheckInvariants tests them)
//   1. Victim() is a candidate. There is a victim exactly when there is a candidate.
//   2. Victim() is a function of the calls so far. It depends on no address and no hash order.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "cache/node.h"

namespace prefixd {

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  // `node` has got a block in the tier. It is no candidate yet.
  virtual void Insert(NodeId node, const NodeUse& use) = 0;
  // The KV of `node` was taken from the tier, by a lease or by a load to the device. It is not called for
  // KV that came into the tier for this lease, or that another lease computed while this one waited.
  // `use.last_use` is still that of the use before; it is 0 when no lease has given the node back yet.
  virtual void Hit(NodeId node, const NodeUse& use) = 0;
  // `node` has lost its block in the tier, because it was evicted or for another reason.
  virtual void Remove(NodeId node, const NodeUse& use) = 0;
  virtual void AddCandidate(NodeId node, const NodeUse& use) = 0;
  virtual void RemoveCandidate(NodeId node) = 0;
  // What it costs to bring back a node with NodeUse::copied, as a share of what another costs, which has to
  // be computed again; in (0, 1]. Policies without a use for it ignore it.
  virtual void SetCopyCost(double /*share*/) {}
  virtual bool IsCandidate(NodeId node) const = 0;
  // Returns the candidate to evict next, or nothing when there is no candidate.
  virtual std::optional<NodeId> Victim() const = 0;
  virtual void CheckInvariants() const = 0;
};

struct EvictionOptions {
  uint32_t capacity = 0;  // blocks of the tier; above 0
};

// The policies by name, the default first.
std::span<const std::string_view> EvictionPolicyNames();
inline constexpr std::string_view kDefaultEviction = "adaptive";

// Returns the policy of this name for one tier, or null when no policy has the name.
std::unique_ptr<EvictionPolicy> MakeEvictionPolicy(std::string_view name, const EvictionOptions& options);

// No policy uses more memory for a tier of `blocks` blocks, in a tree that never has more than `nodes` nodes.
// `copies`: there may be nodes with NodeUse::copied.
size_t MaxEvictionBytes(size_t blocks, size_t nodes, bool copies);

}  // namespace prefixd
