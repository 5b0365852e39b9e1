// LoadPlannerTest: a planner, an estimate of computing, and a clock that the test moves. One thread.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "cache/load_planner.h"

namespace prefixd {

inline constexpr int kBlockTokens = 16;
inline constexpr uint64_t kBlockBytes = 1000;

// A token takes `token`, and `growth` more with each token before it.
class Estimate final : public ComputeEstimate {
 public:
  double Seconds(int from, int to) const override {
    const double sum = 0.5 * (static_cast<double>(to) * (to - 1) - static_cast<double>(from) * (from - 1));
    return others * (token * (to - from) + growth * sum);
  }
  double SecondsAlone(int from, int to) const override { return Seconds(from, to) / others; }
  double StepSeconds() const override { return step; }

  double token = 0, growth = 0, step = 0;
  double others = 1;  // all takes so many times as long beside what else is computed
};

inline std::vector<Tier> Blocks(Tier tier, size_t count) { return std::vector<Tier>(count, tier); }

class LoadPlannerTest : public testing::Test {
 protected:
  LoadPlannerTest() { compute_.token = 1.0 / kBlockTokens; }  // a block takes a second

  void Make(LoadPolicy policy, double host, double disk) {
    planner_.emplace(LoadPlanner::Options{.policy = policy,
                                          .block_tokens = kBlockTokens,
                                          .block_bytes = kBlockBytes,
                                          .block_seconds = {0, host, disk}});
  }
  uint64_t Start(Tier tier, double at) {
    planner_->SetTime(at);
    planner_->Started(++last_id_, tier);
    return last_id_;
  }
  void End(uint64_t id, double at, TransferResult result = TransferResult::kOk) {
    planner_->SetTime(at);
    planner_->Ended(
        {.id = id, .result = result, .bytes = result == TransferResult::kOk ? kBlockBytes : 0, .ended = at});
  }
  // One load after the other, from the time `at` on. Returns when the last one ends.
  double LoadInTurn(Tier tier, double at, int count, double seconds) {
    for (; count > 0; --count, at += seconds) End(Start(tier, at), at + seconds);
    return at;
  }
  LoadPlanner::Plan Decide(const std::vector<Tier>& tiers, size_t first = 0, size_t disk_ahead = 0) const {
    return planner_->Decide(tiers, first, {0, 0, disk_ahead}, &compute_);
  }
  // Whether a lease for which `plan` was made at 0 waits for `tiers` now.
  bool MayWait(const LoadPlanner::Plan& plan, const std::vector<Tier>& missing, size_t first = 0) {
    return planner_->MayWait(plan, 0, missing, first, &compute_, &instead_);
  }

  std::optional<LoadPlanner> planner_;
  Estimate compute_;
  uint64_t last_id_ = 0;
  size_t instead_ = 0;
};

}  // namespace prefixd
