// EngineStats: what the engine counts. Plain values; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/latency_histogram.h"
#include "cache/prefix_cache.h"
#include "cache/what_if.h"
#include "engine/request.h"
#include "engine/tenant_caches.h"
#include "kernels/attention_reads.h"

namespace prefixd {

// The blocks of a pool tier; they sum to its capacity.
struct BlockCounts {
  uint32_t free = 0, cached = 0, leased = 0;
  uint32_t kept = 0, most_kept = 0;  // by retention, of the cached and leased ones; its budget
  uint32_t capacity() const { return free + cached + leased; }
};

// A snapshot of the engine's statistics, before the events that it counts reach the listeners. So a listener
// that has an event finds it counted. Counters only grow. A request that Submit has accepted is in `running`
// or in `waiting` until its finish is counted.
struct EngineStats {
  int running = 0, waiting = 0;
  std::array<BlockCounts, kPoolTiers> blocks{};  // by tier
  uint64_t block_bytes = 0;
  double spill_cost = 0, spill_chance = 0;              // see SpillBudget
  uint64_t pending_disk_blocks = 0;                     // to be written to the disk tier, or being written
  bool spills_all = false;                              // what Engine::SpillAll asked for is part of them
  std::array<uint64_t, kTokenSources> prompt_tokens{};  // by TokenSource; counted when the prompt is computed
  std::array<uint64_t, kMissReasons> miss_tokens{};     // by MissReason; sums to prompt_tokens[kComputed]
  uint64_t recomputed_tokens = 0;                       // computed again after a preemption
  std::array<uint64_t, kTokenSources> repeated_prompt_tokens{};  // those of Request::repeats_prompt
  std::array<uint64_t, kWriteKinds> written_tokens{};            // that became reusable; see WriteKind
  uint64_t generation_tokens = 0;                                // reported to a listener
  uint64_t forced_tokens = 0;   // of these, appended without a step, because the format allowed no other
  uint64_t refused_tokens = 0;  // drawn and not generated (ConstraintState::Refuses)
  uint64_t late_masks = 0;      // for which a sequence waited (engine/mask_maker.h)
  // Drawn for a request that was cancelled while its step was in flight, or that ended in the step before.
  uint64_t dropped_tokens = 0;
  uint64_t prefix_query_tokens = 0,
           prefix_hit_tokens = 0;  // prompt tokens: all, and those taken from the cache
  uint64_t preemptions = 0;
  std::array<uint64_t, kFinishReasons> finished{};
  // What computing the tokens of prompts that a tier had would have taken, by the estimates of their time.
  double prefill_seconds_saved = 0;
  double prefill_tokens_per_second = 0;                // see StepBudget::prompt_unit_seconds; 0: not known
  std::array<double, kTiers> tier_bytes_per_second{};  // of loads, see LoadPlanner; 0: not known
  // Of the engine thread: taking ended transfers, starting spills, giving back blocks, and planning steps,
  // which decides about loads. 0 without lower tiers.
  double tier_seconds = 0;
  double draw_cpu_seconds = 0;  // see ModelRunner::draw_cpu_seconds
  uint64_t steps_ahead = 0;     // launched while the step before was in flight
  uint64_t failed_steps = 0;    // of the backend
  int failed_steps_in_row = 0;  // since the last step that succeeded
  LatencyHistogram time_to_first_token{kFirstTokenBounds}, inter_token{kInterTokenBounds},
      end_to_end{kRequestBounds}, queue_time{kRequestBounds}, step_time{kStepBounds};
  AttentionReads attention;  // of the steps that were collected
  PrefixCacheStats cache;
  WhatIf::HitTokens ghost_hit_tokens{};  // of tiers of other sizes
  TransferStats transfers;
  // What tenants may have of the cache, and the blocks that those with limits have, by pool tier.
  std::shared_ptr<const TenantCaches::List> tenants;  // never null after the first step
  std::vector<std::array<uint32_t, kPoolTiers>> tenant_blocks;
};

// Reads what a cache says of itself and of `tenants`.
void ReadCache(const PrefixCache& cache, const std::shared_ptr<const TenantCaches::List>& tenants,
               EngineStats* stats);

// As callers may see them: what another tenant has counts as never seen.
inline EngineStats WithoutTenants(EngineStats stats) {
  uint64_t& foreign = stats.miss_tokens[static_cast<size_t>(MissReason::kOtherTenant)];
  stats.miss_tokens[static_cast<size_t>(MissReason::kNeverSeen)] += std::exchange(foreign, 0);
  return stats;
}

}  // namespace prefixd
