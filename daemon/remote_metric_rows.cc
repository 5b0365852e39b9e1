#include <string_view>
#include <vector>

#include "daemon/metric_rows.h"

namespace prefixd {
namespace {

using S = MetricsSnapshot;
constexpr auto kCounter = MetricRow::kCounter;
constexpr auto kGauge = MetricRow::kGauge;
constexpr std::string_view kWriteNames[kRemoteWrites] = {"written", "present", "queue", "full", "failed"};
constexpr std::string_view kLeaseNames[kRemoteLeases] = {"taken", "wanted", "waited", "missed"};
constexpr LabelSet kNoLabel = {};
constexpr LabelSet kRemoteWrite = {"result", kWriteNames};
constexpr LabelSet kRemoteLease = {"result", kLeaseNames};

}  // namespace

std::span<const MetricRow> RemoteRows() {
  static const std::vector<MetricRow> rows = {
      {kCounter, "prefixd_remote_writes_total",
       "Blocks that were to be written to the remote cache: written, present there, or dropped because the "
       "queue or the store was full or the store failed.",
       kRemoteWrite, kNoLabel,
       [](const S& s, size_t result, size_t) { return static_cast<double>(s.remote.writes[result]); }},
      {kCounter, "prefixd_remote_leases_total",
       "Prefixes that this daemon was to compute for all (taken), of these those that another waited for "
       "(wanted); that it waited for (waited), of these those that did not come whole (missed).",
       kRemoteLease, kNoLabel,
       [](const S& s, size_t what, size_t) { return static_cast<double>(s.remote.leases[what]); }},
      {kCounter, "prefixd_remote_finds_total", "Questions to the remote cache which blocks it has.", kNoLabel,
       kNoLabel, [](const S& s, size_t, size_t) { return static_cast<double>(s.remote.finds); }},
      {kGauge, "prefixd_remote_read_per_written",
       "Bytes that the server of the remote cache has sent for each that it has received, lately, of all "
       "daemons; 0: not known.",
       kNoLabel, kNoLabel, [](const S& s, size_t, size_t) { return s.remote.read_per_written; }},
      {kGauge, "prefixd_remote_write_rate_bytes",
       "Bytes that may be written to the remote cache in a second; a tenth of the option while it is seldom "
       "read.",
       kNoLabel, kNoLabel,
       [](const S& s, size_t, size_t) { return static_cast<double>(s.remote.write_rate); }},
      {kCounter, "prefixd_remote_failures_total",
       "Calls to the remote cache that failed or took too long; after each it is left alone for a while.",
       kNoLabel, kNoLabel, [](const S& s, size_t, size_t) { return static_cast<double>(s.remote.failures); }},
  };
  return rows;
}

}  // namespace prefixd
