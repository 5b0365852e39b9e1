#include "daemon/tenant_caches.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <unordered_set>
#include <utility>

#include "base/bytes.h"
#include "daemon/api/tenant.h"

namespace prefixd {
namespace {

struct TierFields {
  Tier tier;
  std::string_view name;  // of the option
  int64_t TenantLimits::*guaranteed;
  int64_t TenantLimits::*most;
};
constexpr TierFields kTierFields[] = {
    {Tier::kDevice, "device-cache", &TenantLimits::guaranteed_device_cache, &TenantLimits::max_device_cache},
    {Tier::kHost, "host-cache", &TenantLimits::guaranteed_host_cache, &TenantLimits::max_host_cache},
    {Tier::kDisk, "disk-cache", &TenantLimits::guaranteed_disk_cache, &TenantLimits::max_disk_cache}};

}  // namespace

TenantCaches::List TenantCachesOf(const std::vector<ApiKey>& keys) {
  TenantCaches::List list, others;
  std::unordered_set<std::string> known;
  for (const ApiKey& key : keys) {
    TenantCache tenant{.tenant = TenantOf(key)};
    if (!known.insert(tenant.tenant).second) continue;
    if (key.limits.weight > 0) tenant.weight = static_cast<double>(key.limits.weight);
    for (const TierFields& fields : kTierFields) {
      const auto at = static_cast<size_t>(fields.tier);
      tenant.guaranteed[at] = static_cast<uint64_t>(key.limits.*fields.guaranteed);
      tenant.most[at] = static_cast<uint64_t>(key.limits.*fields.most);
    }
    (tenant.has_limits() ? list : others).push_back(std::move(tenant));
  }
  if (known.size() > 1) std::move(others.begin(), others.end(), std::back_inserter(list));
  return list;
}

std::vector<OwnerShare> DiskSharesOf(const std::vector<ApiKey>& keys, const BlockKey& fingerprint) {
  std::vector<OwnerShare> shares;
  std::unordered_set<std::string> known;
  for (const ApiKey& key : keys) {
    const TenantLimits& limits = key.limits;
    if (limits == TenantLimits()) continue;
    const std::string tenant = TenantOf(key);
    if (!known.insert(tenant).second) continue;
    OwnerShare& share = shares.emplace_back();
    share.owner = TenantHalf(fingerprint, tenant);
    share.guaranteed = static_cast<uint64_t>(limits.guaranteed_disk_cache);
    if (limits.max_disk_cache > 0) share.most = static_cast<uint64_t>(limits.max_disk_cache);
    if (limits.weight > 0) share.weight = static_cast<double>(limits.weight);
  }
  return shares;
}

Status CheckTenantCaches(const std::vector<ApiKey>& keys, const CacheRoom& room) {
  const TenantCaches::List tenants = TenantCachesOf(keys);
  for (const TierFields& fields : kTierFields) {
    const auto at = static_cast<size_t>(fields.tier);
    uint64_t sum = 0;
    for (const TenantCache& tenant : tenants) {
      if (tenant.most[at] > 0 && tenant.guaranteed[at] > tenant.most[at]) {
        return InvalidArgument("api-keys: a tenant has guaranteed-" + std::string(fields.name) + "=" +
                               FormatSize(tenant.guaranteed[at]) + ", which is more than its max-" +
                               std::string(fields.name) + "=" + FormatSize(tenant.most[at]));
      }
      sum += tenant.guaranteed[at];
    }
    if (sum <= room[at]) continue;
    return InvalidArgument("api-keys: guaranteed-" + std::string(fields.name) + " of all tenants is " +
                           FormatSize(sum) + ", and at most " + FormatSize(room[at]) +
                           " can be guaranteed; lower it, or enlarge " + std::string(fields.name));
  }
  return Status::Ok();
}

}  // namespace prefixd
