// PolicyHarness: a tree of nodes that drives an EvictionPolicy exactly as cache/eviction.h says, without
// tokens, pools or copies. An evicted node stays in the tree as a ghost until `ghosts` further evictions, as
// in the cache; then its id is given to the next new node. Several leases may be open at once. A lower tier
// can be told: it has copies, and a lease that finds them there continues a cached prefix. One thread.
//
// Invariants (CheckInvariants tests them)
//   1. A node has a block only if its parent has one; a ghost has no child with a block.
//   2. At most `capacity` nodes have a block, and at most `ghosts` nodes are ghosts.
//   3. The candidates of the policy are the nodes with a block that have no lease and no child with a block.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/types.h"
#include "cache/eviction.h"

namespace prefixd {

class PolicyHarness {
 public:
  // `policy` must outlive the harness.
  PolicyHarness(EvictionPolicy* policy, uint32_t capacity, uint32_t ghosts)
      : policy_(*policy), capacity_(capacity), ghost_limit_(ghosts) {}

  struct Lease {
    std::vector<NodeId> path;
    size_t hits = 0;    // leading nodes of the path that had a block
    size_t copies = 0;  // nodes after these that the lower tier had
  };

  // Leases the nodes of `path`, a block per token, and gives a block to each. Evicts for the blocks that are
  // not free before it adds the first. Returns nothing, and changes nothing, when the other leases hold too
  // many blocks.
  std::optional<Lease> Open(std::span<const TokenId> path);
  void Close(const Lease& lease);

  // Tells by the token whether the lower tier has a node. Without it, it has those that were hit.
  void SetLowerTier(std::function<bool(TokenId)> has) { lower_tier_has_ = std::move(has); }

  uint64_t evicted() const { return evicted_; }
  void CheckInvariants() const;

 private:
  struct Node {
    NodeId parent = kNoNode;
    TokenId token = 0;
    NodeUse use;
    bool has_block = false;
    int leases = 0;
    int children_with_block = 0;
    std::optional<std::list<NodeId>::iterator> ghost;
  };

  static void Bump(auto* counter) {
    if (++*counter == 0) --*counter;  // stays at the largest value
  }
  bool ShouldBeCandidate(const Node& node) const {
    return node.has_block && node.leases == 0 && node.children_with_block == 0;
  }
  void Update(NodeId id);  // makes the node a candidate, or none
  void Evict();
  void RemoveGhost(NodeId id);
  NodeId FindOrAdd(NodeId parent, TokenId token, uint32_t depth);
  void Admit(NodeId id);

