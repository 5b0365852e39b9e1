#include "engine/inbox.h"

#include <string>
#include <utility>

namespace prefixd {

Status Inbox::Add(std::unique_ptr<Sequence> sequence, const Clock& clock) {
  {
    MutexLock lock(mutex_);
    if (draining_) return Unavailable("shutting down");
    if (queued_.load() >= max_queue_)
      return ResourceExhausted("the queue of " + std::to_string(max_queue_) + " requests is full");
    const int64_t tokens = tokens_.load() + sequence->prompt_tokens;
    if (tokens > max_tokens_) {
      return ResourceExhausted("a prompt of " + std::to_string(sequence->prompt_tokens) +
                               " tokens: " + std::to_string(tokens_.load()) + " are in flight, and " +
                               std::to_string(max_tokens_) + " are the limit");
    }
    sequence->times.submitted = clock.NowSeconds();
    tokens_ += sequence->prompt_tokens;
    ++queued_;
    ++accepted_;
    content_.submitted.push_back(std::move(sequence));
  }
  filled_.NotifyOne();
  return Status::Ok();
}

void Inbox::Cancel(RequestId id) {
  {
    MutexLock lock(mutex_);
    content_.cancelled.insert(id);
  }
  filled_.NotifyOne();
}

void Inbox::Drain() {
  MutexLock lock(mutex_);
  draining_ = true;
}

void Inbox::Wake() {
  {
    MutexLock lock(mutex_);
    if (std::exchange(woken_, true)) return;
  }
  filled_.NotifyOne();
}

Inbox::Content Inbox::Take() {
  MutexLock lock(mutex_);
  woken_ = false;
  return std::exchange(content_, {});
}

void Inbox::Wait(std::chrono::nanoseconds timeout) {
  MutexLock lock(mutex_);
  if (content_.submitted.empty() && content_.cancelled.empty() && !woken_) filled_.WaitFor(mutex_, timeout);
}

}  // namespace prefixd
