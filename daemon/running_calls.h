// RunningCalls: since when the calls to a medium run, so that one that hangs is seen while it hangs. The disk
// tier keeps one (disk_tier.h).
//
// Threads: any. Every call holds the lock for a few steps only, whatever the medium does.
//
// Invariant: the calls are in the order in which they began.
#pragma once

#include <cstdint>
#include <list>
#include <string>

#include "base/clock.h"
#include "base/mutex.h"

namespace prefixd {

class RunningCalls {
 public:
  enum class Kind : uint8_t { kRead, kWrite };

  // A call runs from its construction to its destruction.
  class Call;

  // `clock` must outlive the object.
  explicit RunningCalls(const Clock* clock) : clock_(clock) {}

  // What the oldest read is and how long it has run, as "a read has taken 6 s", when that is at least
  // `read_nanos`, or the oldest write with `write_nanos`. Otherwise empty.
  std::string SlowerThan(int64_t read_nanos, int64_t write_nanos) const;

 private:
  struct Running {
    Kind kind = Kind::kRead;
    int64_t began = 0;
  };

  const Clock* const clock_;
  mutable Mutex mutex_;
  std::list<Running> running_ GUARDED_BY(mutex_);  // the oldest first
};

class RunningCalls::Call {
 public:
  // `calls` must outlive the call.
  Call(RunningCalls* calls, Kind kind);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 private:
  RunningCalls* const calls_;
  std::list<Running>::iterator place_;
};

}  // namespace prefixd
