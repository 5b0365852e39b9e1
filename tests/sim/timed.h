// TimedSimulation: a scheduler, a cache and lower tiers on one clock that moves from event to event. They are
// driven as the engine drives them. The steps of the model and the transfers take the times that the
// conditions of the seed say. It measures how long each request takes from its arrival until its prompt is
// computed.
//
// Laws
//   1. The invariants of the cache and the scheduler hold after every event.
//   2. At rest, when no request is left and all transfers have ended, nothing is leased.
// timed_seeds.h says what is compared.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "engine/scheduler.h"
#include "tests/sim/timed_port.h"

namespace prefixd::sim {

struct TimedRequest {
  double arrival = 0;  // in a simulation of one request at a time: seconds after the end of the one before
  std::vector<TokenId> prompt;
  int answer = 1;  // tokens
};

struct TimedResult {
  double arrival = 0;
  double seconds = 0;       // from the arrival until the prompt is computed
  double longest_step = 0;  // of those meanwhile; and of those that `recompute` counts
  // Only of one request at a time: what computing alone takes from the same state on, and what the budget
  // would have said that it takes, or 0 when it knew nothing.
  double recompute = 0, estimate = 0;
  // Only of one request at a time: it has found blocks on the device behind some that it computed, which
  // `recompute` does not know.
  bool found_more = false;
  int found = 0;  // tokens on the device, at first
};

class TimedSimulation {
 public:
  // `one_at_a_time`: each request arrives after the one before has ended.
  TimedSimulation(uint64_t seed, LoadPolicy policy, bool one_at_a_time);

  std::vector<TimedResult> Run();

  const PrefixCacheStats& stats() const { return cache_->stats(); }
  const TimedPort& port() const { return port_; }
  uint64_t parts = 0;  // chunks that were computed while later blocks were loaded
  uint64_t preemptions = 0;

 private:
  void Turn();
  void Arrive();
  double NextArrival() const;
  void Launch(const std::vector<PlannedChunk>& plan);
  void AfterChunk(const PlannedChunk& chunk);
  void NoteWhatComputingTakes(const Sequence& sequence);
  double RecomputeSeconds(const Sequence& sequence, double* longest_step) const;
  void Check(bool always);
  void Rest();
  bool Busy() const { return !scheduler_->queued().empty() || !scheduler_->running().empty(); }

  const uint64_t seed_;
  const bool one_at_a_time_;
  const TimedConditions conditions_;
  class NoCopies final : public DeviceCopier {
   public:
    void CopyBlock(BlockId, BlockId) override {}
  } copier_;
  TimedPort port_;
  std::unique_ptr<PrefixCache> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  StepBudget budget_;
  std::vector<TimedRequest> requests_;
  std::vector<TimedResult> results_;  // by request; its id is 1 more
  size_t arrived_ = 0;
  double now_ = 0;
  double ended_ = 0;  // when the last request has ended
  uint64_t events_ = 0;
};

}  // namespace prefixd::sim
