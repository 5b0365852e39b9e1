#include "engine/fair_shares.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace prefixd {

double FairShares::LowestActive() const {
  double lowest = std::numeric_limits<double>::infinity();
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.sequences > 0) lowest = std::min(lowest, tenant.counter);
  }
  return lowest;
}

FairShares::Tenant* FairShares::Join(const TenantShare& share) {
  PREFIXD_CHECK(share.weight > 0) << share.weight;
  const double lowest = active_ > 0 ? LowestActive() : 0;
  Tenant& tenant = tenants_.try_emplace(share.tenant).first->second;
  tenant.weight = share.weight;
  if (active_ == 0 && last_ && *last_ != share.tenant) another_came_ = true;
  if (tenant.sequences++ == 0) {
    ++active_;
    tenant.counter = std::max(tenant.counter, lowest - kCredit);
  }
  return &tenant;
}

void FairShares::Leave(Tenant* tenant) {
  PREFIXD_CHECK(tenant->sequences > tenant->running && tenant->running >= 0)
      << tenant->running << " of " << tenant->sequences << " run";
  if (--tenant->sequences > 0) return;
  for (const auto& [name, each] : tenants_)
    if (&each == tenant) last_ = name;
  // One that comes back starts where it would if it were unknown. When nobody has work, nobody is owed any.
  const double lowest = --active_ > 0 ? LowestActive() - kCredit : std::numeric_limits<double>::infinity();
  std::erase_if(tenants_, [&](const auto& entry) {
    return entry.second.sequences == 0 && entry.second.counter <= lowest;
  });
}

}  // namespace prefixd
