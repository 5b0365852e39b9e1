#include "engine/step_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/prng.h"

namespace prefixd {
namespace {

constexpr double kStated = 0.5;  // seconds

// A machine whose steps take `base` seconds and `unit` seconds for each unit. Where `overlaps`, it reads the
// weights while it computes.
struct Machine {
  double base, unit;
  bool overlaps = false;
  double Seconds(const StepWork& work) const {
    const double units = unit * (work.decodes + work.prompts);
    return overlaps ? std::max(base, units) : base + units;
  }
};

// Runs steps of a long prompt beside `decodes` sequences. Returns the seconds of each step.
std::vector<double> Prefill(StepBudget* budget, const Machine& machine, int steps, double decodes = 0) {
  std::vector<double> seconds;
  for (int i = 0; i < steps; ++i) {
    const StepWork work{.decodes = decodes, .prompts = budget->PromptUnits(decodes)};
    seconds.push_back(machine.Seconds(work));
    budget->Observe(work, seconds.back());
  }
  return seconds;
}

void Decode(StepBudget* budget, const Machine& machine, int steps, double decodes) {
  for (int i = 0; i < steps; ++i) budget->Observe({.decodes = decodes}, machine.Seconds({decodes, 0}));
}

double Largest(const std::vector<double>& values) { return *std::max_element(values.begin(), values.end()); }

StepBudget Settled(const Machine& machine) {
  StepBudget budget(RowCost(), kStated);
  Prefill(&budget, machine, 30);
  return budget;
}

TEST(StepBudget, StepsAreShortWhileTenantsShareTheMachineAndLongAgainAfterIt) {
  for (const Machine& machine : {Machine{0.0005, 0.00002}, Machine{0.008, 0.001}, Machine{0.02, 0.0005}}) {
    StepBudget budget = Settled(machine);
    const double units = budget.PromptUnits(0);
    budget.SetShared(true);
    Decode(&budget, machine, 5, 4);
    const double decodes = machine.Seconds({.decodes = 4});
    const double stated = std::max(kStated / 16, 3 * machine.base);
    EXPECT_LE(Largest(Prefill(&budget, machine, 50, 4)), std::max(stated, 1.5 * decodes) * 1.01);
    EXPECT_LE(machine.Seconds({.decodes = budget.DecodeUnits()}), std::max(stated, 3.5 * machine.base));
    EXPECT_GE(machine.Seconds({.decodes = budget.DecodeUnits()}), stated / 2);
    budget.SetShared(false);
    EXPECT_TRUE(std::isinf(budget.DecodeUnits()));
    EXPECT_NEAR(budget.PromptUnits(0), units, units / 10) << "what a unit takes is still known";
  }
}

TEST(StepBudget, WithoutALimitPromptsGetEverything) {
  StepBudget budget;
  budget.Observe({.decodes = 1, .prompts = 100}, 1000);
  EXPECT_TRUE(std::isinf(budget.PromptUnits(50)));
}

TEST(StepBudget, AStepStaysBelowTheStatedTimeAndComesNearIt) {
  for (const Machine& machine :
       {Machine{0.0005, 0.00002}, Machine{0.008, 0.001}, Machine{0.008, 0.0024}, Machine{0.07, 0.021},
        Machine{0.07, 0.021, true}, Machine{0.2, 0.005}, Machine{0.2, 0.005, true}}) {
    SCOPED_TRACE(testing::Message() << machine.base << " + " << machine.unit << " " << machine.overlaps);
    StepBudget budget(RowCost(), kStated);
    const std::vector<double> lone = Prefill(&budget, machine, 40);
    EXPECT_LE(Largest(lone), kStated * 1.1) << "from the first step on";
    EXPECT_LE(Largest({lone.begin() + 10, lone.end()}), kStated);
    EXPECT_GT(lone.back(), 0.7 * kStated);
    Decode(&budget, machine, 50, 3);
    const std::vector<double> beside_streams = Prefill(&budget, machine, 40, 3);
    EXPECT_LE(Largest(beside_streams), kStated);
    EXPECT_GT(beside_streams.back(), 0.7 * kStated);
  }
}

TEST(StepBudget, NoisySteps) {
  const Machine machine{0.05, 0.004};
  Prng prng(1);
  StepBudget budget = Settled(machine);
  int longer = 0;
  for (int i = 0; i < 1000; ++i) {
    const StepWork work{.prompts = budget.PromptUnits(0)};
    const double seconds = machine.Seconds(work) * (0.85 + 0.3 * prng.Unit());
    longer += seconds > kStated ? 1 : 0;
    budget.Observe(work, seconds);
    EXPECT_GT(seconds, 0.5 * kStated) << i;
  }
  EXPECT_LT(longer, 50);
}

// The weights of a big model take eight times the stated time to read: prompts still get a third of a step.
TEST(StepBudget, PromptsDoNotStarveWhenTheWeightsAloneTakeLonger) {
  const Machine machine{4, 0.07};
  StepBudget budget(RowCost(), kStated);
  Prefill(&budget, machine, 40);
  EXPECT_GT(budget.PromptUnits(0) * machine.unit, machine.base / 4) << "without a decode so far";
  EXPECT_LT(budget.PromptUnits(0) * machine.unit, machine.base);
  Decode(&budget, machine, 20, 2);
  const std::vector<double> steps = Prefill(&budget, machine, 20, 2);
  EXPECT_LT(Largest(steps), 1.7 * machine.base);
  EXPECT_GT(steps.back(), 1.3 * machine.base);
}

TEST(StepBudget, OneSlowStepIsForgottenSoon) {
  const Machine machine{0.008, 0.0024};
  StepBudget budget = Settled(machine);
  const double before = budget.PromptUnits(0);
  budget.Observe({.prompts = before}, 30);
  EXPECT_GT(budget.PromptUnits(0), 0.6 * before);
  Prefill(&budget, machine, 4);
  EXPECT_GT(budget.PromptUnits(0), 0.9 * before);
}

TEST(StepBudget, SlowFirstStepsAreForgottenSoon) {
  const Machine machine{0.008, 0.0024};
  for (const int slow : {1, 2, 3, 4}) {
    StepBudget budget(RowCost(), kStated);
    for (int i = 0; i < slow; ++i) {
      const StepWork work{.prompts = budget.PromptUnits(0)};
      budget.Observe(work, 30 * machine.Seconds(work));
    }
    const std::vector<double> steps = Prefill(&budget, machine, 12);
    EXPECT_GT(budget.PromptUnits(0), 0.8 * Settled(machine).PromptUnits(0)) << slow;
    EXPECT_LE(Largest(steps), kStated) << slow;
  }
}

TEST(StepBudget, AMachineThatBecomesSlowerIsFollowed) {
  StepBudget budget = Settled({0.008, 0.001});
  const std::vector<double> steps = Prefill(&budget, {0.064, 0.008}, 12);
  EXPECT_GT(steps.front(), 5 * kStated);
  EXPECT_LE(steps.back(), kStated);
  const std::vector<double> again = Prefill(&budget, {0.008, 0.001}, 12);
  EXPECT_GT(again.back(), 0.7 * kStated);
}

TEST(StepBudget, ManyDecodesAndShortPromptsChangeLittle) {
  for (const Machine& machine : {Machine{0.008, 0.0024}, Machine{0.07, 0.021}, Machine{0.2, 0.005, true}}) {
    SCOPED_TRACE(machine.unit);
    StepBudget budget = Settled(machine);
    Decode(&budget, machine, 10, 4);
    Prefill(&budget, machine, 20, 4);
    const double before = budget.PromptUnits(4);
    Decode(&budget, machine, 10000, 4);
    EXPECT_NEAR(budget.PromptUnits(4), before, 0.2 * before);
    Prng prng(2);
    for (int i = 0; i < 1000; ++i) {
      const StepWork work{.decodes = 4, .prompts = std::min(1 + 20 * prng.Unit(), budget.PromptUnits(4))};
      budget.Observe(work, machine.Seconds(work));
    }
    const StepWork work{.decodes = 4, .prompts = budget.PromptUnits(4)};
    EXPECT_LE(machine.Seconds(work), 1.1 * kStated);
    EXPECT_GT(machine.Seconds(work), 0.5 * kStated);
  }
}

TEST(StepBudget, PromptsAlwaysAdvance) {
  Prng prng(3);
  for (int round = 0; round < 200; ++round) {
    StepBudget budget(RowCost(), 0.01 + prng.Unit());
    for (int i = 0; i < 100; ++i) {
      const double decodes = prng.Chance(0.5) ? 0 : 1000 * prng.Unit();
      const double units = budget.PromptUnits(decodes);
      ASSERT_TRUE(std::isfinite(units) && units >= 1) << units;
      budget.Observe({decodes, prng.Chance(0.3) ? 0 : units}, std::exp(20 * (prng.Unit() - 0.5)));
    }
  }
}

ModelShape Shape(std::vector<int> windows) {
  ModelShape shape;
  shape.layers = static_cast<int>(windows.size());
  shape.hidden = 64;
  shape.intermediate = 128;
  shape.heads = 4;
  shape.kv_heads = 2;
  shape.head_dim = 16;
  shape.windows = std::move(windows);
  return shape;
}

TEST(StepBudget, APromptUnitIsMeasuredInStepsThatAreLargeEnough) {
  StepBudget budget(RowCost(), 0.5);
  EXPECT_EQ(budget.prompt_unit_seconds(), 0);
  budget.AssumePromptUnit(0.001);
  EXPECT_EQ(budget.prompt_unit_seconds(), 0.001);
  for (int step = 0; step < 30; ++step) budget.Observe({.prompts = budget.PromptUnits(0)}, 0.1);
  const double unit = budget.prompt_unit_seconds();
  EXPECT_NEAR(budget.prompt_step_seconds(), 0.1, 1e-6);
  for (int step = 0; step < 30; ++step) budget.Observe({.decodes = 4, .prompts = 8}, 0.08);
  EXPECT_EQ(budget.prompt_unit_seconds(), unit) << "8 units of some hundred that were allowed say little";
}

// After a time in which the machine was busy there may be only hits, which compute little. That they are
// quick says that the estimate is too high.
TEST(StepBudget, SmallStepsThatAreQuickLowerAPromptUnit) {
  StepBudget budget(RowCost(), 0.25);
  const auto step = [&](double prompts, double slower) {
    budget.Observe({.prompts = prompts}, slower * (0.02 + prompts / 800));
  };
  for (int i = 0; i < 50; ++i) step(budget.PromptUnits(0), 1);
  const double unit = budget.prompt_unit_seconds();
  for (int i = 0; i < 50; ++i) step(std::min(100.0, budget.PromptUnits(0)), 8);
  EXPECT_GT(budget.prompt_unit_seconds(), 6 * unit);
  for (int i = 0; i < 50; ++i) step(16, 1);
  EXPECT_LT(budget.prompt_unit_seconds(), 2.5 * unit);
  for (int i = 0; i < 1000; ++i) step(1, 1);
  EXPECT_GT(budget.prompt_unit_seconds(), unit) << "mostly the weights: no unit takes as long";
}

// A large model on a small machine: the stated time allows fewer units than are telling elsewhere.
TEST(StepBudget, APromptUnitIsMeasuredWhereStepsAreSmall) {
  for (const double unit : {0.02, 0.05, 0.5}) {
    StepBudget budget(RowCost(), 0.5);
    for (int step = 0; step < 60; ++step) {
      const double units = budget.PromptUnits(0);
      budget.Observe({.prompts = units}, 0.01 + unit * units);
    }
    EXPECT_LT(budget.PromptUnits(0), 32) << unit;
    EXPECT_NEAR(budget.prompt_unit_seconds(), unit, 0.15 * unit);
  }
}

TEST(RowCost, CountsThePositionsThatATokenSees) {
  const std::vector<int> windows = {0, 10, 10, 64};
  const RowCost cost(Shape(windows));
  const double one = UnitsPerPosition(Shape(windows)) / 4;
  for (const int position : {0, 1, 9, 10, 11, 63, 64, 65, 1000, 200000}) {
    double sum = 0;
    for (int tokens = 1; tokens <= 70; ++tokens) {
      const int at = position + tokens - 1;
      sum += 1 + one * (at + 2 * std::min(at, 10) + std::min(at, 64));
      ASSERT_NEAR(cost.Of(position, tokens), sum, 1e-6 * sum) << position << ", " << tokens;
    }
  }
}

TEST(RowCost, FittingIsTheLargestThatCostsNoMore) {
  for (const RowCost& cost : {RowCost(), RowCost(Shape({0, 100})), RowCost(Shape({8, 8}))}) {
    for (const int position : {0, 50, 5000}) {
      for (const double units : {0.0, 0.5, 1.0, 7.5, 100.0, 1e9}) {
        const int tokens = cost.Fitting(units, position, 512);
        EXPECT_TRUE(tokens == 0 || cost.Of(position, tokens) <= units) << units;
        EXPECT_TRUE(tokens == 512 || cost.Of(position, tokens + 1) > units) << units;
      }
    }
  }
}

}  // namespace
}  // namespace prefixd
