// What all connections of a server share: options, handler, ids, and the books of who is connected and what
// is under way.
//
// Threads: any.
//
// Invariants
//   1. At most options.max_connections sessions are booked; none is added once closing() is true.
//   2. Controls are only called for booked sessions, and post to the session's strand: they never wait.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/executor.h"
#include "daemon/http/byte_budget.h"
#include "daemon/http/exchange.h"
#include "daemon/http/server.h"

namespace prefixd {

// How the server reaches a running session.
struct SessionControls {
  std::function<void()> close_if_idle;
  std::function<void()> abort;
};

class SessionHost {
 public:
  SessionHost(HttpServerOptions server_options, Handler request_handler, uint64_t seed)
      : options(std::move(server_options)),
        handler(std::move(request_handler)),
        bodies(std::max(options.max_bodies_bytes, options.max_body_bytes)),
        seed_(seed),
        workers_(std::make_unique<ThreadExecutor>(static_cast<size_t>(options.worker_threads),
                                                  static_cast<size_t>(options.max_connections))) {}

  const HttpServerOptions options;
  const Handler handler;
  ByteBudget bodies;  // held by requests; brief ones are not counted

  // On a worker thread; false when the queue is full or the workers are gone.
  bool PostWork(std::function<void()> job);
  // No session is left. Returns when the work that was accepted is done.
  void StopWorkers();

  std::string NextRequestId();
  uint64_t NextSessionId() { return next_session_++; }

  bool AddSession(uint64_t id, SessionControls controls);
  void RemoveSession(uint64_t id);
  int sessions() const;

  void ExchangeStarted();
  void ExchangeFinished();
  bool WaitNoExchange(double seconds);

  bool closing() const { return closing_.load(std::memory_order_acquire); }
  void CloseIdleSessions();  // closing() is true from now on
  void AbortSessions();      // returns when none is left

 private:
  const uint64_t seed_;
  std::mutex workers_mutex_;
  std::unique_ptr<Executor> workers_;  // none after StopWorkers
  std::atomic<uint64_t> next_request_{0};
  std::atomic<uint64_t> next_session_{0};
  std::atomic<bool> closing_{false};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<uint64_t, SessionControls> sessions_;
  int exchanges_ = 0;
};

}  // namespace prefixd
