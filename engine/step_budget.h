// RowCost and StepBudget: how many tokens of prompts a step may compute, so that it stays below a stated
// time.
//
// Work is counted in units. A unit is the work of the matrix products of one token. A token also has a share
// of attention, which grows with its position, so that a token of a long prompt costs more than one unit.
//
// StepBudget measures two numbers: the seconds that every step takes (`base`: mostly reading the weights), in
// steps that compute no prompt or little of one, and the seconds of a unit, in the others. Prompts get what
// the decodes leave of the stated time, but at least half of what the decodes take. A step therefore takes at
// most the stated time, or one and a half times as long as the decodes alone.
//
// While tenants share the machine, the steps are shorter: who comes waits for the end of the step in flight,
// and should not wait much longer than its own prompt takes. So decodes are limited, too; otherwise they
// always run.
//
// It depends on no clock, model or thread: the caller passes the times. One owner (the engine thread).
//
// Invariants
//   1. PromptUnits() > 0, so prompts always advance.
//   2. No result of the model depends on it: chunking never changes bits. So a wrong estimate costs time,
//      and nothing else.
//   3. A single slow step raises the estimated time of a step by at most one half, and the next ones lower
//      it again.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "kernels/model_plan.h"

namespace prefixd {

class RowCost {
 public:
  RowCost() = default;  // each row costs one unit, wherever it is
  explicit RowCost(const ModelShape& shape);

  // Returns the units of the tokens at [position, position + tokens).
  double Of(int position, int tokens) const;
  // Returns how many tokens from `position` on cost at most `units`; at most `limit`.
  int Fitting(double units, int position, int limit) const;

 private:
  struct Part {         // the layers that have the same window
    double growth = 0;  // units for each position that a token sees in these layers
    int window = 0;     // 0: a token sees all positions before it
  };
  std::vector<Part> parts_;
};

// Returns the units of one position that a token sees in every layer: the share of attention, relative to the
// matrix products.
double UnitsPerPosition(const ModelShape& shape);

// The units of one step.
struct StepWork {
  double decodes = 0;  // of the sequences that generate
  double prompts = 0;
};

class StepBudget {
 public:
  StepBudget() = default;  // no limit; a row costs one unit
  // `step_seconds` 0: no limit.
  StepBudget(RowCost cost, double step_seconds) : cost_(std::move(cost)), step_seconds_(step_seconds) {}

  const RowCost& cost() const { return cost_; }
  // Whether the next steps are shorter than stated.
  void SetShared(bool shared) { shared_ = shared; }
  // Returns how many units prompts may have in a step with decodes of `decode_units`. `own`: in a step for
  // one of the tenants alone, which may be twice as long.
  double PromptUnits(double decode_units, bool own = false) const;
  // Returns how many units the decodes of a step may have. What is beyond waits for the next steps.
  double DecodeUnits() const;
  // A step has taken `seconds`.
  void Observe(const StepWork& work, double seconds);

  // The running averages of the last steps that computed prompts, whatever ran beside them: the seconds of a
  // step, and of a unit of prompts. 0: there was none, and nothing was assumed.
  double prompt_step_seconds() const { return prompt_step_seconds_; }
  double prompt_unit_seconds() const { return prompt_unit_seconds_; }
  // Before the first such step: what a probe has said about a unit.
  void AssumePromptUnit(double seconds) { prompt_unit_seconds_ = seconds; }

 private:
  double StatedSeconds(bool own) const;  // of a step, at most
  double UnitSeconds() const;            // 0: not measured
  double Predict(double units) const { return base_.value_or(0) + units * UnitSeconds(); }
  void ObserveBase(double units, double seconds);
  void ObserveUnits(double units, double seconds);
  void ObservePrompts(const StepWork& work, double seconds);

  RowCost cost_;
  double step_seconds_ = 0;
  bool shared_ = false;
  std::optional<double> base_;  // seconds
  // The average of the steps that compute prompts. A unit takes what `seconds_` are more than `base_`, over
  // `units_`. So when `base_` changes, the prediction for such a step stays.
  double units_ = 0;  // 0: none so far
  double seconds_ = 0;
  double largest_ = 0;          // units of prompts in one step, so far
  double largest_seconds_ = 0;  // of that step
  int steps_ = 0;               // observed, up to the number that come first
  double prompt_step_seconds_ = 0, prompt_unit_seconds_ = 0;
};

}  // namespace prefixd
