#include "engine/engine_stats.h"

namespace prefixd {

void ReadCache(const PrefixCache& cache, const std::shared_ptr<const TenantCaches::List>& tenants,
               EngineStats* stats) {
  for (const Tier tier : {Tier::kDevice, Tier::kHost})
    stats->blocks[static_cast<size_t>(tier)] = {cache.free_blocks(tier), cache.cached_blocks(tier),
                                                cache.leased_blocks(tier), cache.kept_blocks(tier),
                                                cache.most_kept_blocks(tier)};
  for (const Tier tier : kLowerTiers)
    stats->tier_bytes_per_second[static_cast<size_t>(tier)] = cache.load_planner().bytes_per_second(tier);
  stats->pending_disk_blocks = cache.pending_disk_blocks();
  stats->spill_cost = cache.spill_budget().cost();
  stats->spill_chance = cache.spill_budget().chance();
  stats->cache = cache.stats();
  stats->tenants = tenants;
  stats->tenant_blocks.clear();
  for (size_t i = 0; i < tenants->size() && (*tenants)[i].has_limits(); ++i) {
    stats->tenant_blocks.emplace_back();
    for (const Tier tier : {Tier::kDevice, Tier::kHost})
      stats->tenant_blocks[i][static_cast<size_t>(tier)] = cache.tenant_blocks(i, tier);
  }
}

}  // namespace prefixd
