// TenantEviction: the eviction policy of one tier, and what tenants may have there. A tenant with a share is
// guaranteed so many blocks, and has so many at most. Which node goes first is up to the policy; but no more
// of a tenant's nodes are its candidates than the tenant has blocks above its guarantee and its part. The
// others, those that were used last, are held back. Of these, what is within the guarantee goes for blocks of
// the tenant itself alone, when nothing else is left; what is within the part goes for anybody then.
// Engine thread only.
//
// Half of what is not guaranteed is divided by weight among the tenants that used the tier lately: since
// kIdleTurns times its blocks came. So a tenant that floods the tier does not evict what others use. One
// that is alone has no part: it competes with nobody. All tenants without a share count as one, of weight 1,
// and nothing is held back for them.
//
// Tenants are numbers, NodeUse::tenant: the place of the share plus 1; 0: all without one. A node that has a
// block in the tier is one of its tenant's blocks. It is cached when nothing refers to it.
//
// Costs: those of the policy; for a tenant with a share also O(log candidates) when a node becomes or ceases
// to be a candidate, and for Victim() of what has changed since. Memory: those of the policy, 1 byte for each
// NodeId that the tree has used, and about 200 bytes for each candidate of a tenant with a share.
//
// Invariants (CheckInvariants tests them)
//   1. The nodes of a tenant that are candidates of the policy are at most its blocks above its guarantee and
//      its part, as soon as Victim() is asked; and they were used before those that are held back.
//   2. HeldFrom(t) is the sum, over the other tenants with a share, of the cached blocks that they would lack
//      for their guarantee.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "cache/eviction.h"

namespace prefixd {

// What a tenant may have of a tier, in blocks.
struct BlockShare {
  uint32_t guaranteed = 0;
  uint32_t most = std::numeric_limits<uint32_t>::max();
  double weight = 1;  // > 0
};

class TenantEviction {
 public:
  static constexpr uint64_t kIdleTurns = 8;

  // `capacity` is the blocks of the tier.
  TenantEviction(std::unique_ptr<EvictionPolicy> policy, uint32_t capacity)
      : policy_(std::move(policy)), capacity_(capacity) {}

  // Replaces the shares. Requires that no node is a candidate. The blocks of all tenants count as 0 until
  // Count is told of each.
  void SetShares(const std::vector<BlockShare>& shares);
  // A block of the tenant came or went, and one of its blocks became or ceased to be cached.
  void Count(uint32_t tenant, int blocks, int cached);

  // As those of EvictionPolicy; they count the block, too.
  void Insert(NodeId node, const NodeUse& use);
  void Hit(NodeId node, const NodeUse& use) {
    policy_->Hit(node, use);
    NoteUse(use.tenant);
  }
  void Remove(NodeId node, const NodeUse& use);
  void AddCandidate(NodeId node, const NodeUse& use);
  void RemoveCandidate(NodeId node);
  void SetCopyCost(double share) { policy_->SetCopyCost(share); }
  bool IsCandidate(NodeId node) const {
    return (node < states_.size() && states_[node] != State::kNone) || policy_->IsCandidate(node);
  }

  // The node to evict next, whoever asks.
  std::optional<NodeId> Victim();
  // The node to evict when there is none: within the part of a tenant, and above what it is guaranteed. It is
  // of the tenant that has the most blocks in proportion to its weight. O(tenants).
  std::optional<NodeId> VictimWithinPart() const;
  // The candidate of the tenant that was used the longest ago, whatever its share is.
  std::optional<NodeId> OwnVictim(uint32_t tenant) const;
  // Whether a block of `owner` may be evicted for another tenant.
  bool MayTake(uint32_t owner) const { return owner == 0 || tenants_[owner - 1].excess() > 0; }
  uint32_t HeldFrom(uint32_t tenant) const {
    return static_cast<uint32_t>(held_ - (tenant == 0 ? 0 : tenants_[tenant - 1].held()));
  }
  // Whether one more block would be too many.
  bool IsAtMost(uint32_t tenant) const;
  // The tenants with too many blocks.
  const std::set<uint32_t>& above_most() const { return above_most_; }
  uint32_t blocks(uint32_t tenant) const { return tenants_.at(tenant - 1).blocks; }
  uint32_t cached(uint32_t tenant) const { return tenants_.at(tenant - 1).cached; }
  // Beside the policy, which has MaxEvictionBytes().
  static size_t MaxMemoryBytes(size_t blocks, size_t nodes) { return 2 * nodes + 208 * blocks; }

  void CheckInvariants() const;

 private:
  friend struct TenantEvictionTestPeer;
  // The first goes first: the least recently used, of several the deepest.
  using Order = std::set<std::tuple<uint64_t, uint32_t, NodeId>>;
  enum class State : uint8_t { kNone, kOffered, kHeldBack };
  struct Tenant {
    BlockShare share;
    uint32_t blocks = 0;
    uint32_t cached = 0;  // of them
    Order offered;        // candidates of the policy
    Order held_back;
    bool changed = false;    // since the last Victim()
    bool is_active = false;  // has a part
    uint64_t last_use = 0;   // in blocks that came; 0: never
    uint32_t part = 0;       // above its guarantee

    uint32_t excess() const { return blocks - std::min(blocks, share.guaranteed); }
    uint32_t offer() const { return excess() - std::min(excess(), part); }
    uint64_t held() const { return cached - std::min(cached, excess()); }
  };
  static std::tuple<uint64_t, uint32_t, NodeId> KeyOf(NodeId node, const NodeUse& use) {
    return {use.last_use, ~use.depth, node};
  }
  void NoteChange(uint32_t tenant);
  void NoteUse(uint32_t tenant);
  bool IsActive(const Tenant& tenant) const {
    return tenant.last_use > 0 && inserted_ - tenant.last_use <= kIdleTurns * capacity_;
  }
  void DivideParts();
  void Offer(Tenant* tenant);
  void HoldBack(Tenant* tenant);
  void Balance(Tenant* tenant);

  std::unique_ptr<EvictionPolicy> policy_;
  const uint32_t capacity_;
  Tenant others_;  // without a share
  std::vector<Tenant> tenants_;
  uint64_t inserted_ = 0;                     // blocks that came
  bool parts_changed_ = false;                // a tenant that was idle has used the tier
  uint64_t divide_parts_at_ = 0;              // in blocks that came
  std::vector<State> states_;                 // by node; kNone for those of tenants without a share
  std::unordered_map<NodeId, NodeUse> uses_;  // of the candidates of tenants with one
  std::vector<uint32_t> changed_;             // tenants
  std::set<uint32_t> above_most_;
  uint64_t held_ = 0;
};

}  // namespace prefixd
