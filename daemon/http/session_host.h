// What all connections of a server share: options, handler, ids, and the books of who is connected and what
// is under way.
//
// Threads: any.
//
// Invariants
//   1. At most options.max_connections sessions are booked; none is added once closing() is true.
//   2. Controls are only called for booked sessions, and post to the session's strand: they never wait.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

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
  SessionHost(HttpServerOptions options, Handler handler, uint64_t seed)
      : options(std::move(options)), handler(std::move(handler)), seed_(seed) {}

  const HttpServerOptions options;
  const Handler handler;

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
  std::atomic<uint64_t> next_request_{0};
  std::atomic<uint64_t> next_session_{0};
  std::atomic<bool> closing_{false};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<uint64_t, SessionControls> sessions_;
  int exchanges_ = 0;
};

}  // namespace prefixd
