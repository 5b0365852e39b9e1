// LargeBodyQueue: the requests with large bodies that wait to be worked on. One worker thread takes them, one
// after the other, so that they do not take each other's memory, and so that those that wait leave the other
// workers to smaller bodies.
//
// Threads: any. It outlives the server whose requests it has.
//
// Invariants
//   1. At most one job runs. While there are jobs, one worker runs them in the order of Submit.
//   2. Every exchange has at most one job, so the limit of connections bounds the queue.
#pragma once

#include <deque>
#include <functional>

#include "base/mutex.h"
#include "daemon/http/exchange.h"

namespace prefixd {

class LargeBodyQueue {
 public:
  // Queues `job`, which owns the exchange. Returns false and drops it when the queue of the workers is full.
  [[nodiscard]] bool Submit(Exchange& exchange, std::function<void()> job) EXCLUDES(mutex_);

 private:
  void Run() EXCLUDES(mutex_);

  Mutex mutex_;
  std::deque<std::function<void()>> jobs_ GUARDED_BY(mutex_);
  bool running_ GUARDED_BY(mutex_) = false;  // a worker runs the jobs, or soon will
};

}  // namespace prefixd
