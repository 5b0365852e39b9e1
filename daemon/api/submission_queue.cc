#include "daemon/api/submission_queue.h"

#include <utility>

namespace prefixd {

uint64_t SubmissionQueue::Enter(std::function<void()> wake) {
  MutexLock lock(mutex_);
  waiting_.emplace(++last_ticket_, std::move(wake));
  return last_ticket_;
}

void SubmissionQueue::Leave(uint64_t ticket) {
  std::function<void()> left;  // destroyed without the lock, because it may own the request
  {
    MutexLock lock(mutex_);
    const auto found = waiting_.find(ticket);
    if (found == waiting_.end()) return;
    left = std::move(found->second);
    waiting_.erase(found);
  }
  Notify();
}

void SubmissionQueue::Notify() {
  std::function<void()> wake;
  {
    MutexLock lock(mutex_);
    if (waiting_.empty()) return;
    wake = waiting_.begin()->second;
  }
  wake();
}

bool SubmissionQueue::MayGo(std::optional<uint64_t> ticket) const {
  MutexLock lock(mutex_);
  return waiting_.empty() || ticket == waiting_.begin()->first;
}

}  // namespace prefixd
