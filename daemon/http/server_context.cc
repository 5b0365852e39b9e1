#include "daemon/http/server_context.h"

#include <chrono>
#include <cstdio>

#include "base/check.h"
#include "base/prng.h"

namespace prefixd {

std::string ServerContext::NextRequestId() {
  char text[32];
  std::snprintf(text, sizeof text, "req_%016llx",
                static_cast<unsigned long long>(RandomAt(seed_, next_request_++)));
  return text;
}

bool ServerContext::PostWork(std::function<void()> job) {
  MutexLock lock(workers_mutex_);
  return workers_ != nullptr && workers_->TrySubmit(std::move(job));
}

void ServerContext::StopWorkers() {
  PREFIXD_CHECK(session_count() == 0) << session_count() << " sessions are left";
  std::unique_ptr<Executor> workers;
  {
    MutexLock lock(workers_mutex_);
    workers.swap(workers_);
  }
}

bool ServerContext::AddSession(uint64_t id, SessionControls controls) {
  MutexLock lock(mutex_);
  if (aborting_ || static_cast<int>(sessions_.size()) >= options.max_connections) return false;
  return sessions_.emplace(id, std::move(controls)).second;
}

void ServerContext::RemoveSession(uint64_t id) {
  {
    MutexLock lock(mutex_);
    sessions_.erase(id);
  }
  changed_.NotifyAll();
}

int ServerContext::session_count() const {
  MutexLock lock(mutex_);
  return static_cast<int>(sessions_.size());
}

void ServerContext::ExchangeStarted() {
  MutexLock lock(mutex_);
  ++exchanges_;
}

void ServerContext::ExchangeFinished() {
  {
    MutexLock lock(mutex_);
    PREFIXD_CHECK(exchanges_ > 0);
    --exchanges_;
  }
  changed_.NotifyAll();
}

bool ServerContext::WaitUntilIdle(double seconds) {
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::nanoseconds(static_cast<int64_t>(seconds * 1e9));
  MutexLock lock(mutex_);
  while (exchanges_ > 0) {
    if (!changed_.WaitUntil(mutex_, deadline)) return exchanges_ == 0;
  }
  return true;
}

void ServerContext::CloseIdleSessions() {
  MutexLock lock(mutex_);
  closing_.store(true, std::memory_order_release);
  for (const auto& [id, controls] : sessions_) controls.close_if_idle();
}

void ServerContext::InterruptSessions() {
  MutexLock lock(mutex_);
  for (const auto& [id, controls] : sessions_) controls.interrupt();
}

void ServerContext::AbortSessions() {
  MutexLock lock(mutex_);
  aborting_ = true;
  for (const auto& [id, controls] : sessions_) controls.abort();
  while (!sessions_.empty()) changed_.Wait(mutex_);
}

}  // namespace prefixd
