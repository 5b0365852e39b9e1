// What tenants have of the tiers in memory: which blocks go for whom.
#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "cache/prefix_cache_impl.h"

namespace prefixd {

void PrefixCache::Impl::SetTenants(std::vector<TenantBlocks> shares) {
  const auto for_each_block = [this](const auto& visit) {
    for (NodeId node = 0; node < tree.end(); ++node) {
      if (!tree.Contains(node)) continue;
      for (const Tier at : {Tier::kDevice, Tier::kHost}) {
        if (tree.block(node, at) != kNoBlock) visit(node, at);
      }
    }
  };
  for_each_block([this](NodeId node, Tier at) {
    if (tier(at).eviction.IsCandidate(node)) tier(at).eviction.RemoveCandidate(node);
    if (hints.IsCandidate(at, node)) hints.RemoveCandidate(at, node);
  });
  tenant_numbers.clear();
  for (const TenantBlocks& share : shares) {
    const auto number = static_cast<uint32_t>(tenant_numbers.size() + 1);
    PREFIXD_CHECK(tenant_numbers.emplace(share.tenant, number).second)
        << "tenant " << number << " comes twice";
  }
  tenants = std::move(shares);
  for (size_t i = 0; i < kPoolTiers; ++i) {
    std::vector<BlockShare> of_tier;
    for (const TenantBlocks& tenant : tenants) of_tier.push_back(tenant.shares[i]);
    tiers[i]->eviction.SetShares(of_tier);
  }
  tree.TagRoots([this](const BlockKey& root) { return TenantOf(root); });
  for_each_block([this](NodeId node, Tier at) {
    tier(at).eviction.Count(TenantOf(node), 1, tree.references(node) == 0 ? 1 : 0);
    UpdateCandidate(node, at);
  });
  EvictSurplus();
}

uint32_t PrefixCache::Impl::TenantOf(const BlockKey& root) const {
  const auto it = tenant_numbers.find(root.high);
  return it == tenant_numbers.end() ? 0 : it->second;
}

void PrefixCache::Impl::SetLeased(NodeId node, Tier at, bool leased) {
  pool(at).SetLeased(tree.block(node, at), leased);
  if (!tenants.empty()) tier(at).eviction.Count(tree.root_tag(node), 0, leased ? -1 : 1);
}

uint32_t PrefixCache::Impl::RoomFor(uint32_t tenant, Tier at) const {
  return pool(at).free_blocks() + pool(at).cached_blocks() - tier(at).eviction.HeldFrom(tenant);
}

// Requests that run come before what retention keeps, and the guarantees of tenants before both.
std::optional<NodeId> PrefixCache::Impl::VictimFor(uint32_t tenant, Tier at) {
  TenantEviction& eviction = tier(at).eviction;
  if (eviction.IsAtMost(tenant)) {
    if (const std::optional<NodeId> own = OwnVictim(tenant, at)) return own;
  }
  const std::optional<NodeId> low = hints.Victim(at, [&](uint32_t of) { return eviction.MayTake(of); });
  if (low) return low;
  if (const std::optional<NodeId> victim = eviction.Victim()) return victim;
  if (tenants.empty()) return tier(at).retention.Victim();
  if (const std::optional<NodeId> victim = eviction.VictimWithinPart()) return victim;
  const std::optional<NodeId> kept =
      tier(at).retention.Victim([&](NodeId node) { return eviction.MayTake(TenantOf(node)); });
  return kept ? kept : OwnVictim(tenant, at);
}

std::optional<NodeId> PrefixCache::Impl::OwnVictim(uint32_t tenant, Tier at) {
  if (tenant == 0) return std::nullopt;
  const std::optional<NodeId> low = hints.Victim(at, [&](uint32_t of) { return of == tenant; });
  if (low) return low;
  if (const std::optional<NodeId> victim = tier(at).eviction.OwnVictim(tenant)) return victim;
  return tier(at).retention.Victim([&](NodeId node) { return TenantOf(node) == tenant; });
}

void PrefixCache::Impl::EvictSurplus() {
  for (const Tier at : {Tier::kDevice, Tier::kHost}) {
    if (tier(at).eviction.above_most().empty()) continue;
    for (const uint32_t tenant : std::set<uint32_t>(tier(at).eviction.above_most())) {
      while (tier(at).eviction.above_most().contains(tenant)) {
        const std::optional<NodeId> victim = OwnVictim(tenant, at);
        if (!victim) break;
        EvictBlock(*victim, at);
      }
    }
  }
}

void PrefixCache::Impl::CheckTenants() const {
  for (const Tier at : {Tier::kDevice, Tier::kHost}) {
    std::vector<std::pair<uint32_t, uint32_t>> counted(tenants.size() + 1);  // blocks, cached
    for (NodeId node = 0; node < tree.end(); ++node) {
      if (!tree.Contains(node) || tree.block(node, at) == kNoBlock) continue;
      auto& [blocks, cached] = counted.at(TenantOf(node));
      ++blocks;
      cached += tree.references(node) == 0 ? 1 : 0;
    }
    const TenantEviction& eviction = tier(at).eviction;
    for (uint32_t tenant = 1; tenant <= tenants.size(); ++tenant) {
      PREFIXD_CHECK(eviction.blocks(tenant) == counted[tenant].first &&
                    eviction.cached(tenant) == counted[tenant].second)
          << "tenant " << tenant << " has " << counted[tenant].first << " blocks";
    }
  }
}

void PrefixCache::SetTenants(std::vector<TenantBlocks> tenants) {
  PREFIXD_CHECK(impl_->options.tenants) << tenants.size();
  impl_->SetTenants(std::move(tenants));
}

uint32_t PrefixCache::tenant_blocks(size_t number, Tier tier) const {
  return impl_->tier(tier).eviction.blocks(static_cast<uint32_t>(number + 1));
}

uint32_t PrefixCache::RoomFor(const BlockKey& root) const {
  return impl_->RoomFor(impl_->TenantOf(root), Tier::kDevice);
}

}  // namespace prefixd
