#include "tests/sim/seeds.h"

#include "tests/sim/simulation.h"

namespace prefixd::sim {

volatile uint64_t current_seed = 0, current_event = 0, current_fail_at = 0;

void Seen::Add(const Seen& other) {
  const auto add = [&](auto... members) { ((this->*members += other.*members), ...); };
  add(&Seen::steps, &Seen::failed_steps, &Seen::finished, &Seen::cancelled, &Seen::preemptions,
      &Seen::crashes, &Seen::rests, &Seen::host_tokens, &Seen::disk_tokens, &Seen::recovered_records,
      &Seen::recovered_tokens, &Seen::shared_tokens, &Seen::damaged_reads, &Seen::nonfinite,
      &Seen::collisions, &Seen::operations, &Seen::refused, &Seen::refused_loads, &Seen::parts,
      &Seen::guarded);
  for (size_t i = 0; i < kLoadDecisions; ++i) decisions[i] += other.decisions[i];
  for (size_t i = 0; i < kTransferResults; ++i) {
    loads[i] += other.loads[i];
    spills[i] += other.spills[i];
  }
}

Seen Simulate(const Options& options) {
  current_seed = options.seed;
  current_fail_at = options.fail_at;
  return Simulation(options).Run();
}

Seen SimulateSeed(uint64_t seed) {
  if (seed % 8 != 7) return Simulate({.seed = seed, .real_disk = seed % 8 == 3});
  Options options{.seed = seed, .events = 80, .random_faults = false};
  Seen all;
  for (options.fail_at = 1;; ++options.fail_at) {
    const Seen seen = Simulate(options);
    all.Add(seen);
    if (seen.operations < options.fail_at) return all;
  }
}

Seen SimulatePlanted(uint64_t seed) { return Simulate({.seed = seed, .forgets_guarantees = true}); }

}  // namespace prefixd::sim
