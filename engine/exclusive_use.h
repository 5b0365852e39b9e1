// ExclusiveUse: held during the calls of the engine that only one thread may be in. A second one meanwhile,
// from a listener or another thread, aborts. Any thread.
#pragma once

#include <atomic>

#include "base/check.h"

namespace prefixd {

class ExclusiveUse {
 public:
  explicit ExclusiveUse(std::atomic<bool>* in_use) : in_use_(in_use) {
    PREFIXD_CHECK(!in_use_->exchange(true)) << "the engine is inside Step already";
  }
  ~ExclusiveUse() { in_use_->store(false); }

 private:
  std::atomic<bool>* const in_use_;
};

}  // namespace prefixd
