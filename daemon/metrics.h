// GET /metrics: one snapshot of the books, written in the text format of Prometheus (0.0.4). The only user of
// prometheus-cpp. Any thread.
//
// Invariants
//   1. Every name and every label value is there from the first scrape on, at 0.
//   2. All families of one answer come from one EngineStats, so their sums agree (see the laws in the help texts).
//   3. No label value comes from a request.
#pragma once

#include <string>
#include <string_view>

#include "daemon/process_usage.h"
#include "engine/engine.h"

namespace prefixd {

inline constexpr std::string_view kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

struct MetricsSnapshot {
  EngineStats engine;
  ProcessUsage process;
  std::string model_name;  // as served
  std::string version;
  int block_tokens = 0;
  bool ready = false;
};

std::string RenderMetrics(const MetricsSnapshot& snapshot);

}  // namespace prefixd
