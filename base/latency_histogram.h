// LatencyHistogram: counts of durations in fixed buckets. A plain value; it may be copied between threads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace prefixd {

// Upper bounds of the buckets, in seconds. The last bucket has no upper bound.
inline constexpr std::array<double, 19> kLatencyBuckets = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 25, 50, 100};

struct LatencyHistogram {
  std::array<uint64_t, kLatencyBuckets.size() + 1> counts{};
  double sum = 0;
  void Add(double seconds) {
    size_t bucket = 0;
    while (bucket < kLatencyBuckets.size() && seconds > kLatencyBuckets[bucket]) ++bucket;
    ++counts[bucket];
    sum += seconds;
  }
};

}  // namespace prefixd
