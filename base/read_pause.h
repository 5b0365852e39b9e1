// ReadPause: says when a medium that fails to read is left alone. TierTransfers has one for the disk, so a
// disk that answers nothing costs a request about one failed read, not one for each block.
//
// Threads: any thread may call any member. IsOn takes no lock.
//
// Invariants
//   1. A failed read begins a pause of a second, or twice the last pause when it began after that one, up to
//      30 seconds. A successful read ends the pause, and the next one takes a second again.
//   2. Reads that began before a pause and fail within it do not double it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/clock.h"
#include "base/mutex.h"

namespace prefixd {

class ReadPause {
 public:
  static constexpr int64_t kShortestNanos = 1'000'000'000, kLongestNanos = 30'000'000'000;

  bool IsOn(const Clock& clock) const {
    const int64_t end = end_.load(std::memory_order_relaxed);
    return end != 0 && clock.NowNanos() < end;
  }
  // Times of the clock, in nanoseconds.
  void Failed(int64_t began, int64_t now) {
    MutexLock lock(mutex_);
    const int64_t end = end_.load(std::memory_order_relaxed);
    if (began >= end) length_ = std::clamp(2 * length_, kShortestNanos, kLongestNanos);
    end_.store(std::max(end, now + length_), std::memory_order_relaxed);
  }
  void Succeeded() {
    MutexLock lock(mutex_);
    length_ = 0;
    end_.store(0, std::memory_order_relaxed);
  }

 private:
  Mutex mutex_;
  int64_t length_ GUARDED_BY(mutex_) = 0;
  std::atomic<int64_t> end_{0};  // 0: none. Written under the mutex
};

}  // namespace prefixd
