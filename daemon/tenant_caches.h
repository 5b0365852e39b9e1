// What the tenants of the key file may have of the cache, and whether the tiers can give it. Pure functions;
// any thread.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/status.h"
#include "daemon/api/api_key.h"
#include "engine/tenant_caches.h"

namespace prefixd {

// The tenants with limits of the cache.
TenantCaches::List TenantCachesOf(const std::vector<ApiKey>& keys);

// What guarantees may add up to, in bytes by tier: each tenant without one needs room, too.
using CacheRoom = std::array<uint64_t, kTiers>;

// kInvalidArgument: a tenant is guaranteed more than it may have, or all of them more than there is room for.
Status CheckTenantCaches(const std::vector<ApiKey>& keys, const CacheRoom& room);

}  // namespace prefixd
