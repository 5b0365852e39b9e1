#include "daemon/api/large_body_queue.h"

#include <utility>

namespace prefixd {

bool LargeBodyQueue::Submit(Exchange& exchange, std::function<void()> job) {
  MutexLock lock(mutex_);
  // Under the lock, so that no other job relies on a worker that does not come.
  if (!running_ && !exchange.PostWork([this] { Run(); })) return false;
  running_ = true;
  jobs_.push_back(std::move(job));
  return true;
}

void LargeBodyQueue::Run() {
  while (true) {
    std::function<void()> job;
    {
      MutexLock lock(mutex_);
      running_ = !jobs_.empty();
      if (!running_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    RunAndCatch(job);
  }
}

}  // namespace prefixd
