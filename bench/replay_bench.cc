// Replays a trace of block hashes against the cache's own code (cache/prefix_cache.h) and prints, for each
// capacity, the share of the requested blocks that the cache has. A count, not a time: the same trace gives
// the same figures on every machine.
#include <charconv>
#include <chrono>
#include <cstdio>
#include <limits>

#include "bench/harness.h"
#include "bench/replay.h"

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

int Main(int argc, char** argv) {
  Arguments arguments(
      "replay_bench", "Prints the share of a trace's blocks that the prefix cache has.",
      {{"TRACE", "", "", "file with one JSON object per request; \"hash_ids\" are its blocks"},
       {"--capacity", "N,N...", "1000,3000,10000,30000", "cache sizes in blocks"},
       kJsonOption});
  arguments.ParseOrExit(argc, argv);
  const Result<std::vector<uint32_t>> capacities = ParseCapacities(arguments.Text("--capacity"));
  if (!capacities.ok()) arguments.Fail(capacities.status());
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
  report.PrintMachine();
  std::printf("trace: %zu requests, %llu blocks\n", trace->requests.size(),
              static_cast<unsigned long long>(trace->blocks));
  for (const uint32_t capacity : *capacities) {
    const auto start = std::chrono::steady_clock::now();
    const ReplayResult result = Replay(*trace, capacity);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    report.Add("lru " + std::to_string(capacity) + " blocks: hit_share", result.HitShare(), "share",
               {{"hit_blocks", static_cast<double>(result.hit_blocks)},
                {"requested_blocks", static_cast<double>(result.requested_blocks)},
                {"evicted_blocks", static_cast<double>(result.evicted_blocks)},
                {"seconds", seconds}});
  }
  return report.Finish();
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) { return prefixd::bench::Main(argc, argv); }
