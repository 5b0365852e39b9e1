// What `prefixd_sim` runs: simulations from seeds, and the counts of what happened in them. One thread.
#pragma once

#include <array>
#include <cstdint>

#include "cache/prefix_cache.h"

namespace prefixd::sim {

struct Options {
  uint64_t seed = 0;
  int events = 300;
  bool random_faults = true;
  bool real_disk = false;           // a DiskStore on a disk that fails, in place of a model
  bool forgets_guarantees = false;  // a planted bug
  uint64_t fail_at = 0;             // this operation of the medium fails, counted from 1; 0: none
};

// What happened. A simulation in which something never happens does not test it.
struct Seen {
  uint64_t steps = 0, failed_steps = 0, finished = 0, cancelled = 0, preemptions = 0, crashes = 0, rests = 0;
  uint64_t host_tokens = 0, disk_tokens = 0, recovered_records = 0, recovered_tokens = 0, shared_tokens = 0;
  uint64_t damaged_reads = 0, nonfinite = 0, collisions = 0, operations = 0, refused = 0;
  uint64_t parts = 0;  // chunks that were computed while later blocks were loaded
  uint64_t refused_loads = 0;
  uint64_t guarded = 0;  // events in which others evicted, while a tenant had no more than its guarantee
  std::array<uint64_t, kTransferResults> loads{}, spills{};
  std::array<uint64_t, kLoadDecisions> decisions{};

  void Add(const Seen& other);
};

// For the report of a violation.
extern volatile uint64_t current_seed, current_event, current_fail_at;

Seen Simulate(const Options& options);
// Simulates the seed as its number says: with random faults or, every eighth, once for each operation of the
// medium, which then fails alone. Another eighth of the seeds has a real DiskStore.
Seen SimulateSeed(uint64_t seed);
// The same with a planted bug: the cache does not know what tenants are guaranteed.
Seen SimulatePlanted(uint64_t seed);

}  // namespace prefixd::sim
