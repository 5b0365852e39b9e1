// Work as a dependency: who runs a job, and when. The daemon uses threads, tests run jobs inline or one by one.
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
  // Takes the job unless the executor is full or stopping. Jobs must not throw. Any thread.
  [[nodiscard]] virtual bool TrySubmit(Job job) = 0;
};

// Holds jobs until the test says so: the order and the moment are the test's.
class ManualExecutor final : public Executor {
 public:
  explicit ManualExecutor(size_t capacity) : jobs_(capacity) {}
  bool TrySubmit(Job job) override { return jobs_.TryPush(std::move(job)); }
  // Runs the oldest job; false when there is none.
  bool RunOne() {
    auto job = jobs_.TryPop();
    if (job) (*job)();
    return job.has_value();
  }
  size_t pending() const { return jobs_.size(); }

 private:
  BoundedQueue<Job> jobs_;
};

// `threads` workers on one bounded queue. The destructor runs what was accepted, then joins.
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
