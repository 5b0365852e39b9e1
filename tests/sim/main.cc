// prefixd_sim: simulates the cache and its tiers with faults, from seeds.
//
//   prefixd_sim --seed N                   one seed
//   prefixd_sim --seeds COUNT [--from N]   so many, from N on; 0 when it is not given
//
// Prints what happened. When a law is violated it aborts and names the seed and the event. When a count of
// many seeds stays 0 it fails: such a simulation tests less than it says.
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/log.h"
#include "tests/sim/seeds.h"

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

// Prints the counts. Returns whether none is 0.
bool Print(const Seen& seen) {
  bool all = true;
  const auto line = [&](const char* name, uint64_t count) {
    std::printf("%-18s %llu\n", name, static_cast<unsigned long long>(count));
    all = all && count > 0;
  };
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
  for (int i = 0; i < kLoadDecisions; ++i)
    line(LoadDecisionName(static_cast<LoadDecision>(i)).data(), seen.decisions[static_cast<size_t>(i)]);
  return all;
}

int Main(int argc, char** argv) {
  uint64_t from = 0;
  std::optional<uint64_t> count;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::optional<uint64_t> value = i + 1 < argc ? Number(argv[i + 1]) : std::nullopt;
    if (!value || (name != "--seed" && name != "--seeds" && name != "--from")) {
      std::fprintf(stderr, "usage: prefixd_sim --seed N | --seeds COUNT [--from N]\n");
      return 2;
    }
    if (name != "--seeds") from = *value;
    if (name != "--from") count = name == "--seed" ? 1 : *value;
  }
  SetLogLevel(LogLevel::kError);  // what a store says of its failed writes is no news here
  std::signal(SIGABRT, SayWhere);
  Seen seen;
  for (uint64_t i = 0; i < count.value_or(1); ++i) seen.Add(SimulateSeed(from + i));
  const bool all = Print(seen);
  if (all || count.value_or(1) < kMany) return 0;
  std::fprintf(stderr, "prefixd_sim: something never happened\n");
  return 1;
}

}  // namespace
}  // namespace prefixd::sim

int main(int argc, char** argv) { return prefixd::sim::Main(argc, argv); }
