// The engine with a clock that a step advances by a fixed time for each unit of its work.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/step_budget.h"
#include "tests/engine/engine_fixture.h"
#include "tests/kernels/forwarding_backend.h"

namespace prefixd {
namespace {

using testing_support::Recorder;

constexpr double kUnitSeconds = 0.04;

class TimedRunner final : public kernel_testing::ForwardingRunner {
 public:
  TimedRunner(ModelRunner& to, ManualClock* clock) : ForwardingRunner(to), clock_(clock) {}
  void Launch(const StepInput& input, std::function<void()> on_done) override {
    double units = 0;
    for (const SequenceSpan& s : input.batch.sequences) units += cost_.Of(s.position, s.rows);
    clock_->Advance(std::llround(units * kUnitSeconds * 1e9));
    rows.push_back(input.batch.rows());
    seconds.push_back(units * kUnitSeconds);
    ForwardingRunner::Launch(input, std::move(on_done));
  }
  // Of each step.
  std::vector<int> rows;
  std::vector<double> seconds;

 private:
  const RowCost cost_{shape()};
  ManualClock* const clock_;
};

template <typename T>
T Largest(const std::vector<T>& values) {
  return *std::max_element(values.begin(), values.end());
}

class StepTimeTest : public EngineTest {
 protected:
  std::unique_ptr<Engine> MakeTimed(double step_seconds) {
    EngineOptions options = Options();
    options.step_seconds = step_seconds;
    auto engine = Engine::Create(options, &runner_, loaded_->backend.get(), &clock_);
    PREFIXD_CHECK(engine.ok()) << engine.status().ToString();
    return std::move(*engine);
  }
  TimedRunner runner_{*loaded_->model, &clock_};
};

TEST_F(StepTimeTest, StepsOfAPromptFollowTheStatedTime) {
  for (const double stated : {0.6, 1.0, 2.0, 100.0}) {
    SCOPED_TRACE(stated);
    runner_.rows.clear();
    runner_.seconds.clear();
    auto engine = MakeTimed(stated);
    for (const int seed : {1, 2, 3}) {
      auto recorder = std::make_shared<Recorder>();
      ASSERT_TRUE(engine->Submit(Ask(Prompt(120, seed), 1, recorder)).ok());
      RunToEnd(*engine);
      EXPECT_EQ(recorder->finish, FinishReason::kLength);
    }
    EXPECT_LE(Largest(runner_.seconds), stated);
    if (Largest(runner_.rows) < Options().step_tokens) {
      EXPECT_GT(Largest(runner_.seconds), 0.7 * stated);
    } else {
      EXPECT_GE(stated, 2);
    }
  }
}

TEST_F(StepTimeTest, AStreamGetsATokenInEveryStepOfThePrompt) {
  auto engine = MakeTimed(0.6);
  auto stream = std::make_shared<Recorder>(), prompt = std::make_shared<Recorder>();
  ASSERT_TRUE(engine->Submit(Ask(Prompt(4), 100, stream)).ok());
  for (int i = 0; i < 5; ++i) engine->Step();
  runner_.rows.clear();
  ASSERT_TRUE(engine->Submit(Ask(Prompt(120, 7), 1, prompt)).ok());
  const size_t before = stream->tokens.size();
  while (!prompt->finished()) {
    ASSERT_TRUE(engine->Step());
    EXPECT_EQ(stream->tokens.size(), before + runner_.rows.size());
    EXPECT_LE(runner_.seconds.back(), 0.6);
  }
  EXPECT_GE(runner_.rows.size(), 8u) << "120 tokens, at most 15 a step";
}

TEST_F(StepTimeTest, ACancelledPromptIsInNoFurtherStep) {
  auto engine = MakeTimed(0.6);
  auto prompt = std::make_shared<Recorder>();
  const Result<RequestId> id = engine->Submit(Ask(Prompt(120), 1, prompt));
  ASSERT_TRUE(id.ok());
  for (int i = 0; i < 3; ++i) engine->Step();
  ASSERT_TRUE(engine->Advance());  // launches
  const size_t launched = runner_.rows.size();
  engine->Cancel(*id);
  while (!prompt->finished()) {
    if (!engine->Advance()) engine->WaitForWork(std::chrono::seconds(10));
  }
  EXPECT_EQ(prompt->finish, FinishReason::kCancelled);
  EXPECT_EQ(runner_.rows.size(), launched) << "it ends with the step in flight";
  EXPECT_LE(runner_.seconds.back(), 0.6);
}

}  // namespace
}  // namespace prefixd
