#include "daemon/http/post_queue.h"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>

namespace prefixd {

namespace asio = boost::asio;

void PostQueue::Post(Executor strand, std::function<void()> job) {
  MutexLock lock(mutex_);
  if (closed_) return;
  if (!running_) asio::post(io_, [self = shared_from_this()] { self->Drain(); });
  running_ = true;
  jobs_.push_back({std::move(strand), std::move(job), ++posted_});
  PostAllIfLate();
}

void PostQueue::Nudge() {
  MutexLock lock(mutex_);
  PostAllIfLate();
}

void PostQueue::PostAllIfLate() {
  if (begun_ != kNever && clock_->NowNanos() - begun_ >= kNanosAlone) PostAll();
}

void PostQueue::PostAll() {
  while (!jobs_.empty()) {
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    asio::post(job.strand, std::move(job.run));
  }
}

std::optional<PostQueue::Job> PostQueue::Take(int64_t end) {
  MutexLock lock(mutex_);
  begun_ = kNever;
  taken_ = 0;
  if (clock_->NowNanos() >= end) PostAll();
  running_ = !jobs_.empty();
  if (!running_) return std::nullopt;
  std::optional<Job> job = std::move(jobs_.front());
  jobs_.pop_front();
  taken_ = job->number;
  return job;
}

void PostQueue::Drain() {
  const int64_t end = clock_->NowNanos() + kNanosAlone;
  while (std::optional<Job> job = Take(end)) {
    // It runs here, unless the strand has other work.
    asio::dispatch(job->strand, [self = shared_from_this(), number = job->number, run = std::move(job->run)] {
      self->Begin(number);
      run();
    });
  }
}

void PostQueue::Begin(uint64_t number) {
  MutexLock lock(mutex_);
  if (number == taken_) begun_ = clock_->NowNanos();
}

void PostQueue::Close() {
  std::deque<Job> dropped;  // they end after the lock: the end of a job may post another one
  MutexLock lock(mutex_);
  closed_ = true;
  dropped.swap(jobs_);
}

}  // namespace prefixd
