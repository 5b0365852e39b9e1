#include "daemon/api/key_ring.h"

#include <map>
#include <unordered_map>
#include <utility>

#include "daemon/api/tenant.h"

namespace prefixd {

KeyRing& KeyRing::operator=(const Keys& keys) {
  std::unordered_map<std::string, std::shared_ptr<RateLimit>> rates;  // by tenant
  for (const Caller& caller : *callers()) rates.emplace(caller.tenant, caller.rates);
  auto next = std::make_shared<Callers>();
  for (const ApiKey& key : keys) {
    std::string tenant = TenantOf(key);
    std::shared_ptr<RateLimit>& limit = rates[tenant];
    if (limit == nullptr) limit = std::make_shared<RateLimit>();
    limit->SetLimits(key.limits);
    next->push_back({.key = key, .tenant = std::move(tenant), .rates = limit});
  }
  MutexLock lock(mutex_);
  callers_ = std::move(next);
  return *this;
}

KeyRing::Keys KeyRing::Read() const {
  Keys keys;
  for (const Caller& caller : *callers()) keys.push_back(caller.key);
  return keys;
}

std::shared_ptr<const Caller> KeyRing::Find(std::string_view key) const {
  std::shared_ptr<const Callers> all = callers();
  const Digest hash = Sha256(key);
  const Caller* found = nullptr;
  for (const Caller& caller : *all) {
    if (EqualInConstantTime(caller.key.hash, hash)) found = &caller;
  }
  return found == nullptr ? nullptr : std::shared_ptr<const Caller>(std::move(all), found);
}

std::vector<KeyRing::Taken> KeyRing::taken() const {
  const std::shared_ptr<const Callers> all = callers();
  std::map<const RateLimit*, std::string_view> tenants;  // each once
  for (const Caller& caller : *all) tenants.emplace(caller.rates.get(), caller.key.tenant);
  std::map<std::string_view, const RateLimit*> named;
  std::map<std::string_view, std::string_view> ids;
  for (const auto& [rates, name] : tenants) {
    if (!name.empty()) named.emplace(name, rates);
  }
  for (const Caller& caller : *all) ids.emplace(caller.key.tenant, caller.tenant);
  std::vector<Taken> rows(1);
  for (const auto& [name, rates] : named) {
    if (rows.size() <= Limit<size_t>("tenant-rows"))
      rows.push_back({std::string(name), rates->requests(), rates->tokens(), std::string(ids.at(name))});
    else
      tenants[rates] = "";
  }
  for (const auto& [rates, name] : tenants) {
    if (!name.empty()) continue;
    rows[0].requests += rates->requests();
    rows[0].tokens += rates->tokens();
  }
  return rows;
}

}  // namespace prefixd
