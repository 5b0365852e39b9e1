// Clock: the source of time. Code outside the tests reads the time only through a Clock that its caller
// passes, so that tests control the time. SystemClock may be used from any thread; ManualClock belongs to one
// thread.
#pragma once

#include <time.h>

#include <chrono>
#include <cstdint>

#include "base/check.h"

namespace prefixd {

class Clock {
 public:
  virtual ~Clock() = default;
  // Nanoseconds on a monotonic scale. Only differences are meaningful.
  virtual int64_t NowNanos() const = 0;
  // Seconds since 1970-01-01 UTC.
  virtual int64_t UnixSeconds() const = 0;
  // Nanoseconds for which the calling thread has had a processor. A clock that does not know returns 0.
  virtual int64_t ThreadNanos() const { return 0; }

  double NowSeconds() const { return static_cast<double>(NowNanos()) * 1e-9; }
};

class SystemClock final : public Clock {
 public:
  int64_t NowNanos() const override {
    return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
  }
  int64_t UnixSeconds() const override {
    return std::chrono::system_clock::now().time_since_epoch() / std::chrono::seconds(1);
  }
  int64_t ThreadNanos() const override {
    timespec time{};
    const int rc = clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    PREFIXD_CHECK(rc == 0) << "clock_gettime: " << rc;
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  }
};

// A clock for tests. It starts at 0 and changes only by Advance.
class ManualClock final : public Clock {
 public:
  int64_t NowNanos() const override { return nanos_; }
  int64_t UnixSeconds() const override { return nanos_ / 1'000'000'000; }
  // Requires nanos >= 0.
  void Advance(int64_t nanos) {
    PREFIXD_CHECK(nanos >= 0) << nanos;
    nanos_ += nanos;
  }

 private:
  int64_t nanos_ = 0;
};

}  // namespace prefixd
