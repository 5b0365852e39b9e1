// StepsInFlight: the steps that the model computes, from their plans to their results, in the order of their
// launches. There is more than one where the model says so (ModelRunner::most_steps). Engine thread only,
// except that the model calls `wake` from any thread.
//
//   Launch --> in flight --the model ends it--> Collect --> collected --Forget--> gone
//
// Invariants
//   1. Whatever a step in flight reads or writes stays as it is: its batch, and the blocks of its sequences.
//      A sequence keeps its lease until the last step that computes it was collected, also when it has ended
//      before (Keep). So no block that a step touches is given to another sequence or to a load.
//   2. `computing` and `drawing` of a sequence are the sums over the steps in flight, without the collected
//      one.
//   3. When a step has failed, those launched before it was collected are void: they may have taken tokens
//      that it should have drawn.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/clock.h"
#include "engine/step_batch.h"
#include "engine/step_budget.h"

namespace prefixd {

class StepsInFlight {
 public:
  // All arguments must outlive it. The model calls `wake` whenever a step has ended.
  StepsInFlight(ModelRunner* model, const Clock* clock, std::function<void()> wake);

  bool empty() const { return count_ == 0; }
  // Whether one more may be launched: there is room, and the newest one is not void.
  bool MayLaunch() { return count_ == 0 || (count_ < most_ && !At(count_ - 1).is_void); }
  // Whether the oldest has ended, so that Collect does not wait.
  bool Done() const { return model_->Done(); }

  // Launches the step of `plan`, which is not empty, and which was begun to be planned at `begun`. Requires
  // MayLaunch().
  void Launch(std::vector<PlannedChunk> plan, const StepWork& work, double begun,
              std::span<const TokenId> eos, KvPool* pool);

  // The oldest step, between Collect and Forget.
  struct Collected {
    StepBatch& batch;
    const StepWork& work;
    double seconds;  // that planning and computing it took, without those for the step before
    bool is_void;    // nothing of it may be used, whatever its status is
    Status status;
  };
  // Waits for the end of the oldest step. Requires that there is one.
  Collected Collect();
  // Keeps a sequence that has ended, with its lease, until the steps that compute it were collected. Requires
  // that there are any.
  void Keep(std::unique_ptr<Sequence> sequence);
  // Ends the collected step, and releases the sequences that were kept for it.
  void Forget();

 private:
  static constexpr size_t kMost = 2;
  struct Step {
    StepBatch batch;
    StepWork work;
    double begun = 0;
    double ended = 0;  // written before the Collect of the model returns
    bool is_void = false;
    std::vector<std::unique_ptr<Sequence>> kept;  // which no later step computes
  };
  Step& At(size_t index) { return steps_[(first_ + index) % most_]; }

  ModelRunner* const model_;
  const Clock* const clock_;
  const std::function<void()> wake_;
  const size_t most_;
  std::array<Step, kMost> steps_;  // a ring
  size_t first_ = 0, count_ = 0;
  double last_ended_ = 0;  // when the step collected last had ended
};

}  // namespace prefixd
