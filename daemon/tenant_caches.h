// What the tenants of the key file may have of the cache, and whether the tiers can give it. Pure functions;
// any thread.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/status.h"
#include "daemon/api/api_key.h"
#include "engine/tenant_caches.h"
#include "storage/record_owners.h"

namespace prefixd {

// All tenants of the keys, those with limits of the cache first. One that is alone shares with nobody: then
// it is in the list if it has limits.
TenantCaches::List TenantCachesOf(const std::vector<ApiKey>& keys);

// What tenants may have of a disk cache of this model; not those that have no limits at all.
std::vector<OwnerShare> DiskSharesOf(const std::vector<ApiKey>& keys, const BlockKey& fingerprint);

// What guarantees may add up to, in bytes by tier: each tenant without one needs room, too.
using CacheRoom = std::array<uint64_t, kTiers>;

// kInvalidArgument: a tenant is guaranteed more than it may have, or all of them more than there is room for.
Status CheckTenantCaches(const std::vector<ApiKey>& keys, const CacheRoom& room);

}  // namespace prefixd
