#include "engine/inbox.h"

#include <string>
#include <utility>

#include "base/check.h"

namespace prefixd {

Status Inbox::Add(std::unique_ptr<Sequence> sequence, const Clock& clock) {
  {
    MutexLock lock(mutex_);
    if (draining_) return Unavailable("shutting down");
    const auto own = tenants_.find(sequence->request.share.tenant);
    PREFIXD_RETURN_IF_ERROR(CheckRoom(own == tenants_.end() ? Load() : own->second, *sequence));
    sequence->times.submitted = clock.NowSeconds();
    for (Load* const load : {&all_, &tenants_[sequence->request.share.tenant]}) {
      ++load->queued;
      load->tokens += sequence->prompt_tokens;
    }
    ++accepted_;
    content_.submitted.push_back(std::move(sequence));
  }
  filled_.NotifyOne();
  return Status::Ok();
}

Status Inbox::CheckRoom(const Load& own, const Sequence& sequence) const {
  const int reserve = Reserve(max_queue_);
  if (all_.queued >= max_queue_ + (own.queued < reserve ? reserve : 0))
    return ResourceExhausted("the queue of " + std::to_string(max_queue_) + " requests is full");
  const int64_t tokens = sequence.prompt_tokens;
  if (all_.tokens + tokens > max_tokens_ + (own.tokens + tokens <= reserved_tokens_ ? reserved_tokens_ : 0)) {
    return ResourceExhausted("a prompt of " + std::to_string(tokens) +
                             " tokens: " + std::to_string(all_.tokens) + " are in flight, and " +
                             std::to_string(max_tokens_) + " are the limit");
  }
  return Status::Ok();
}

void Inbox::Leave(const std::string& tenant, int queued, int64_t tokens) {
  MutexLock lock(mutex_);
  const auto own = tenants_.find(tenant);
  PREFIXD_CHECK(own != tenants_.end()) << "a sequence of no tenant";
  for (Load* const load : {&all_, &own->second}) {
    load->queued -= queued;
    load->tokens -= tokens;
    PREFIXD_CHECK(load->queued >= 0 && load->tokens >= 0) << load->queued << ", " << load->tokens;
  }
  if (own->second.queued == 0 && own->second.tokens == 0) tenants_.erase(own);
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
