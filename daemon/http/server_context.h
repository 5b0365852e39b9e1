// ServerContext: what all connections of a server share. It holds the options, the handler, the generators of
// ids, the worker threads, the registry of open sessions and the count of running exchanges.
//
// Threads: any.
//
// Invariants
//   1. At most options.max_connections sessions are registered. None is added once AbortSessions was called.
//   2. Controls are called for registered sessions only. They post to the session's strand and never wait.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/executor.h"
#include "base/mutex.h"
#include "daemon/http/byte_budget.h"
#include "daemon/http/exchange.h"
#include "daemon/http/server.h"

namespace prefixd {

class PostQueue;

// How the server reaches a running session.
struct SessionControls {
  std::function<void()> close_if_idle;
  std::function<void()> interrupt;
  std::function<void()> abort;
};

class ServerContext {
 public:
  ServerContext(HttpServerOptions server_options, Handler request_handler, BodyFilter body_filter,
                std::shared_ptr<PostQueue> post_queue, uint64_t seed)
      : options(std::move(server_options)),
        handler(std::move(request_handler)),
        wants_body(std::move(body_filter)),
        posts(std::move(post_queue)),
        budget(options.max_inflight_bytes, options.max_body_bytes),
        seed_(seed),
        workers_(std::make_unique<ThreadExecutor>(static_cast<size_t>(options.worker_threads),
                                                  static_cast<size_t>(options.max_connections))) {}

  const HttpServerOptions options;
  const Handler handler;
  const BodyFilter wants_body;             // may be empty
  const std::shared_ptr<PostQueue> posts;  // to all connections
  ByteBudget budget;                       // of all connections; bodies up to kSmallBodyBytes are not counted

  // Runs `job` on a worker thread. Returns false when the queue is full or the workers have stopped.
  bool PostWork(std::function<void()> job) EXCLUDES(workers_mutex_);
  // Returns when all accepted work is done. Requires that no session is left.
  void StopWorkers() EXCLUDES(workers_mutex_, mutex_);

  std::string NextRequestId();
  uint64_t NextSessionId() { return next_session_++; }

  // Returns false when the server is full, or ends.
  bool AddSession(uint64_t id, SessionControls controls) EXCLUDES(mutex_);
  void RemoveSession(uint64_t id) EXCLUDES(mutex_);
  int session_count() const EXCLUDES(mutex_);

  // A quarter of the connections may be in their handshakes. Returns false when others have all places.
  bool HandshakeStarted() {
    if (++handshakes_ <= options.max_connections / 4 + 1) return true;
    --handshakes_;
    return false;
  }
  void HandshakeFinished() { --handshakes_; }

  void ExchangeStarted() EXCLUDES(mutex_);
  void ExchangeFinished() EXCLUDES(mutex_);
  // Waits until no exchange is running. Returns false when `seconds` passed first.
  bool WaitUntilIdle(double seconds) EXCLUDES(mutex_);

  bool closing() const { return closing_.load(std::memory_order_acquire); }
  void CloseIdleSessions() EXCLUDES(mutex_);  // closing() is true from now on
  void InterruptSessions() EXCLUDES(mutex_);  // see HttpServer::InterruptExchanges
  void AbortSessions() EXCLUDES(mutex_);      // returns when no session is left

 private:
  const uint64_t seed_;
  std::atomic<uint64_t> next_request_{0};
  std::atomic<uint64_t> next_session_{0};
  std::atomic<bool> closing_{false};
  std::atomic<int> handshakes_{0};
  Mutex workers_mutex_;
  std::unique_ptr<Executor> workers_ GUARDED_BY(workers_mutex_);  // null after StopWorkers
  mutable Mutex mutex_;
  CondVar changed_;
  bool aborting_ GUARDED_BY(mutex_) = false;
  std::unordered_map<uint64_t, SessionControls> sessions_ GUARDED_BY(mutex_);
  int exchanges_ GUARDED_BY(mutex_) = 0;
};

// Has a place for a handshake, if there was one, for as long as this object lives.
class ScopedHandshake {
 public:
  explicit ScopedHandshake(ServerContext& server) : server_(server), has_place_(server.HandshakeStarted()) {}
  ~ScopedHandshake() {
    if (has_place_) server_.HandshakeFinished();
  }
  ScopedHandshake(const ScopedHandshake&) = delete;
  ScopedHandshake& operator=(const ScopedHandshake&) = delete;
  bool has_place() const { return has_place_; }

 private:
  ServerContext& server_;
  const bool has_place_;
};

// Counts an exchange as running for as long as this object lives.
class ScopedExchangeCount {
 public:
  explicit ScopedExchangeCount(ServerContext& server) : server_(server) { server_.ExchangeStarted(); }
  ~ScopedExchangeCount() { server_.ExchangeFinished(); }
  ScopedExchangeCount(const ScopedExchangeCount&) = delete;
  ScopedExchangeCount& operator=(const ScopedExchangeCount&) = delete;

 private:
  ServerContext& server_;
};

}  // namespace prefixd
