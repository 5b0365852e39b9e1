// JobQueue: an Executor for the simulator. It keeps its jobs until the simulation runs one: the oldest, or,
// where several workers would share the queue, any. One thread.
#pragma once

#include <utility>
#include <vector>

#include "base/executor.h"
#include "base/prng.h"

namespace prefixd::sim {

class JobQueue final : public Executor {
 public:
  // `ordered`: one worker would run the jobs.
  JobQueue(Prng* random, bool ordered) : random_(random), ordered_(ordered) {}
  bool TrySubmit(Job job) override {
    if (full) {
      ++refused;
      return false;
    }
    jobs_.push_back(std::move(job));
    return true;
  }
  // Returns false when there is none.
  bool RunOne() {
    if (jobs_.empty()) return false;
    const size_t index = ordered_ ? 0 : random_->Below(jobs_.size());
    const Job job = std::move(jobs_[index]);
    jobs_.erase(jobs_.begin() + static_cast<ptrdiff_t>(index));
    job();
    return true;
  }

  bool full = false;
  uint64_t refused = 0;

 private:
  Prng* const random_;
  const bool ordered_;
  std::vector<Job> jobs_;
};

}  // namespace prefixd::sim
