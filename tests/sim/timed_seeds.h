// What `prefixd_sim --timed` runs: timed simulations from seeds, with loads as the planner decides and with
// computing alone, and the comparison of the two. One thread.
//
// Laws
//   1. One request at a time: no request takes longer than 1.05 times what computing alone takes from the
//      same state on, and a step, 20 ms and a tick of the engine. Where the budget expects more of computing
//      than it then takes, because the machine has become faster since its last steps, what it expects
//      counts. Before anything is known about computing, a second is added.
//   2. The computing alone of law 1 is exact: with LoadPolicy::kRecompute every request takes just that.
//      Where one finds blocks on the device behind some that it computes, it takes at most a step more.
//   3. Requests beside each other, over many seeds: all together take no longer than with
//      LoadPolicy::kRecompute, and few take longer than law 1 allows for one. A single one may: another that
//      would still be queued computes beside it now, and the cache has other blocks.
#pragma once

#include <cstdint>

#include "tests/sim/timed.h"

namespace prefixd::sim {

struct TimedSeen {
  uint64_t requests = 0;   // one at a time
  uint64_t unknown = 0;    // of them: before anything was known about computing
  uint64_t misjudged = 0;  // of them: longer than law 1 says without its second sentence
  uint64_t together = 0;   // requests beside each other
  uint64_t slower = 0;     // of them: longer than law 1 says
  double seconds = 0;      // that they took
  double recomputed = 0;   // and with LoadPolicy::kRecompute
  uint64_t parts = 0, failed = 0, lost = 0, refused = 0, preemptions = 0, deferred = 0;
  std::array<uint64_t, kLoadDecisions> decisions{};

  void Add(const TimedSeen& other);
};

// Aborts when law 1 or 2 is violated.
TimedSeen SimulateTimedSeed(uint64_t seed);
// For many seeds: whether law 3 holds, few requests are misjudged, and for few nothing is known about
// computing.
bool HoldsTogether(const TimedSeen& seen);

}  // namespace prefixd::sim
