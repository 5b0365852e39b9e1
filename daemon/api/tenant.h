// The namespaces that keep the cached prefixes of tenants apart (docs/FORMAT.md, "Namespaces"). Roots on the
// disk are made of them, so a change makes the records of all tenants unreachable. Pure functions; any
// thread.
#pragma once

#include <string>
#include <string_view>

#include "daemon/api/api_key.h"
#include "engine/request.h"

namespace prefixd {

// The 32 bytes that all namespaces of the tenant of a key have in common.
inline std::string TenantOf(const ApiKey& key) {
  const Digest secret = key.tenant.empty() ? key.hash : HmacSha256("pfxNAME1", key.tenant);
  return std::string(BytesOf(HmacSha256(BytesOf(secret), "pfxTENT1")));
}

// No client can choose a salt that has the namespace of another tenant: the key of the HMAC is the tenant's.
inline CacheNamespace NamespaceOf(const ApiKey& key, std::string_view cache_salt) {
  const std::string tenant = TenantOf(key);
  const Digest salt = HmacSha256(tenant, "pfxSALT1" + std::string(cache_salt));
  return {.tenant = tenant, .salt = std::string(BytesOf(salt))};
}

}  // namespace prefixd
