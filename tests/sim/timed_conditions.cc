#include "tests/sim/timed_conditions.h"

#include <algorithm>
#include <cmath>

namespace prefixd::sim {
namespace {

constexpr int kChanges = 100;
constexpr double kLongPrompt = 800;  // tokens

// Between 10^low and 10^high, each decade as likely as another.
double Decades(Prng* random, double low, double high) {
  return std::pow(10.0, low + (high - low) * random->Unit());
}

double Gap(Prng* random, double mean) { return -mean * std::log(1 - random->Unit()); }

TierConditions MakeTier(Prng* random, double block_compute, double typical) {
  TierConditions tier;
  tier.workers = static_cast<int>(random->Between(1, 8));
  const double block = block_compute * Decades(random, -1.5, 1.5);
  tier.block_seconds = Curve(block);
  tier.latency = block * static_cast<double>(tier.workers) * random->Unit();
  if (random->Chance(0.5))
    tier.block_seconds.AddChanges(random, 40 * typical, (2 + 20 * random->Unit()) * typical, 10);
  if (random->Chance(0.3)) {
    double at = 0;
    for (int i = 0; i < kChanges; ++i) {
      at += Gap(random, 40 * typical);
      const double to = at + (0.2 + 10 * random->Unit()) * typical;
      tier.hangs.push_back({at, to});
      at = to;
    }
  }
  if (random->Chance(0.2)) tier.fails = 0.05 * random->Unit();
  if (random->Chance(0.1)) tier.fails = 0.5;
  if (random->Chance(0.2)) tier.loses = 0.05 * random->Unit();
  if (random->Chance(0.2)) tier.most_waiting = static_cast<size_t>(random->Between(2, 20));
  return tier;
}

}  // namespace

void Curve::AddChanges(Prng* random, double gap, double length, double factor) {
  double at = 0;
  for (int i = 0; i < kChanges; ++i) {
    at += Gap(random, gap);
    changes_.push_back({at, at + length, factor});
    at += length;
  }
}

double Curve::At(double now) const {
  const auto next = std::ranges::upper_bound(changes_, now, {}, &Change::from);
  if (next == changes_.begin()) return base_;
  const Change& last = *std::prev(next);
  return now < last.to ? base_ * last.factor : base_;
}

TimedConditions::TimedConditions(uint64_t seed) {
  Prng random(seed);
  block_tokens = 8 << random.Below(2);
  const double unit = Decades(&random, -4, -2.5);
  unit_seconds = Curve(unit);
  typical = kLongPrompt * unit;
  step_base = unit * static_cast<double>(random.Below(20));
  if (random.Chance(0.3))
    unit_seconds.AddChanges(&random, 40 * typical, (2 + 20 * random.Unit()) * typical, 1 + 3 * random.Unit());
  if (random.Chance(0.7)) step_seconds = typical * Decades(&random, -1.5, 0);
  if (random.Chance(0.5)) assumed_unit = unit * Decades(&random, -0.3, 0.3);
  for (const Tier tier : {Tier::kHost, Tier::kDisk}) {
    TierConditions& made = tiers[static_cast<size_t>(tier)];
    made = MakeTier(&random, unit * block_tokens, typical);
    if (random.Chance(0.7))
      probed[static_cast<size_t>(tier)] = made.block_seconds.base() * Decades(&random, -0.3, 0.3);
  }
  host_blocks = static_cast<uint32_t>(random.Chance(0.4) ? 0 : random.Between(20, 400));
  disk = host_blocks == 0 || random.Chance(0.8);
  blocks = static_cast<uint32_t>(random.Between(160, 240));
  max_transfers = static_cast<uint32_t>(random.Chance(0.2) ? random.Between(1, 8) : 64);
  write_through = random.Chance(0.7);
  if (random.Chance(0.5)) spill_work = unit * block_tokens * Decades(&random, -2, 0);
}

double TimedConditions::StepSeconds(double now, const StepWork& work) const {
  return step_base + unit_seconds.At(now) * (work.prompts + work.decodes);
}

}  // namespace prefixd::sim
