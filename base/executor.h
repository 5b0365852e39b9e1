// Executor: runs jobs. It decides which thread runs a job and when. The daemon uses threads; tests use
// ManualExecutor and run jobs one by one.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"

namespace prefixd {

class Executor {
 public:
  using Job = std::function<void()>;
  virtual ~Executor() = default;
  // Accepts the job. Returns false and drops it when the executor is full or stopping. A job must not throw.
  // Any thread may call this.
  [[nodiscard]] virtual bool TrySubmit(Job job) = 0;
};

// Holds at most `capacity` jobs until the test runs them.
class ManualExecutor final : public Executor {
 public:
  explicit ManualExecutor(size_t capacity) : jobs_(capacity) {}
  bool TrySubmit(Job job) override { return jobs_.TryPush(std::move(job)); }
  // Runs the oldest job. Returns false when there is none.
  bool RunOne() {
    auto job = jobs_.TryPop();
    if (job) (*job)();
    return job.has_value();
  }
  size_t pending() const { return jobs_.size(); }

 private:
  BoundedQueue<Job> jobs_;
};

// Runs jobs on `threads` worker threads, which share one queue of at most `capacity` jobs. The destructor
// runs every accepted job, then joins the workers.
class ThreadExecutor final : public Executor {
 public:
  ThreadExecutor(size_t threads, size_t capacity);
  ~ThreadExecutor() override;
  bool TrySubmit(Job job) override { return jobs_.TryPush(std::move(job)); }

 private:
  BoundedQueue<Job> jobs_;
  std::vector<std::thread> workers_;
};

}  // namespace prefixd