  EvictionPolicy& policy_;
  std::function<bool(TokenId)> lower_tier_has_;
  const uint32_t capacity_;
  const uint32_t ghost_limit_;
  std::vector<Node> nodes_;
  std::vector<NodeId> free_ids_;
  std::map<std::pair<NodeId, TokenId>, NodeId> children_;
  std::list<NodeId> ghosts_;  // the last evictions, the oldest first; kNoNode: the node has come back
  uint64_t now_ = 0;
  uint32_t blocks_ = 0;
  uint32_t leased_ = 0;
  uint64_t evicted_ = 0;
};

inline std::optional<PolicyHarness::Lease> PolicyHarness::Open(std::span<const TokenId> path) {
  Lease lease;
  uint32_t newly_leased = 0;
  for (const TokenId token : path) {
    const auto child = children_.find({lease.path.empty() ? kNoNode : lease.path.back(), token});
    if (child == children_.end() || !nodes_[child->second].has_block) break;
    lease.path.push_back(child->second);
    newly_leased += nodes_[child->second].leases == 0;
  }
  lease.hits = lease.path.size();
  while (lower_tier_has_ && lease.hits + lease.copies < path.size() &&
         lower_tier_has_(path[lease.hits + lease.copies])) {
    ++lease.copies;
  }
  const uint32_t missing = static_cast<uint32_t>(path.size() - lease.hits);
  if (leased_ + newly_leased + missing > capacity_) return std::nullopt;
  leased_ += newly_leased + missing;
  for (const NodeId id : lease.path) {
    Node& node = nodes_[id];
    ++node.leases;
    Update(id);
    policy_.Hit(id, node.use);
    Bump(&node.use.hits);
  }
  while (capacity_ - blocks_ < missing) Evict();
  for (size_t i = lease.hits; i < path.size(); ++i) {
    const NodeId parent = lease.path.empty() ? kNoNode : lease.path.back();
    lease.path.push_back(FindOrAdd(parent, path[i], static_cast<uint32_t>(i)));
    Admit(lease.path.back());
  }
  return lease;
}

inline void PolicyHarness::Close(const Lease& lease) {
  ++now_;
  const size_t found = lease.hits + lease.copies;
  for (auto id = lease.path.rbegin(); id != lease.path.rend(); ++id) {
    Node& node = nodes_[*id];
    node.use.last_use = now_;
    node.use.request_class = RequestClass(found, lease.path.size() - found);
    if (--node.leases == 0) --leased_;
    Update(*id);
  }
}

inline void PolicyHarness::Update(NodeId id) {
  const Node& node = nodes_[id];
  if (ShouldBeCandidate(node) == policy_.IsCandidate(id)) return;
  if (ShouldBeCandidate(node)) {
    NodeUse use = node.use;
    use.copied = lower_tier_has_ ? lower_tier_has_(node.token) : use.hits > 0;
    policy_.AddCandidate(id, use);
  } else {
    policy_.RemoveCandidate(id);
  }
}

inline void PolicyHarness::Evict() {
  const std::optional<NodeId> victim = policy_.Victim();
  PREFIXD_CHECK(victim.has_value()) << "no victim";
  Node& node = nodes_.at(*victim);
  PREFIXD_CHECK(ShouldBeCandidate(node)) << "victim " << *victim << " is no candidate";
  policy_.RemoveCandidate(*victim);
  node.has_block = false;
  policy_.Remove(*victim, node.use);
  --blocks_;
  ++evicted_;
  if (node.parent != kNoNode) {
    --nodes_[node.parent].children_with_block;
    Update(node.parent);
  }
  node.ghost = ghosts_.insert(ghosts_.end(), *victim);
  if (ghosts_.size() <= ghost_limit_) return;
  if (ghosts_.front() != kNoNode) RemoveGhost(ghosts_.front());
  ghosts_.pop_front();
}

inline void PolicyHarness::RemoveGhost(NodeId id) {
  Node& node = nodes_[id];
  children_.erase({node.parent, node.token});
  node = Node{};
  free_ids_.push_back(id);
}

inline NodeId PolicyHarness::FindOrAdd(NodeId parent, TokenId token, uint32_t depth) {
  const auto [child, is_new] = children_.try_emplace({parent, token}, kNoNode);
  if (!is_new) return child->second;
  if (free_ids_.empty()) {
    free_ids_.push_back(static_cast<NodeId>(nodes_.size()));
    nodes_.emplace_back();
  }
  child->second = free_ids_.back();
  free_ids_.pop_back();
  Node& node = nodes_[child->second];
  node.parent = parent;
  node.token = token;
  node.use.depth = depth;
  return child->second;
}

inline void PolicyHarness::Admit(NodeId id) {
  Node& node = nodes_[id];
  if (node.ghost) **node.ghost = kNoNode;
  node.ghost.reset();
  node.has_block = true;
  node.leases = 1;
  Bump(&node.use.admissions);
  ++blocks_;
  policy_.Insert(id, node.use);
  if (node.parent != kNoNode) ++nodes_[node.parent].children_with_block;
}

inline void PolicyHarness::CheckInvariants() const {
  policy_.CheckInvariants();
  PREFIXD_CHECK(ghosts_.size() <= ghost_limit_);
  uint32_t blocks = 0;
  bool any_candidate = false;
  for (NodeId id = 0; id < nodes_.size(); ++id) {
    const Node& node = nodes_[id];
    blocks += node.has_block;
    if (node.has_block && node.parent != kNoNode) PREFIXD_CHECK(nodes_[node.parent].has_block) << id;
    PREFIXD_CHECK(!node.ghost || (!node.has_block && node.children_with_block == 0)) << id;
    PREFIXD_CHECK(policy_.IsCandidate(id) == ShouldBeCandidate(node)) << id;
    any_candidate = any_candidate || ShouldBeCandidate(node);
  }
  PREFIXD_CHECK(blocks == blocks_ && blocks <= capacity_) << blocks << " blocks, counted " << blocks_;
  PREFIXD_CHECK(policy_.Victim().has_value() == any_candidate);
}

}  // namespace prefixd
