// TickingClock: a clock for tests on which every reading is later than the one before, by a fixed time. So
// all that is timed with it takes some time, and what no code worked on takes none. Any thread.
#pragma once

#include <atomic>

#include "base/clock.h"

namespace prefixd::testing_support {

class TickingClock final : public Clock {
 public:
  // Requires nanos > 0.
  explicit TickingClock(int64_t nanos) : nanos_(nanos) {}
  int64_t NowNanos() const override { return now_ += nanos_; }
  int64_t UnixSeconds() const override { return NowNanos() / 1'000'000'000; }
  // Requires nanos >= 0.
  void Advance(int64_t nanos) { now_ += nanos; }

 private:
  const int64_t nanos_;
  mutable std::atomic<int64_t> now_{0};
};

}  // namespace prefixd::testing_support
