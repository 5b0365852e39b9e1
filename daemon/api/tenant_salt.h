// The salt that keeps the cached prefixes of tenants apart. Roots on the disk are made of it, so a change
// makes the records of all tenants with an API key unreachable. Pure function; any thread.
#pragma once

#include <string>
#include <string_view>

namespace prefixd {

// `api_key` is empty when no keys are configured; `cache_salt` when the request has none.
inline std::string JoinTenantSalt(std::string_view api_key, std::string_view cache_salt) {
  if (api_key.empty()) return std::string(cache_salt);
  // The length separates key and salt unambiguously.
  return std::to_string(api_key.size()) + ":" + std::string(api_key) + std::string(cache_salt);
}

}  // namespace prefixd
