#include "engine/steps_in_flight.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace prefixd {

StepsInFlight::StepsInFlight(ModelRunner* model, const Clock* clock, std::function<void()> wake)
    : model_(model), clock_(clock), wake_(std::move(wake)), most_(static_cast<size_t>(model->most_steps())) {
  PREFIXD_CHECK(most_ >= 1 && most_ <= kMost) << most_ << " steps at once";
}

void StepsInFlight::Launch(std::vector<PlannedChunk> plan, const StepWork& work, double begun,
                           std::span<const TokenId> eos, KvPool* pool) {
  PREFIXD_CHECK(MayLaunch() && !plan.empty()) << count_ << " steps, " << plan.size() << " chunks";
  Step& step = At(count_);
  step.batch.Fill(std::move(plan), eos);
  step.work = work;
  step.is_void = false;
  step.begun = begun;
  ++count_;
  model_->Launch(step.batch.Input(pool), [this, &step] {
    step.ended = clock_->NowSeconds();
    wake_();
  });
}

StepsInFlight::Collected StepsInFlight::Collect() {
  PREFIXD_CHECK(!empty());
  Status status = model_->Collect();
  Step& step = At(0);
  step.batch.Leave();
  const double begun = std::max(step.begun, last_ended_);
  last_ended_ = step.ended;
  for (size_t i = 1; i < count_ && !status.ok(); ++i) At(i).is_void = true;
  return {step.batch, step.work, step.ended - begun, step.is_void, std::move(status)};
}

void StepsInFlight::Keep(std::unique_ptr<Sequence> sequence) {
  PREFIXD_CHECK(sequence->computing > 0) << sequence->id << " is in no step";
  At(count_ - 1).kept.push_back(std::move(sequence));
}

void StepsInFlight::Forget() {
  PREFIXD_CHECK(!empty());
  Step& step = At(0);
  step.batch.Clear();
  step.kept.clear();
  first_ = (first_ + 1) % most_;
  --count_;
}

}  // namespace prefixd
