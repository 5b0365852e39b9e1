// SubmissionQueue: the requests that have sequences left for which the engine had no place, in the order in
// which they get the next free one.
//
// Threads: any. It outlives the server whose requests it has.
//
// Invariants
//   1. A request is in the queue at most once. It stays at its place until it leaves.
//   2. Whoever makes room in the engine calls Notify afterwards. It wakes the first request, which tries
//      again and, when it has found a place, leaves and so wakes the next one. A request therefore waits only
//      while the engine has something of another request.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>

#include "base/mutex.h"

namespace prefixd {

class SubmissionQueue {
 public:
  // Queues a request. `wake` posts a job that tries again; it must not call the queue itself. The caller
  // tries once more after this call, because room may have come before it. Returns the ticket for Leave.
  uint64_t Enter(std::function<void()> wake) EXCLUDES(mutex_);
  // Removes the request, which has found a place or has ended, and wakes the next one.
  void Leave(uint64_t ticket) EXCLUDES(mutex_);
  // The engine may have room.
  void Notify() EXCLUDES(mutex_);
  // Whether a request may submit a sequence: nobody waits, or `ticket` is the first.
  bool MayGo(std::optional<uint64_t> ticket) const EXCLUDES(mutex_);

 private:
  mutable Mutex mutex_;
  uint64_t last_ticket_ GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, std::function<void()>> waiting_ GUARDED_BY(mutex_);  // by ticket, the oldest first
};

}  // namespace prefixd
