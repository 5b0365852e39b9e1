// StatusStreams: the clients of /admin/events. Each gets the newest status once a second, as a Server-Sent
// Event. A client that does not read is dropped and counted when the limit "admin-backlog" says so, which is
// an option of its server.
//
// Threads: Start on io threads; the events are written on the strands of the exchanges. The members lock. The
// streams end with their server, which is destroyed before this object.
//
// Invariants
//   1. At most the limit "admin-streams" are open.
//   2. However many there are, a status is made at most once in half of kSeconds.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/mutex.h"
#include "daemon/http/exchange.h"

namespace prefixd {

// What the admin listener counts. Any thread.
struct AdminCounters {
  std::atomic<uint64_t> dropped_streams{0};  // of /admin/events, because their clients did not read
  std::atomic<bool> drains{false};           // an operator has asked for it
};

class StatusStreams {
 public:
  static constexpr double kSeconds = 1;

  // `status` returns a JSON document. `clock` and `counters` outlive the streams.
  StatusStreams(const Clock* clock, AdminCounters* counters, std::function<std::string()> status)
      : clock_(*clock), counters_(*counters), status_(std::move(status)) {}

  // Answers with a stream, or with 503 when there are too many.
  void Start(const std::shared_ptr<Exchange>& exchange) EXCLUDES(mutex_);
  int open() const EXCLUDES(mutex_);

 private:
  void Send(const std::shared_ptr<Exchange>& exchange);
  void End() EXCLUDES(mutex_);
  std::string Event() EXCLUDES(mutex_);

  const Clock& clock_;
  AdminCounters& counters_;
  const std::function<std::string()> status_;
  mutable Mutex mutex_;
  int open_ GUARDED_BY(mutex_) = 0;
  double made_ GUARDED_BY(mutex_) = 0;  // when event_ was made
  std::string event_ GUARDED_BY(mutex_);
};

}  // namespace prefixd
