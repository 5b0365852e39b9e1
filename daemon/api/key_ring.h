// KeyRing: the API keys that are accepted, and what their tenants have taken. The keys may be replaced while
// requests are checked: a request sees the old ones or the new ones. A tenant that stays keeps what it has
// taken.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "daemon/api/caller.h"

namespace prefixd {

class KeyRing {
 public:
  using Keys = std::vector<ApiKey>;

  KeyRing& operator=(const Keys& keys);
  void clear() { *this = Keys(); }
  // None: no key is required.
  Keys Read() const;
  bool empty() const { return callers()->empty(); }
  // The caller with a key, or null. The time depends on the length of the key and on the number of entries
  // only.
  std::shared_ptr<const Caller> Find(std::string_view key) const;

  // What a tenant has taken. The first row, without a name, is of keys that are tenants of their own, and of
  // tenants above the limit "tenant-rows".
  struct Taken {
    std::string tenant;
    int64_t requests = 0, tokens = 0;
    std::string id;  // TenantOf its keys; empty in the first row
  };
  std::vector<Taken> taken() const;

 private:
  using Callers = std::vector<Caller>;
  std::shared_ptr<const Callers> callers() const {
    MutexLock lock(mutex_);
    return callers_;
  }

  mutable Mutex mutex_;
  std::shared_ptr<const Callers> callers_ GUARDED_BY(mutex_) = std::make_shared<const Callers>();
};

}  // namespace prefixd
