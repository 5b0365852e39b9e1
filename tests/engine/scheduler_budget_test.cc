#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "engine/scheduler.h"
#include "tests/engine/scheduler_world.h"

namespace prefixd {
namespace {

// A budget that has seen steps of some 4 ms per token.
StepBudget TrainedBudget(RowCost cost) {
  StepBudget budget(std::move(cost), 0.5);
  for (int step = 0; step < 30; ++step) {
    const double units = budget.PromptUnits(0);
    budget.Observe({.prompts = units}, 0.001 + 0.004 * units);
  }
  return budget;
}

TEST(SchedulerBudget, ABudgetOfTimeBoundsPromptsAndNotDecodes) {
  World world(600, 4, {32, 512});
  for (int i = 0; i < 20; ++i) world.Add(Tokens(1, 1000 * i), 50);
  world.Step();
  world.Add(Tokens(400, 50000), 1);
  world.budget_ = TrainedBudget(RowCost());
  const int tokens = static_cast<int>(world.budget_.PromptUnits(20));  // the steps take 0 s, so it stays
  EXPECT_GT(tokens, 50);
  for (int step = 0; step < 3; ++step) EXPECT_EQ(world.Step(), 20 + tokens) << step;
}

TEST(SchedulerBudget, ChunksShrinkWithTheDepthOfThePrompt) {
  World world(600, 4, {8, 512});
  world.budget_ = TrainedBudget(RowCost(ShapeWithCostlyAttention({0, 0})));
  const RequestId id = world.Add(Tokens(1000, 0), 1);
  int before = 512, sum = 0, smaller = 0;
  while (!world.outputs_.contains(id)) {
    ASSERT_GT(world.Step(), 0);
    sum += world.chunks_[id];
    if (sum == 1000) break;  // the last chunk is what is left
    EXPECT_LE(world.chunks_[id], before);
    smaller += world.chunks_[id] < before ? 1 : 0;
    before = world.chunks_[id];
  }
  EXPECT_LT(before, 5);
  EXPECT_GT(smaller, 3);
}

TEST(SchedulerBudget, PromptsShareABudgetOfTimeInTurns) {
  World world(2000, 4, {8, 512});
  world.budget_ = StepBudget(RowCost(), 0.5);  // without a measurement: a few tokens a step
  std::map<RequestId, int> done;
  for (int i = 0; i < 6; ++i) done[world.Add(Tokens(600, 1000 * i), 1)] = 0;
  for (int step = 0; step < 60; ++step) {
    world.Step();
    for (const auto& [id, tokens] : world.chunks_) done[id] += tokens;
  }
  const int all = 60 * static_cast<int>(world.budget_.PromptUnits(0));
  for (const auto& [id, tokens] : done) EXPECT_GE(tokens, all / 10) << id;
}

}  // namespace
}  // namespace prefixd
