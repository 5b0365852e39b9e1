// KeyRing: the API keys that are accepted. They may be replaced while requests are checked: a request sees
// the old ones or the new ones.
//
// Threads: any.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace prefixd {

class KeyRing {
 public:
  using Keys = std::vector<std::string>;

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

 private:
  mutable Mutex mutex_;
  std::shared_ptr<const Keys> keys_ GUARDED_BY(mutex_) = std::make_shared<const Keys>();
};

}  // namespace prefixd
