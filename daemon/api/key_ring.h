// KeyRing: the API keys that are accepted. They may be replaced while requests are checked: a request sees
// the old ones or the new ones.
//
// Threads: any.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "daemon/api/api_key.h"

namespace prefixd {

class KeyRing {
 public:
  using Keys = std::vector<ApiKey>;

  KeyRing& operator=(Keys keys) {
    auto next = std::make_shared<const Keys>(std::move(keys));
    MutexLock lock(mutex_);
    keys_ = std::move(next);
    return *this;
  }
  void clear() { *this = Keys(); }
  // None: no key is required.
  std::shared_ptr<const Keys> Read() const {
    MutexLock lock(mutex_);
    return keys_;
  }
  bool empty() const { return Read()->empty(); }
  // The entry of a key. The time depends on the length of the key and on the number of entries only.
  std::optional<ApiKey> Find(std::string_view key) const {
    const std::shared_ptr<const Keys> keys = Read();
    const Digest hash = Sha256(key);
    const ApiKey* found = nullptr;
    for (const ApiKey& entry : *keys) {
      if (EqualInConstantTime(entry.hash, hash)) found = &entry;
    }
    return found == nullptr ? std::nullopt : std::optional(*found);
  }

 private:
  mutable Mutex mutex_;
  std::shared_ptr<const Keys> keys_ GUARDED_BY(mutex_) = std::make_shared<const Keys>();
};

}  // namespace prefixd
