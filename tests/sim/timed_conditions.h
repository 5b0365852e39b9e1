// TimedConditions: what a timed simulation runs under: how long a step of the model takes and how fast the
// tiers are, at every moment, from a seed. Two simulations with the same seed have the same conditions,
// whatever they do. Plain values; one thread.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/prng.h"
#include "cache/prefix_cache.h"
#include "engine/step_budget.h"

namespace prefixd::sim {

// A value that is multiplied by a factor for a while, now and then.
class Curve {
 public:
  Curve() = default;
  explicit Curve(double base) : base_(base) {}
  // Changes come `gap` seconds after each other, on average, and last `length`.
  void AddChanges(Prng* random, double gap, double length, double factor);
  double base() const { return base_; }
  double At(double now) const;

 private:
  struct Change {
    double from, to, factor;
  };
  double base_ = 0;
  std::vector<Change> changes_;
};

// A medium: `workers` transfers are under way at once. Each has a latency of its own; then they take turns
// for the bandwidth.
struct TierConditions {
  int workers = 1;
  double latency = 0;
  Curve block_seconds;
  struct Hang {
    double from, to;
  };
  std::vector<Hang> hangs;  // nothing ends meanwhile
  double fails = 0;         // the share of reads that fail
  double loses = 0;         // the share of reads that find nothing
  size_t most_waiting = 0;  // transfers beyond it are refused; 0: none
};

struct TimedConditions {
  explicit TimedConditions(uint64_t seed);

  // A step of the model that begins at `now`.
  double StepSeconds(double now, const StepWork& work) const;

  int block_tokens = 16;
  double step_base = 0;
  Curve unit_seconds;
  double typical = 0;       // seconds to compute a long prompt
  double step_seconds = 0;  // the limit of StepBudget
  double assumed_unit = 0;  // of StepBudget::AssumePromptUnit; 0: nothing is assumed
  std::array<TierConditions, kTiers> tiers;
  std::array<double, kTiers> probed{};  // what the planner is told at first; 0: nothing
  uint32_t blocks = 0, host_blocks = 0, max_transfers = 0;
  bool disk = false, write_through = false;
  double spill_work = 0;  // seconds of a processor that a spill to the disk takes from the steps
};

}  // namespace prefixd::sim
