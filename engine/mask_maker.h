// MaskMaker: finds which tokens may come next in answers that follow a format. The masks of a step take the
// engine thread a bounded time together: what takes longer is made by an executor, and its sequence waits for
// it (Sequence::awaits_mask) while others go on.
//
// Threads: the engine thread; the executor runs the jobs. A job has a copy of the sequence's state, so the
// sequence may end before its job.
//
// Invariants
//   1. Who makes a mask does not change it.
//   2. `wake` is called after each job that has ended, and never after the destructor.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/executor.h"
#include "base/mutex.h"
#include "engine/sequence.h"

namespace prefixd {

class MaskMaker {
 public:
  // `executor` outlives it; null: the engine thread makes all. `most_work` is that of the engine thread in
  // one step, as grammar::TokenMasks counts it.
  MaskMaker(Executor* executor, uint64_t most_work, std::function<void()> wake);
  ~MaskMaker();

  void BeginStep() { left_ = most_work_; }
  // Sets the mask of the token after those of the sequence, or has it made.
  void SetAllowed(Sequence& sequence);
  // Sets the masks that were made since the last call. Returns the sequences that have them; `find` returns
  // null for one that has ended.
  std::vector<Sequence*> Take(const std::function<Sequence*(RequestId)>& find);
  size_t pending() const { return pending_; }  // jobs that Take has not seen
  uint64_t late() const { return late_; }      // masks that an executor made

 private:
  struct Made {
    RequestId id;
    grammar::ConstraintState constraint;
    std::shared_ptr<const grammar::TokenMask> allowed;
  };
  struct Results {
    Mutex mutex;
    std::vector<Made> made GUARDED_BY(mutex);
    std::function<void()> wake GUARDED_BY(mutex);  // null: nobody waits any more
  };

  Executor* const executor_;
  const uint64_t most_work_;
  const std::shared_ptr<Results> results_ = std::make_shared<Results>();
  uint64_t left_ = 0;  // of most_work_
  size_t pending_ = 0;
  uint64_t late_ = 0;
};

}  // namespace prefixd
