#include "cache/spill_budget.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace prefixd {
namespace {

constexpr double kKept = 1 - 1.0 / 2048;       // of the sums over blocks, with each further block
constexpr double kKeptSpills = 1 - 1.0 / 256;  // of those over spills, with each further one
constexpr double kKeptShare = 1 - 1.0 / 32;    // of the share of yes, with each further answer
// Spills also take caches and memory from the steps: with the demo model on two processors, all spills
// together took 5 % of the time of one processor, and the steps 8 % longer.
constexpr double kSlowdown = 2;
constexpr double kLeastSeconds = 1;  // of steps, before the cost is known
constexpr double kDebt = 0.1;  // seconds: the most that is remembered of what was taken beyond the allowance
constexpr double kLeastShare = 1.0 / 16;

}  // namespace

void SpillBudget::SetTime(double now, bool idle) {
  const double seconds = step_ = now - now_;
  now_ = now;
  if (!std::exchange(idle_, idle)) {
    measured_ += seconds;
    seconds_ += seconds;
    allowance_ = std::min(kBurst, allowance_ + kAllowance * seconds);
  }
}

void SpillBudget::Count() {
  blocks_ = kKept * blocks_ + 1;
  wanted_ *= kKept;
  seconds_ *= kKept;
}

void SpillBudget::Computed(bool again) {
  Count();
  if (again) wanted_ += 1;
}

// It stands for those that would have come from the disk if all had been written.
void SpillBudget::Loaded() {
  Count();
  wanted_ += 1 / std::max(written_, kLeastShare);
}

void SpillBudget::Spilled(double seconds) {
  spills_ = kKeptSpills * spills_ + 1;
  work_ = kKeptSpills * work_ + seconds;
  if (!idle_) allowance_ = std::max(-kDebt, allowance_ - seconds);
}

double SpillBudget::cost() const {
  if (measured_ < kLeastSeconds || spills_ == 0) return 0;
  return kSlowdown * (work_ / spills_) * blocks_ / seconds_;
}

size_t SpillBudget::MostAtOnce() const {
  if (idle_ || IsWorthIt()) return SIZE_MAX;
  const double work = work_ / spills_;
  return kAllowance * step_ < work ? 1 : static_cast<size_t>(kAllowance * step_ / work);
}

double SpillBudget::chance() const { return blocks_ > 0 ? std::min(1.0, wanted_ / blocks_) : 0; }

bool SpillBudget::MaySpill(size_t waiting) {
  const bool may = IsWorthIt() || allowance_ >= static_cast<double>(waiting) * work_ / spills_;
  written_ = kKeptShare * written_ + (may ? 1 - kKeptShare : 0);
  return may;
}

}  // namespace prefixd
