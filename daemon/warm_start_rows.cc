// The rows of /metrics about the warm start and the hot list.
#include <vector>

#include "daemon/metric_rows.h"

namespace prefixd {
namespace {

using S = MetricsSnapshot;

constexpr std::string_view kWarmBlockNames[kWarmBlocks] = {"loaded", "missing", "damaged", "failed", "late"};
constexpr LabelSet kWarmBlock = {"result", kWarmBlockNames};

}  // namespace

std::span<const MetricRow> WarmStartRows() {
  constexpr auto kCounter = MetricRow::kCounter;
  constexpr auto kGauge = MetricRow::kGauge;
  static const std::vector<MetricRow> rows = {
      {kGauge,
       "prefixd_warm_start_blocks",
       "Blocks that the warm start has tried: loaded, without a record in the remote cache, with the record "
       "of another block, with a load that failed, and those for which the time was up.",
       kWarmBlock,
       {},
       [](const S& s, size_t result, size_t) { return static_cast<double>(s.warm.blocks[result]); }},
      {kGauge,
       "prefixd_warm_start_bytes",
       "Bytes of records that the warm start has read.",
       {},
       {},
       [](const S& s, size_t, size_t) { return static_cast<double>(s.warm.bytes); }},
      {kGauge,
       "prefixd_warm_start_seconds",
       "What the warm start took.",
       {},
       {},
       [](const S& s, size_t, size_t) { return s.warm.seconds; }},
      {kGauge,
       "prefixd_hot_list_blocks",
       "Blocks of the list of what the daemons of the remote cache use most, when this daemon wrote it last.",
       {},
       {},
       [](const S& s, size_t, size_t) { return static_cast<double>(s.hot_list.blocks); }},
      {kCounter,
       "prefixd_hot_list_writes_total",
       "Times that this daemon has written that list.",
       {},
       {},
       [](const S& s, size_t, size_t) { return static_cast<double>(s.hot_list.writes); }},
  };
  return rows;
}

}  // namespace prefixd
