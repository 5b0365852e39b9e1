#include "daemon/http/session_host.h"

#include <chrono>
#include <cstdio>

#include "base/prng.h"

namespace prefixd {

std::string SessionHost::NextRequestId() {
  char text[32];
  std::snprintf(text, sizeof text, "req_%016llx",
                static_cast<unsigned long long>(RandomAt(seed_, next_request_++)));
  return text;
}

bool SessionHost::PostWork(std::function<void()> job) {
  std::lock_guard lock(workers_mutex_);
  return workers_ != nullptr && workers_->TrySubmit(std::move(job));
}

void SessionHost::StopWorkers() {
  std::unique_ptr<Executor> workers;
  {
    std::lock_guard lock(workers_mutex_);
    workers.swap(workers_);
  }
}

bool SessionHost::AddSession(uint64_t id, SessionControls controls) {
  std::lock_guard lock(mutex_);
  if (closing() || static_cast<int>(sessions_.size()) >= options.max_connections) return false;
  return sessions_.emplace(id, std::move(controls)).second;
}

void SessionHost::RemoveSession(uint64_t id) {
  {
    std::lock_guard lock(mutex_);
    sessions_.erase(id);
  }
  changed_.notify_all();
}

int SessionHost::sessions() const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(sessions_.size());
}

void SessionHost::ExchangeStarted() {
  std::lock_guard lock(mutex_);
  ++exchanges_;
}

void SessionHost::ExchangeFinished() {
  {
    std::lock_guard lock(mutex_);
    --exchanges_;
  }
  changed_.notify_all();
}

bool SessionHost::WaitNoExchange(double seconds) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return exchanges_ == 0; });
}

void SessionHost::CloseIdleSessions() {
  std::lock_guard lock(mutex_);
  closing_.store(true, std::memory_order_release);
  for (const auto& [id, controls] : sessions_) controls.close_if_idle();
}

void SessionHost::AbortSessions() {
  std::unique_lock lock(mutex_);
  for (const auto& [id, controls] : sessions_) controls.abort();
  changed_.wait(lock, [&] { return sessions_.empty(); });
}

}  // namespace prefixd
