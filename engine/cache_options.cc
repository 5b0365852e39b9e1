#include "engine/cache_options.h"

#include <algorithm>

#include "engine/step_budget.h"

namespace prefixd {

PrefixCache::Options CacheOptions(const EngineOptions& options, const ModelShape& model) {
  PrefixCache::Options cache;
  cache.block_tokens = options.block_tokens;
  cache.blocks = options.blocks;
  cache.reuse = options.prefix_cache;
  cache.residency = options.residency;
  cache.eviction = options.eviction;
  cache.retained_percent = options.retained_percent;
  // By how much the work of a block grows with each block before it.
  cache.cost_per_depth = static_cast<float>(UnitsPerPosition(model) * options.block_tokens);
  cache.host_blocks = options.host_blocks;
  cache.disk = options.disk;
  cache.remote = options.remote;
  cache.write_through = options.write_through;
  cache.spills_slow_steps = options.spills_slow_steps;
  cache.load_policy = options.load_policy;
  cache.losses = options.losses;
  cache.block_seconds = options.load_block_seconds;
  cache.block_bytes = model.Kv(options.block_tokens, options.kv_dtype).BlockBytes();
  // Room for one sequence, but in a small pool spills go on beside it: what is evicted before is lost.
  cache.spill_reserve =
      std::min(static_cast<uint32_t>((options.context + options.block_tokens - 1) / options.block_tokens),
               options.blocks / 4);
  return cache;
}

WhatIf::Options WhatIfOptions(const EngineOptions& options) {
  WhatIf::Options what_if{.block_tokens = options.block_tokens, .eviction = options.eviction};
  if (options.prefix_cache) what_if.blocks = {options.blocks, options.host_blocks, options.disk_blocks};
  return what_if;
}

}  // namespace prefixd
