// TenantCaches: what tenants may have of the cache, on its way from any thread to the engine thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "cache/prefix_cache.h"
#include "hashing/block_key.h"

namespace prefixd {

// In bytes, by tier.
struct TenantCache {
  std::string tenant;                         // CacheNamespace::tenant
  std::array<uint64_t, kTiers> guaranteed{};  // others evict none of so much
  std::array<uint64_t, kTiers> most{};        // 0: there is no limit
  double weight = 1;                          // above 0; its part of what is not guaranteed

  bool has_limits() const { return guaranteed != decltype(guaranteed){} || most != decltype(most){}; }
  friend bool operator==(const TenantCache&, const TenantCache&) = default;
};

class TenantCaches {
 public:
  using List = std::vector<TenantCache>;

  // `fingerprint` is that of the model, `block_bytes` the size of a block.
  TenantCaches(const BlockKey& fingerprint, uint64_t block_bytes)
      : fingerprint_(fingerprint), block_bytes_(block_bytes) {}

  // Any thread. Requires tenants that differ, those with limits first.
  void Set(List list) EXCLUDES(mutex_);
  // Engine thread: tells the cache what Set has changed. O(nodes of the cache) then.
  void Tell(PrefixCache* cache) EXCLUDES(mutex_);
  // Engine thread: what the cache was told; the number of a tenant is its place.
  const std::shared_ptr<const List>& told() const { return told_; }

 private:
  const BlockKey fingerprint_;
  const uint64_t block_bytes_;
  std::atomic<bool> changed_{false};
  Mutex mutex_;
  std::shared_ptr<const List> next_ GUARDED_BY(mutex_);
  std::shared_ptr<const List> told_ = std::make_shared<const List>();
};

}  // namespace prefixd
