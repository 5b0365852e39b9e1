#include "engine/step_budget.h"

#include <algorithm>
#include <limits>

namespace prefixd {
namespace {

// The share of the stated time that a step is planned for. The rest is for steps that take longer than
// planned.
constexpr double kPlannedShare = 0.8;
// The part of the stated time that steps have while tenants share the machine.
constexpr double kSharedPart = 1.0 / 16;
// But they have at least so many times the time of a step without prompts, which every step spends on the
// weights: shorter ones would read the weights too often.
constexpr double kSharedBases = 3;
// Where decodes are limited, they have at least so many times that time: otherwise as many tokens would take
// much longer.
constexpr double kLeastDecodeBases = 2;
// Prompts get at least this share of the time of the decodes. Otherwise a model whose weights alone take the
// stated time to read would read them for a token or two of a prompt.
constexpr double kShareOfDecodes = 0.5;
// The smallest number of units for prompts. A step with no more of them measures `base`, one with more the
// time of a unit.
constexpr double kLeastUnits = 8;
// So many steps of the smallest size come first, to measure `base`. One is not enough: during the first step
// the system may still map the memory of the model.
constexpr int kFirstSteps = 2;
// A chunk is at most this many times as large as the largest before it. It bounds a step that is planned
// with a first, wrong estimate.
constexpr double kLargestGrowth = 2;
// A step counts as at most this many times as long as predicted.
constexpr double kLargestSurprise = 2;
// The weights of one step in the averages.
constexpr double kBaseWeight = 0.25;
constexpr double kPromptWeight = 0.3;
constexpr double kLeastTellingUnits = 32;
constexpr double kUnitWeight = 0.5;
// `base` may be too large, as when the machine was busy. A step that computes prompts takes at least this
// share of its time for them.
constexpr double kLeastShareOfUnits = 0.25;
// A step that computes less than this share of the units that it might have says little about a unit.
constexpr double kTellingShare = 0.5;

// Returns the sum of min(p, window) over the positions p in [0, end).
double PositionsSeen(double end, int window) {
  if (window == 0 || end <= window) return end * (end - 1) / 2;
  const double full = window;
  return full * (full - 1) / 2 + (end - full) * full;
}

}  // namespace

double UnitsPerPosition(const ModelShape& shape) {
  const double query = shape.QueryWidth();
  const double weights =
      shape.hidden * (2 * query + 2.0 * shape.KvWidth()) + 3.0 * shape.hidden * shape.intermediate;
  return 4 * query / (2 * weights);
}

RowCost::RowCost(const ModelShape& shape) {
  const double growth = UnitsPerPosition(shape) / shape.layers;
  for (const int window : shape.windows) {
    auto part = std::ranges::find(parts_, window, &Part::window);
    if (part == parts_.end()) part = parts_.insert(part, {.window = window});
    part->growth += growth;
  }
}

double RowCost::Of(int position, int tokens) const {
  double units = tokens;
  for (const Part& part : parts_) {
    const double seen = PositionsSeen(static_cast<double>(position) + tokens, part.window) -
                        PositionsSeen(position, part.window);
    units += part.growth * seen;
  }
  return units;
}

int RowCost::Fitting(double units, int position, int limit) const {
  int fits = 0, beyond = limit + 1;
  while (beyond - fits > 1) {
    const int middle = fits + (beyond - fits) / 2;
    (Of(position, middle) <= units ? fits : beyond) = middle;
  }
  return fits;
}

double StepBudget::PromptUnits(double decode_units, bool own) const {
  if (step_seconds_ <= 0) return std::numeric_limits<double>::infinity();
  if (steps_ < kFirstSteps) return kLeastUnits;
  const double planned = kPlannedShare * StatedSeconds(own);
  if (units_ == 0) {  // as many as certainly fit, if the largest step so far has fitted
    const double growth = largest_seconds_ < planned ? planned / largest_seconds_ : kLargestGrowth;
    return std::max(kLeastUnits, largest_ * std::min(growth, kLargestGrowth));
  }
  const double decodes = Predict(decode_units);
  const double seconds = std::max(planned - decodes, kShareOfDecodes * decodes);
  const double largest = kLargestGrowth * std::max(largest_, kLeastUnits);
  return std::clamp(seconds / UnitSeconds(), kLeastUnits, largest);
}

double StepBudget::DecodeUnits() const {
  if (!shared_ || step_seconds_ <= 0 || units_ == 0) return std::numeric_limits<double>::infinity();
  const double base = base_.value_or(0);
  const double seconds = std::max(kPlannedShare * StatedSeconds(false) - base, kLeastDecodeBases * base);
  return std::max(seconds / UnitSeconds(), kLeastUnits);
}

double StepBudget::StatedSeconds(bool own) const {
  if (!shared_) return step_seconds_;
  const double least = std::max(kSharedBases * base_.value_or(0), kSharedPart * step_seconds_);
  return std::min((own ? 2 : 1) * least, step_seconds_);
}

double StepBudget::UnitSeconds() const {
  if (units_ == 0) return 0;
  return std::max(seconds_ - base_.value_or(0), kLeastShareOfUnits * seconds_) / units_;
}

void StepBudget::Observe(const StepWork& work, double seconds) {
  if (!(seconds > 0)) return;
  ObservePrompts(work, seconds);
  if (step_seconds_ <= 0) return;
  const double units = work.decodes + work.prompts;
  const double allowed = PromptUnits(work.decodes);
  if (base_) base_ = std::min(*base_, seconds);
  const bool telling = work.prompts >= kTellingShare * allowed ||
                       seconds > std::max(step_seconds_, kLargestSurprise * Predict(units));
  if (work.prompts > kLeastUnits && work.prompts > largest_) {
    units_ = units;
    seconds_ = seconds;
  } else if (units_ > 0 && work.prompts > 0 && telling) {  // the smallest steps too, if no larger is allowed
    ObserveUnits(units, seconds);
  } else if (work.prompts <= kLeastUnits) {
    ObserveBase(units, seconds);
  }
  if (work.prompts == largest_) largest_seconds_ = std::min(largest_seconds_, seconds);
  if (work.prompts > largest_) largest_seconds_ = seconds;
  largest_ = std::max(largest_, work.prompts);
  steps_ = std::min(steps_ + 1, kFirstSteps);
}

// Steps with few tokens of prompts say little: most of their time is the weights and the decodes. But where
// the stated time allows no more, they are what computing is made of.
void StepBudget::ObservePrompts(const StepWork& work, double seconds) {
  const double allowed = units_ > 0 ? PromptUnits(work.decodes) : std::numeric_limits<double>::infinity();
  const bool is_growing = allowed >= kLargestGrowth * std::max(largest_, kLeastUnits);
  const bool telling =
      work.prompts >= kLeastTellingUnits || (!is_growing && work.prompts >= kTellingShare * allowed);
  // But a step that is quicker than the estimate shows that it is too high: a unit takes no longer than all.
  const bool quicker = work.prompts > 0 && seconds < prompt_unit_seconds_ * work.prompts;
  if (!telling && !quicker) return;
  const auto add = [](double value, double* average) {
    *average += (*average == 0 ? 1 : kPromptWeight) * (value - *average);
  };
  if (telling) add(seconds, &prompt_step_seconds_);
  add(seconds / work.prompts, &prompt_unit_seconds_);
}

void StepBudget::ObserveBase(double units, double seconds) {
  if (base_) seconds = std::min(seconds, kLargestSurprise * Predict(units));
  const double base = std::max(0.0, seconds - units * UnitSeconds());
  base_ = base_ ? *base_ + kBaseWeight * (base - *base_) : base;
}

void StepBudget::ObserveUnits(double units, double seconds) {
  const double longest = base_.value_or(0) + kLargestSurprise * units * UnitSeconds();
  units_ += kUnitWeight * (units - units_);
  seconds_ += kUnitWeight * (std::min(seconds, longest) - seconds_);
}

}  // namespace prefixd
