// Steps divided between tenants: the counters, and what the scheduler makes of them.
#include "engine/fair_shares.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "tests/engine/scheduler_world.h"

namespace prefixd {
namespace {

TEST(FairShares, WhoComesBackIsAheadByTheCreditAtMost) {
  FairShares shares;
  FairShares::Tenant* const flood = shares.Join({"flood", 1});
  EXPECT_TRUE(shares.alone());
  shares.Charge(flood, 100'000);
  FairShares::Tenant* other = shares.Join({"other", 2});
  EXPECT_FALSE(shares.alone());
  EXPECT_EQ(other->counter, 100'000 - FairShares::kCredit);
  shares.Charge(other, 1000);
  EXPECT_EQ(other->counter, 100'500 - FairShares::kCredit) << "its weight is 2";
  // Its credit is used up once, however often it leaves.
  shares.Leave(other);
  other = shares.Join({"other", 2});
  EXPECT_EQ(other->counter, 100'500 - FairShares::kCredit);
  shares.Charge(other, 40'000);
  shares.Leave(other);
  EXPECT_EQ(shares.remembered(), 2u) << "it has had more than its share";
  EXPECT_EQ(shares.Join({"other", 2})->counter, 120'500 - FairShares::kCredit);
  for (int i = 0; i < 1000; ++i) shares.Leave(shares.Join({"once" + std::to_string(i), 1}));
  EXPECT_EQ(shares.remembered(), 2u) << "who owes nothing is forgotten";
}

TEST(FairShares, TheMachineIsSharedUntilOneWasAloneForLong) {
  constexpr double kLong = FairShares::kAloneSeconds;
  FairShares shares;
  FairShares::Tenant* const flood = shares.Join({"flood", 1});
  shares.Charge(flood, 1'000'000);
  EXPECT_FALSE(shares.shared(0));
  FairShares::Tenant* other = shares.Join({"other", 1});
  EXPECT_TRUE(shares.shared(1));
  EXPECT_TRUE(shares.shared(2 * kLong)) << "both have sequences";
  shares.Leave(other);
  shares.Charge(flood, 1'000'000'000);
  EXPECT_TRUE(shares.shared(3 * kLong - 1));
  EXPECT_FALSE(shares.shared(3 * kLong));
  shares.Leave(shares.Join({"flood", 1}));
  EXPECT_FALSE(shares.shared(3 * kLong)) << "several sequences of one tenant";
  shares.Leave(flood);
  shares.Leave(shares.Join({"other", 1}));
  EXPECT_TRUE(shares.shared(3 * kLong)) << "two come in turns";
  EXPECT_FALSE(shares.shared(4 * kLong));
}

TEST(FairShares, NothingIsRememberedWhenNobodyHasWork) {
  FairShares shares;
  FairShares::Tenant* const one = shares.Join({"one", 1});
  FairShares::Tenant* const two = shares.Join({"two", 1});
  shares.Charge(two, 1000);
  shares.Leave(two);
  EXPECT_EQ(shares.remembered(), 2u);
  shares.Leave(one);
  EXPECT_EQ(shares.remembered(), 0u);
}

class FairWorld : public World {
 public:
  using World::World;

  RequestId AddOf(const std::string& tenant, int prompt, int max_tokens, double weight = 1) {
    const TokenId first = 1'000'000 * static_cast<TokenId>(++requests_);  // no prefix in common
    const RequestId id = Add(Tokens(prompt, first), max_tokens, false, true, {tenant, weight});
    of_[id] = tenant;
    return id;
  }
  int RunningOf(const std::string& tenant) const {
    int running = 0;
    for (const auto& sequence : scheduler_.running()) running += sequence->request.share.tenant == tenant;
    return running;
  }
  int LiveOf(const std::string& tenant) const {
    int live = RunningOf(tenant);
    for (const auto& sequence : scheduler_.queued()) live += sequence->request.share.tenant == tenant;
    return live;
  }
  // Steps until the sequence has its first token, or has ended.
  int StepsToFirstToken(
      RequestId id, const std::function<void()>& between = [] {}) {
    for (int steps = 1; steps <= 10'000; ++steps) {
      between();
      CountedStep();
      const Sequence* const sequence = scheduler_.Find(id);
      if (sequence == nullptr || sequence->generated() > 0) return steps;
    }
    ADD_FAILURE() << "no token";
    return 0;
  }
  void CountedStep() {
    rows_ = Step();
    for (const auto& [id, tokens] : chunks_) computed_[of_.at(id)] += tokens;
  }

  std::map<std::string, int64_t> computed_;  // tokens by tenant
  std::map<RequestId, std::string> of_;
  int rows_ = 0;
  int requests_ = 0;
};

constexpr SchedulerLimits kLimits{.max_sequences = 64, .step_tokens = 512};

// Keeps `streams` long requests of a tenant alive.
void Flood(FairWorld& world, int streams) {
  while (world.LiveOf("flood") < streams) world.AddOf("flood", 700 + world.requests_ % 7 * 100, 40);
}

TEST(FairScheduling, AFloodDelaysTheFirstTokenOfAnotherTwofoldAtMost) {
  for (const int prompt : {10, 500, 2000, 6000}) {
    FairWorld alone(1600, 64, kLimits);
    const int steps_alone = alone.StepsToFirstToken(alone.AddOf("other", prompt, 2));
    FairWorld world(1600, 64, kLimits);
    for (int i = 0; i < 60; ++i) {
      Flood(world, 64);
      world.CountedStep();
    }
    EXPECT_EQ(world.RunningOf("flood"), 64) << "alone it gets every place";
    const int steps = world.StepsToFirstToken(world.AddOf("other", prompt, 2), [&] { Flood(world, 64); });
    EXPECT_LE(steps, 2 * steps_alone) << prompt;
    EXPECT_LE(world.rows_, 64 + 2 * prompt) << "a short prompt is in a short step";
    EXPECT_EQ(world.RunningOf("flood"), 63);
    EXPECT_EQ(world.scheduler_.preemptions(), 1u) << "once, and not back and forth";
  }
}

// A machine of so many seconds for each step and each row, whose steps may take half a second.
struct TimedWorld : FairWorld {
  TimedWorld(double base, double row) : FairWorld(1600, 64, kLimits) {
    budget_ = StepBudget(RowCost(), 0.5);
    step_seconds_ = [this, base, row] {
      last_ = base;
      for (const auto& [id, tokens] : chunks_) last_ += row * tokens;
      return last_;
    };
  }
  // Seconds until the first token of a request that comes when a step has just begun.
  double SecondsToFirstToken(int prompt, const std::function<void()>& between) {
    const double begun = now_ - last_;
    StepsToFirstToken(AddOf("other", prompt, 1), between);
    return now_ - begun;
  }
  double last_ = 0;
};

TEST(FairScheduling, APromptBesideAFloodWaitsForNoLongStep) {
  for (const int prompt : {40, 400}) {
    TimedWorld alone(0.01, 0.001);
    const auto nothing = [] {};
    for (int i = 0; i < 20; ++i) alone.SecondsToFirstToken(prompt, nothing);
    alone.last_ = 0;
    const double seconds_alone = alone.SecondsToFirstToken(prompt, nothing);
    TimedWorld world(0.01, 0.001);
    const auto flood = [&] { Flood(world, 64); };
    std::vector<double> times;
    for (int i = 0; i < 60; ++i) {
      for (int steps = 0; steps < 5 + i % 7; ++steps) {
        flood();
        world.CountedStep();
      }
      if (i % 3 == 0) world.now_ += FairShares::kAloneSeconds - 60;  // it asks now and then
      times.push_back(world.SecondsToFirstToken(prompt, flood));
    }
    std::sort(times.begin() + 1, times.end());  // the first waits for a step of a tenant that was alone
    EXPECT_LT(times[57], 2 * seconds_alone) << prompt << " tokens; with steps of half a second 10 times";
  }
}

TEST(FairScheduling, AnswersThatDoNotFitAStepTakeTurns) {
  TimedWorld world(0.01, 0.001);
  world.AddOf("other", 400, 1);
  for (int i = 0; i < 60; ++i) world.AddOf("flood", 10, 400);
  while (world.LiveOf("other") > 0 || world.RunningOf("flood") < 60) world.CountedStep();
  for (int i = 0; i < 100; ++i) world.CountedStep();  // the time of a step is known, and all generate
  const int turns = static_cast<int>(std::ceil(60 / std::floor(world.budget_.DecodeUnits())));
  EXPECT_GE(turns, 2);
  std::map<RequestId, int> waited;
  for (int i = 0; i < 90; ++i) {
    if (i == 60) world.AddOf("other", 10, 30);
    world.CountedStep();
    EXPECT_LE(world.last_, 0.06) << "all at once take 0.07";
    for (const auto& sequence : world.scheduler_.running()) {
      int& steps = waited[sequence->id];
      steps = world.chunks_.contains(sequence->id) ? 0 : steps + 1;
      EXPECT_LE(steps, i < 60 ? turns : turns + 3) << "steps without " << sequence->id;
      if (world.of_.at(sequence->id) == "other") EXPECT_EQ(steps, 0) << "it has had fewer tokens";
    }
  }
  EXPECT_EQ(world.LiveOf("flood"), 60);
}

TEST(FairScheduling, AnswersOfAFloodGoOnBesideATenantThatIsFarBehind) {
  TimedWorld world(0.01, 0.001);
  for (int i = 0; i < 52; ++i) world.AddOf("flood", 10, 400);
  for (int i = 0; i < 200; ++i) world.CountedStep();
  for (int i = 0; i < 12; ++i) world.AddOf("other", 10, 400);
  for (int i = 0; i < 40; ++i) world.CountedStep();
  const int turns = static_cast<int>(std::ceil(64 / std::floor(world.budget_.DecodeUnits())));
  EXPECT_GE(turns, 2);
  const int64_t flood = world.computed_["flood"], other = world.computed_["other"];
  std::map<RequestId, int> waited;
  for (int i = 0; i < 60; ++i) {
    world.CountedStep();
    for (const auto& sequence : world.scheduler_.running()) {
      int& steps = waited[sequence->id];
      steps = world.chunks_.contains(sequence->id) ? 0 : steps + 1;
      EXPECT_LE(steps, 2 * turns + 2) << "steps without " << sequence->id;
    }
  }
  EXPECT_EQ(waited.size(), 64u);
  EXPECT_GT((world.computed_["other"] - other) * 52, (world.computed_["flood"] - flood) * 12 * 2)
      << "each of its answers is twice as quick, or more";
}

TEST(FairScheduling, TenantsWithWorkGetTokensByWeight) {
  for (const double weight : {1.0, 3.0}) {
    FairWorld world(250, 64, {.max_sequences = 16, .step_tokens = 128});
    const auto fill = [&] {
      while (world.LiveOf("one") < 40) world.AddOf("one", 500, 4);
      while (world.LiveOf("two") < 40) world.AddOf("two", 150, 4, weight);
    };
    for (int i = 0; i < 800; ++i) {
      fill();
      world.CountedStep();
      if (testing::Test::HasFailure()) return;
    }
    const double one = static_cast<double>(world.computed_["one"]);
    const double two = static_cast<double>(world.computed_["two"]);
    EXPECT_NEAR(two / weight, one, 1000) << one << " and " << two;
    EXPECT_GT(one + two, 800 * 100);
  }
}

TEST(FairScheduling, PlacesOfOneWhoLeavesGoToTheOthers) {
  FairWorld world(4000, 16, {.max_sequences = 8, .step_tokens = 64});
  for (int i = 0; i < 12; ++i) world.AddOf("one", 40, 60);
  for (int i = 0; i < 12; ++i) world.AddOf("two", 40, 20);
  for (int i = 0; i < 8; ++i) world.CountedStep();
  EXPECT_EQ(world.RunningOf("one"), 4);
  EXPECT_EQ(world.RunningOf("two"), 4);
  while (world.LiveOf("two") > 0) world.CountedStep();
  world.CountedStep();
  EXPECT_EQ(world.RunningOf("one"), std::min(8, world.LiveOf("one")));
  world.RunToEnd(10'000);
}

}  // namespace
}  // namespace prefixd
