// Watchdog: decides when to tell the service manager that the engine works: as long as its progress changes,
// also during a step. When a step or a listener hangs, nothing is told any more, and the service manager ends
// the process after its WatchdogSec. Main thread only.
//
// Invariant: with progress that changes all the time, two notifications are at most tick() apart.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

namespace prefixd {

class Watchdog {
 public:
  // `interval` is the WatchdogSec of the service manager, if it watches.
  explicit Watchdog(std::optional<std::chrono::microseconds> interval) : interval_(interval) {}

  // Returns how often to call Tick.
  std::chrono::milliseconds tick() const {
    using std::chrono::milliseconds;
    if (!interval_) return kNever;
    return std::clamp(std::chrono::duration_cast<milliseconds>(*interval_ / 3), kShortest, kLongest);
  }
  // Returns whether to notify: `progress` differs from that of the tick before.
  bool Tick(uint64_t progress) {
    const bool moved = progress != last_progress_;
    last_progress_ = progress;
    return interval_ && moved;
  }

 private:
  static constexpr std::chrono::milliseconds kNever{3600'000};
  static constexpr std::chrono::milliseconds kShortest{100};  // an idle engine makes progress so often
  static constexpr std::chrono::milliseconds kLongest{1000};

  const std::optional<std::chrono::microseconds> interval_;
  uint64_t last_progress_ = 0;  // of the tick before
};

}  // namespace prefixd
