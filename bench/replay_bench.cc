// Replays a trace of block hashes against the cache's own code (cache/prefix_cache.h) with each eviction
// policy, and against the optimum. Prints, for each policy and capacity, the share of the requested blocks
// that the cache has. A count, not a time: the same trace gives the same figures on every machine.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <map>

#include "bench/harness.h"
#include "bench/replay.h"
#include "bench/replay_optimal.h"
#include "cache/eviction.h"

namespace prefixd::bench {
namespace {

// "1000,3000" as numbers.
Result<std::vector<uint32_t>> ParseCapacities(const std::string& text) {
  std::vector<uint32_t> capacities;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    uint32_t capacity = 0;
    const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, capacity);
    if (error != std::errc() || stop != text.data() + end || capacity == 0 || capacity > (1u << 28)) {
      return InvalidArgument("--capacity '" + text + "': '" + text.substr(begin, end - begin) +
                             "' is not a number of blocks from 1 to 268435456");
    }
    capacities.push_back(capacity);
    begin = end + 1;
  }
  return capacities;
}

constexpr std::string_view kOptimal = "opt";

// "lru,opt" as names; "all" is every policy and the optimum.
Result<std::vector<std::string>> ParsePolicies(const std::string& text) {
  std::vector<std::string> known(EvictionPolicyNames().begin(), EvictionPolicyNames().end());
  known.emplace_back(kOptimal);
  if (text == "all") return known;
  std::vector<std::string> policies;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    policies.push_back(text.substr(begin, end - begin));
    if (std::find(known.begin(), known.end(), policies.back()) == known.end()) {
      std::string names;
      for (const std::string& name : known) names += name + ", ";
      return InvalidArgument("--eviction '" + text + "': '" + policies.back() + "' is none of " + names +
                             "all");
    }
    begin = end + 1;
  }
  return policies;
}

void PrintTable(const std::vector<std::string>& policies, const std::vector<uint32_t>& capacities,
                const std::map<std::pair<std::string, uint32_t>, double>& shares) {
  std::printf("%-12s", "hit share");
  for (const uint32_t capacity : capacities) std::printf(" %10u", capacity);
  std::printf("\n");
  for (const std::string& policy : policies) {
    std::printf("%-12s", policy.c_str());
    for (const uint32_t capacity : capacities) std::printf(" %10.4f", shares.at({policy, capacity}));
    std::printf("\n");
  }
}

// What WhatIf says of other sizes of a cache, beside what the replay at these sizes finds. Capacities that
// the longest request does not fit into have no such row.
void ReportPredictions(const Trace& trace, const std::vector<uint32_t>& capacities, Report* report) {
  for (const uint32_t capacity : capacities) {
    const auto start = std::chrono::steady_clock::now();
    const auto shares = Predict(trace, capacity, kDefaultEviction);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    for (size_t scale = 0; scale < shares.size(); ++scale) {
      const auto size = static_cast<uint32_t>(kWhatIfScales[scale] * capacity);
      if (size < trace.longest_request) continue;
      const double measured = Replay(trace, size, kDefaultEviction).HitShare();
      report->Add("what-if of " + std::to_string(capacity) + " blocks: at " + std::to_string(size),
                  shares[scale], "share",
                  {{"measured", measured},
                   {"error", shares[scale] - measured},
                   {"seconds_per_block", seconds / static_cast<double>(trace.blocks)}});
    }
  }
}

int Main(int argc, char** argv) {
  Arguments arguments(
      "replay_bench", "Prints the share of a trace's blocks that the prefix cache has, by eviction policy.",
      {{"TRACE", "", "", "file with one JSON object per request; \"hash_ids\" are its blocks"},
       {"--capacity", "N,N...", "1000,3000,10000,30000", "cache sizes in blocks"},
       {"--eviction", "NAME,NAME...", "all", "policies; opt is the optimum, which knows the future"},
       {"--what-if", "", "", "also compares prefixd_ghost_hit_tokens_total with replays at other sizes"},
       kJsonOption});
  arguments.ParseOrExit(argc, argv);
  const Result<std::vector<uint32_t>> capacities = ParseCapacities(arguments.Text("--capacity"));
  if (!capacities.ok()) arguments.Fail(capacities.status());
  const Result<std::vector<std::string>> policies = ParsePolicies(arguments.Text("--eviction"));
  if (!policies.ok()) arguments.Fail(policies.status());
  const Result<Trace> trace = ReadTrace(arguments.Text("TRACE"));
  if (!trace.ok()) {
    std::fprintf(stderr, "replay_bench: %s\n", trace.status().message().c_str());
    return 1;
  }
  for (const uint32_t capacity : *capacities) {
    if (capacity < trace->longest_request) {
      arguments.Fail(InvalidArgument("--capacity " + std::to_string(capacity) + ": the longest request has " +
                                     std::to_string(trace->longest_request) +
                                     " blocks; use at least as many"));
    }
  }
  Report report(arguments);
  report.ProbeMachine();
  std::printf("trace: %zu requests, %llu blocks\n", trace->requests.size(),
              static_cast<unsigned long long>(trace->blocks));
  std::map<std::pair<std::string, uint32_t>, double> shares;
  for (const std::string& policy : *policies) {
    for (const uint32_t capacity : *capacities) {
      const auto start = std::chrono::steady_clock::now();
      const ReplayResult result =
          policy == kOptimal ? ReplayOptimal(*trace, capacity) : Replay(*trace, capacity, policy);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      shares[{policy, capacity}] = result.HitShare();
      report.Add(policy + " " + std::to_string(capacity) + " blocks: hit_share", result.HitShare(), "share",
                 {{"hit_blocks", static_cast<double>(result.hit_blocks)},
                  {"requested_blocks", static_cast<double>(result.requested_blocks)},
                  {"evicted_blocks", static_cast<double>(result.evicted_blocks)},
                  {"nodes", static_cast<double>(result.nodes)},
                  {"book_bytes", static_cast<double>(result.book_bytes)},
                  {"seconds", seconds}});
    }
  }
  if (arguments.Given("--what-if")) ReportPredictions(*trace, *capacities, &report);
  PrintTable(*policies, *capacities, shares);
  return report.Finish();
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) { return prefixd::bench::Main(argc, argv); }
