#include "engine/mask_maker.h"

#include <algorithm>
#include <utility>

namespace prefixd {

MaskMaker::MaskMaker(Executor* executor, uint64_t most_work, std::function<void()> wake)
    : executor_(executor), most_work_(most_work) {
  MutexLock lock(results_->mutex);
  results_->wake = std::move(wake);
}

MaskMaker::~MaskMaker() {
  MutexLock lock(results_->mutex);
  results_->wake = nullptr;
}

void MaskMaker::SetAllowed(Sequence& s) {
  if (!s.constraint) return;
  if (executor_ == nullptr) return s.SetAllowed();
  grammar::TokenMasks::Tried tried = s.constraint->MaskWithin(left_);
  left_ -= std::min(left_, tried.work);
  if (tried.mask) {
    s.allowed = *std::move(tried.mask);
    return;
  }
  const bool accepted =
      executor_->TrySubmit([results = results_, id = s.id, state = *s.constraint]() mutable {
        auto allowed = state.Mask();
        MutexLock lock(results->mutex);
        results->made.push_back({id, std::move(state), std::move(allowed)});
        if (results->wake) results->wake();
      });
  if (!accepted) return s.SetAllowed();
  s.allowed = nullptr;
  s.awaits_mask = true;
  ++pending_;
  ++late_;
}

std::vector<Sequence*> MaskMaker::Take(const std::function<Sequence*(RequestId)>& find) {
  if (pending_ == 0) return {};
  std::vector<Made> all;
  {
    MutexLock lock(results_->mutex);
    all = std::exchange(results_->made, {});
  }
  pending_ -= all.size();
  std::vector<Sequence*> sequences;
  for (Made& made : all) {
    Sequence* const s = find(made.id);
    if (s == nullptr) continue;
    s->constraint = std::move(made.constraint);
    s->allowed = std::move(made.allowed);
    s->awaits_mask = false;
    sequences.push_back(s);
  }
  return sequences;
}

}  // namespace prefixd
