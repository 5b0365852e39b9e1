#include "daemon/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <limits>
#include <map>
#include <span>
#include <sstream>
#include <utility>
#include <vector>

#include "daemon/metric_rows.h"
#include "hashing/block_key.h"

namespace prefixd {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using S = MetricsSnapshot;

std::vector<ClientMetric::Label> CommonLabels(std::string_view name, const S& snapshot) {
  if (!name.starts_with("vllm:")) return {};
  return {{"model_name", snapshot.model_name}};
}

MetricFamily MakeFamily(const MetricRow& row, const S& snapshot) {
  MetricFamily family{std::string(row.name),
                      std::string(row.help),
                      row.type == MetricRow::kCounter ? MetricType::Counter : MetricType::Gauge,
                      {}};
  const auto add = [&](size_t outer, size_t inner) {
    ClientMetric metric;
    metric.label = CommonLabels(row.name, snapshot);
    if (!row.outer.name.empty())
      metric.label.push_back({std::string(row.outer.name), std::string(row.outer.values[outer])});
    if (!row.inner.name.empty())
      metric.label.push_back({std::string(row.inner.name), std::string(row.inner.values[inner])});
    const double value = row.read(snapshot, outer, inner);
    (row.type == MetricRow::kCounter ? metric.counter.value : metric.gauge.value) = value;
    family.metric.push_back(std::move(metric));
  };
  for (size_t outer = 0; outer < std::max<size_t>(1, row.outer.values.size()); ++outer) {
    for (size_t inner = 0; inner < std::max<size_t>(1, row.inner.values.size()); ++inner) add(outer, inner);
  }
  return family;
}

MetricFamily MakeFamily(const HistogramRow& row, const S& snapshot) {
  MetricFamily family{std::string(row.name), std::string(row.help), MetricType::Histogram, {}};
  for (size_t label = 0; label < std::max<size_t>(1, row.label.values.size()); ++label) {
    const LatencyHistogram& source = row.read(snapshot, label);
    ClientMetric metric;
    metric.label = CommonLabels(row.name, snapshot);
    if (!row.label.name.empty())
      metric.label.push_back({std::string(row.label.name), std::string(row.label.values[label])});
    uint64_t cumulative = 0;
    for (size_t i = 0; i <= source.bounds.size(); ++i) {
      cumulative += source.counts[i];
      const double bound =
          i < source.bounds.size() ? source.bounds[i] : std::numeric_limits<double>::infinity();
      metric.histogram.bucket.push_back({cumulative, bound});
    }
    metric.histogram.sample_count = cumulative;
    metric.histogram.sample_sum = source.sum;
    family.metric.push_back(std::move(metric));
  }
  return family;
}

// What the tenants of the key file have taken.
MetricFamily MakeTenants(std::string name, std::string help, const S& snapshot, int64_t KeyRing::Taken::*of) {
  MetricFamily family{std::move(name), std::move(help), MetricType::Counter, {}};
  for (const KeyRing::Taken& taken : snapshot.tenants) {
    ClientMetric metric;
    metric.label = {{"tenant", taken.tenant}};
    metric.counter.value = static_cast<double>(taken.*of);
    family.metric.push_back(std::move(metric));
  }
  return family;
}

// The bytes of the cache that named tenants have, of those with limits of the cache.
MetricFamily MakeTenantCaches(const S& snapshot) {
  MetricFamily family{
      "prefixd_tenant_cache_bytes",
      "Bytes of a tenant that has limits of the cache, by tier: of KV, on the disk of records.",
      MetricType::Gauge,
      {}};
  if (snapshot.engine.tenants == nullptr) return family;
  std::map<std::string_view, size_t> places;
  for (const TenantCache& tenant : *snapshot.engine.tenants) places.emplace(tenant.tenant, places.size());
  for (const KeyRing::Taken& taken : snapshot.tenants) {
    const auto place = places.find(taken.id);
    if (place == places.end() || place->second >= snapshot.engine.tenant_blocks.size()) continue;
    for (size_t tier = 0; tier < kPoolTiers; ++tier) {
      ClientMetric metric;
      metric.label = {{"tenant", taken.tenant}, {"tier", tier == 0 ? "device" : "host"}};
      metric.gauge.value = static_cast<double>(snapshot.engine.tenant_blocks[place->second][tier] *
                                               snapshot.engine.block_bytes);
      family.metric.push_back(std::move(metric));
    }
    if (!snapshot.disk.on) continue;
    ClientMetric metric;
    metric.label = {{"tenant", taken.tenant}, {"tier", "disk"}};
    const auto owned = snapshot.disk.owned_bytes.find(TenantHalf(snapshot.fingerprint, taken.id));
    metric.gauge.value = owned == snapshot.disk.owned_bytes.end() ? 0 : static_cast<double>(owned->second);
    family.metric.push_back(std::move(metric));
  }
  return family;
}

// A gauge of constant 1; its labels are the information.
MetricFamily MakeInfo(std::string name, std::string help, std::vector<ClientMetric::Label> labels) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = 1;
  return {std::move(name), std::move(help), MetricType::Gauge, {std::move(metric)}};
}

}  // namespace

std::string RenderMetrics(const MetricsSnapshot& snapshot) {
  std::vector<MetricFamily> families;
  for (const std::span<const MetricRow> rows : MetricTables()) {
    for (const MetricRow& row : rows) families.push_back(MakeFamily(row, snapshot));
  }
  for (const HistogramRow& row : HistogramRows()) families.push_back(MakeFamily(row, snapshot));
  if (!snapshot.tenants.empty()) {
    families.push_back(MakeTenants("prefixd_tenant_requests_total",
                                   "Requests that a tenant has sent and that its limit did not refuse; "
                                   "without a name: keys that are tenants of their own.",
                                   snapshot, &KeyRing::Taken::requests));
    families.push_back(MakeTenants("prefixd_tenant_tokens_total",
                                   "Tokens of prompts and answers of a tenant; at rest the sum of "
                                   "usage.total_tokens, unanswered requests included.",
                                   snapshot, &KeyRing::Taken::tokens));
    if (MetricFamily caches = MakeTenantCaches(snapshot); !caches.metric.empty())
      families.push_back(std::move(caches));
  }
  families.push_back(MakeInfo("prefixd_build_info",
                              "Version of prefixd, and the commit that it was built from.",
                              {{"version", snapshot.version}, {"revision", snapshot.revision}}));
  families.push_back(MakeInfo("vllm:cache_config_info", "Geometry of the KV cache.",
                              {{"model_name", snapshot.model_name},
                               {"block_size", std::to_string(snapshot.block_tokens)},
                               {"num_gpu_blocks", std::to_string(snapshot.engine.blocks[0].capacity())}}));
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return std::move(out).str();
}

}  // namespace prefixd
