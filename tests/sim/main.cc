// prefixd_sim: simulates the cache and its tiers, with faults or with times, from seeds.
//
//   prefixd_sim --seed N                   one seed
//   prefixd_sim --seeds COUNT [--from N]   so many, from N on; 0 when it is not given
//   prefixd_sim --timed ...                the same with times in place of faults: see timed_seeds.h
//   prefixd_sim --disk ...                 what tenants are guaranteed of the disk: see disk_shares.h
//   prefixd_sim --planted ...              a cache that does not know what tenants are guaranteed: it aborts
//   prefixd_sim --disk-planted ...         the same of the disk; odd seeds: nor what they may have
//
// Prints what happened. When a law is violated it aborts and names the seed and the event. When a count of
// many seeds stays 0 it fails: such a simulation tests less than it says.
#include <unistd.h>

#include <array>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/log.h"
#include "tests/sim/disk_shares.h"
#include "tests/sim/seeds.h"
#include "tests/sim/timed_seeds.h"

namespace prefixd::sim {
namespace {

constexpr uint64_t kMany = 100;  // seeds, from which on everything must have happened

void SayWhere(int) {
  char text[160];
  const int size = std::snprintf(text, sizeof(text), "prefixd_sim: seed %llu, event %llu, operation %llu\n",
                                 static_cast<unsigned long long>(current_seed),
                                 static_cast<unsigned long long>(current_event),
                                 static_cast<unsigned long long>(current_fail_at));
  (void)!write(STDERR_FILENO, text, static_cast<size_t>(size));
}

std::optional<uint64_t> Number(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// Prints counts, and remembers whether one is 0.
class Lines {
 public:
  void operator()(const char* name, uint64_t count) {
    std::printf("%-18s %llu\n", name, static_cast<unsigned long long>(count));
    all_ = all_ && count > 0;
  }
  void operator()(const std::array<uint64_t, kLoadDecisions>& decisions) {
    for (int i = 0; i < kLoadDecisions; ++i)
      (*this)(LoadDecisionName(static_cast<LoadDecision>(i)).data(), decisions[static_cast<size_t>(i)]);
  }
  bool all() const { return all_; }

 private:
  bool all_ = true;
};

// Returns whether no count is 0.
bool Print(const Seen& seen) {
  Lines line;
  line("steps", seen.steps);
  line("failed_steps", seen.failed_steps);
  line("finished", seen.finished);
  line("cancelled", seen.cancelled);
  line("preemptions", seen.preemptions);
  line("crashes", seen.crashes);
  line("rests", seen.rests);
  line("host_tokens", seen.host_tokens);
  line("disk_tokens", seen.disk_tokens);
  line("shared_tokens", seen.shared_tokens);
  line("recovered_records", seen.recovered_records);
  line("recovered_tokens", seen.recovered_tokens);
  line("damaged_reads", seen.damaged_reads);
  line("nonfinite", seen.nonfinite);
  line("collisions", seen.collisions);
  line("operations", seen.operations);
  line("refused_jobs", seen.refused);
  line("refused_loads", seen.refused_loads);
  line("loads", seen.loads[static_cast<size_t>(TransferResult::kOk)]);
  line("loads_failed", seen.loads[static_cast<size_t>(TransferResult::kFailed)]);
  line("loads_missing", seen.loads[static_cast<size_t>(TransferResult::kMissing)]);
  line("loads_corrupt", seen.loads[static_cast<size_t>(TransferResult::kCorrupt)]);
  line("spills", seen.spills[static_cast<size_t>(TransferResult::kOk)]);
  line("spills_failed", seen.spills[static_cast<size_t>(TransferResult::kFailed)]);
  line("spills_corrupt", seen.spills[static_cast<size_t>(TransferResult::kCorrupt)]);
  line("parts", seen.parts);
  line("guarded", seen.guarded);
  line(seen.decisions);
  return line.all();
}

bool PrintTimed(const TimedSeen& seen) {
  std::printf("%-18s %.1f\n%-18s %.1f\n", "seconds", seen.seconds, "recomputed_seconds", seen.recomputed);
  std::printf("%-18s %llu\n%-18s %llu\n%-18s %llu\n", "misjudged",
              static_cast<unsigned long long>(seen.misjudged), "slower",
              static_cast<unsigned long long>(seen.slower), "preemptions",
              static_cast<unsigned long long>(seen.preemptions));
  Lines line;
  line("requests", seen.requests);
  line("unknown", seen.unknown);
  line("together", seen.together);
  line("parts", seen.parts);
  line("loads_failed", seen.failed);
  line("loads_missing", seen.lost);
  line("loads_refused", seen.refused);
  line("spills_deferred", seen.deferred);
  line(seen.decisions);
  return line.all();
}

bool PrintDisk(const DiskSharesSeen& seen) {
  Lines line;
  line("puts", seen.puts);
  line("replaced", seen.replaced);
  line("deleted", seen.deleted);
  line("kept", seen.kept);
  line("evicted", seen.evicted);
  line("rests", seen.rests);
  line("restarts", seen.restarts);
  line("crashes", seen.crashes);
  line("floods_before_scan", seen.floods_before_scan);
  line("guarded", seen.guarded);
  line("limited", seen.limited);
  return line.all();
}

bool RunDiskSeeds(uint64_t from, uint64_t count, bool planted) {
  DiskSharesSeen seen;
  for (uint64_t seed = from; seed < from + count; ++seed)
    seen.Add(SimulateDiskShares(seed, !planted        ? Untold::kNothing
                                      : seed % 2 == 0 ? Untold::kGuarantees
                                                      : Untold::kLimits));
  if (PrintDisk(seen) || count < kMany / 10) return true;
  std::fprintf(stderr, "prefixd_sim: something never happened\n");
  return false;
}

// Returns whether all seeds together hold what many of them must.
bool RunSeeds(uint64_t from, uint64_t count, Seen (*simulate)(uint64_t) = SimulateSeed) {
  Seen seen;
  for (uint64_t i = 0; i < count; ++i) seen.Add(simulate(from + i));
  if (Print(seen) || count < kMany) return true;
  std::fprintf(stderr, "prefixd_sim: something never happened\n");
  return false;
}

bool RunTimedSeeds(uint64_t from, uint64_t count) {
  TimedSeen seen;
  for (uint64_t i = 0; i < count; ++i) seen.Add(SimulateTimedSeed(from + i));
  const bool all = PrintTimed(seen);
  if (count < kMany) return true;
  if (!all) std::fprintf(stderr, "prefixd_sim: something never happened\n");
  const bool holds = HoldsTogether(seen);
  if (!holds) std::fprintf(stderr, "prefixd_sim: loads make too much slower\n");
  return all && holds;
}

int Main(int argc, char** argv) {
  uint64_t from = 0;
  std::optional<uint64_t> count;
  const std::string_view mode = argc > 1 ? argv[1] : "";
  const bool timed = mode == "--timed", planted = mode == "--planted";
  const bool disk = mode == "--disk", disk_planted = mode == "--disk-planted";
  for (int i = timed || planted || disk || disk_planted ? 2 : 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::optional<uint64_t> value = i + 1 < argc ? Number(argv[i + 1]) : std::nullopt;
    if (!value || (name != "--seed" && name != "--seeds" && name != "--from")) {
      std::fprintf(stderr,
                   "usage: prefixd_sim [--timed | --planted | --disk | --disk-planted]"
                   " --seed N | --seeds COUNT [--from N]\n");
      return 2;
    }
    if (name != "--seeds") from = *value;
    if (name != "--from") count = name == "--seed" ? 1 : *value;
  }
  SetLogLevel(LogLevel::kError);  // what a store says of its failed writes is no news here
  std::signal(SIGABRT, SayWhere);
  const uint64_t seeds = count.value_or(1);
  if (timed) return RunTimedSeeds(from, seeds) ? 0 : 1;
  if (disk || disk_planted) return RunDiskSeeds(from, seeds, disk_planted) ? 0 : 1;
  return RunSeeds(from, seeds, planted ? SimulatePlanted : SimulateSeed) ? 0 : 1;
}

}  // namespace
}  // namespace prefixd::sim

int main(int argc, char** argv) { return prefixd::sim::Main(argc, argv); }
