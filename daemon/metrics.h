// The body of GET /metrics: one snapshot of the engine's statistics in the text format of Prometheus (0.0.4).
// Only metrics.cc includes prometheus-cpp.
//
// Threads: any.
//
// Invariants
//   1. Every name and every label value is present at 0 from the first scrape.
//   2. All values of the engine in one response come from one EngineStats, so the sums stated in the help
//      texts hold. Those of `answers` agree with them when no request is waiting or running.
//   3. No label value comes from a request.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "daemon/api/answer_counters.h"
#include "daemon/api/key_ring.h"
#include "daemon/disk_tier.h"
#include "daemon/hot_list_writer.h"
#include "daemon/http/byte_budget.h"
#include "daemon/process_usage.h"
#include "daemon/remote_tier.h"
#include "daemon/warm_start.h"
#include "engine/engine.h"
#include "events/event_publisher.h"
#include "grammar/constraint_cache.h"

namespace prefixd {

inline constexpr std::string_view kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

struct MetricsSnapshot {
  EngineStats engine;
  ProcessUsage process;
  DiskTierStats disk;
  BlockKey fingerprint;  // of the model
  RemoteTierStats remote;
  WarmStartStats warm;
  HotListStats hot_list;
  InflightStats inflight;
  AnswerCounts answers;
  EventStats events;
  size_t remembered_bytes = 0;  // of the RequestMemory
  grammar::FormatCounts formats;
  std::string model_name;         // as served
  std::string version, revision;  // of prefixd
  int block_tokens = 0;
  bool ready = false;
  uint64_t dropped_admin_streams = 0;
  std::vector<KeyRing::Taken> tenants;  // for operators
};

std::string RenderMetrics(const MetricsSnapshot& snapshot);

}  // namespace prefixd
