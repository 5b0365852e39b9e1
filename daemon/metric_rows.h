// The rows of /metrics: what each metric is called, what it says and where its value comes from. metrics.cc
// renders them. Constants only; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "daemon/metrics.h"

namespace prefixd {

// A label and the closed set of its values.
struct LabelSet {
  std::string_view name;
  std::span<const std::string_view> values;
};

struct MetricRow {
  enum Type : uint8_t { kCounter, kGauge };
  Type type;
  std::string_view name, help;
  LabelSet outer, inner;  // `inner` only with `outer`
  double (*read)(const MetricsSnapshot&, size_t outer, size_t inner);
};

struct HistogramRow {
  std::string_view name, help;
  LabelSet label;
  const LatencyHistogram& (*read)(const MetricsSnapshot&, size_t label);
};

// The tables of rows, in the order of the response. Those of names like "vllm:..." are vLLM's, and also have
// the label model_name.
std::span<const std::span<const MetricRow>> MetricTables();
std::span<const MetricRow> RemoteRows();     // one of them (remote_metric_rows.cc)
std::span<const MetricRow> WarmStartRows();  // one of them (warm_start_rows.cc)
std::span<const HistogramRow> HistogramRows();

}  // namespace prefixd
