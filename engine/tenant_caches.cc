#include "engine/tenant_caches.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace prefixd {

void TenantCaches::Set(List list) {
  auto next = std::make_shared<const List>(std::move(list));
  MutexLock lock(mutex_);
  next_ = std::move(next);
  changed_ = true;
}

void TenantCaches::Tell(PrefixCache* cache) {
  if (!changed_.exchange(false)) return;
  {
    MutexLock lock(mutex_);
    if (*next_ == *told_) return;
    told_ = next_;
  }
  constexpr uint64_t kMost = std::numeric_limits<uint32_t>::max();
  std::vector<PrefixCache::TenantBlocks> shares;
  for (const TenantCache& tenant : *told_) {
    PrefixCache::TenantBlocks& share = shares.emplace_back();
    share.tenant = TenantHalf(fingerprint_, tenant.tenant);
    for (size_t at = 0; at < kPoolTiers; ++at) {
      share.shares[at].weight = tenant.weight;
      const uint64_t most = tenant.most[at] == 0 ? kMost : tenant.most[at] / block_bytes_;
      const uint64_t guaranteed = (tenant.guaranteed[at] + block_bytes_ - 1) / block_bytes_;
      share.shares[at].most = static_cast<uint32_t>(std::min(most, kMost));
      share.shares[at].guaranteed = static_cast<uint32_t>(std::min({guaranteed, most, kMost}));
    }
  }
  cache->SetTenants(std::move(shares));
}

}  // namespace prefixd
