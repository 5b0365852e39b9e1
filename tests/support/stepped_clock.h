// SteppedClock: a clock that several threads read, and that the test moves.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.h"

namespace prefixd::testing_support {

class SteppedClock final : public Clock {
 public:
  int64_t NowNanos() const override { return nanos_; }
  int64_t UnixSeconds() const override { return nanos_ / kSecond; }
  void Advance(int64_t nanos) { nanos_ += nanos; }

 private:
  static constexpr int64_t kSecond = 1'000'000'000;
  std::atomic<int64_t> nanos_{kSecond};
};

}  // namespace prefixd::testing_support
