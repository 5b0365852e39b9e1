// LoadEngine: makes the engine of a plan, with the model, its backend and the tiers.
//
// Threads: any one thread calls it; what it returns belongs to the caller.
#pragma once

#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"
#include "daemon/cache_actions.h"
#include "daemon/hot_list_writer.h"
#include "daemon/kv_events.h"
#include "daemon/page_cache_fill.h"
#include "daemon/serve_plan.h"
#include "daemon/tiers.h"
#include "daemon/warm_start.h"
#include "engine/engine.h"
#include "engine/loaded_model.h"
#include "kernels/backend.h"

namespace prefixd {

// The engine and what it uses, in the order of construction. The events must be stopped before the engine is
// destroyed.
struct LoadedEngine {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<LoadedModel> model;
  std::unique_ptr<KvEvents> events;  // null: none
  std::unique_ptr<Tiers> tiers;
  std::unique_ptr<HotListWriter> hot_list;  // null: there is no warm start
  std::unique_ptr<Executor> mask_executor;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<CacheActions> actions;      // destroyed first
  std::unique_ptr<PageCacheFill> page_cache;  // null: nothing to fill

  // Tells the API what it serves.
  void Describe(ApiContext* context) const;
  // What the tenants of these keys may have of the cache, in every tier. Any thread.
  void SetTenants(const std::vector<ApiKey>& keys);
  // Begins to bring into the page cache what the start has read past it, if there is memory for it.
  void FillPageCache();
  // Lets go of the cache. May wait for the disk.
  void Close();
};

// `described` is that of the plan. `draws` as in load_report.h. On an error *code is the exit code to use.
// Memory that a device lacks is kResourceExhausted, with what each part of the plan needs. Where there is a
// warm start, `warm` runs it.
Result<LoadedEngine> LoadEngine(const Options& options, const ServePlan& plan, DescribedModel described,
                                const Clock* clock, bool draws, WarmStart* warm, ExitCode* code);

}  // namespace prefixd
