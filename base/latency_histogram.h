// LatencyHistogram: counts of durations in fixed buckets. A plain value; it may be copied between threads.
//
// Invariants
//   1. The bounds grow, there are at most kMaxLatencyBounds of them, and they outlive every histogram.
//   2. The last count is that of durations above every bound. The sum of all counts is the number of Adds.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace prefixd {

// Upper bounds of buckets, in seconds. What vLLM measures too has its bounds and finer ones between them, so
// that quantiles of a fast model are not the first bound, and queries made for vLLM still find theirs.
inline constexpr std::array kFirstTokenBounds = {
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08,
    0.1,   0.15,  0.2,   0.25,  0.35,   0.5,  0.75,  1.0,  1.5,  2.0,  2.5,  3.5,
    5.0,   7.5,   10.0,  15.0,  20.0,   30.0, 40.0,  60.0, 80.0, 160., 640., 2560.};
inline constexpr std::array kInterTokenBounds = {
    0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075,
    0.1,    0.15,  0.2,   0.3,   0.4,   0.5,   0.75,   1.0,  2.5,   5.0,  7.5,   10.0, 20.0, 40.0, 80.0};
// Of the queue and of whole requests.
inline constexpr std::array kRequestBounds = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,  0.2,  0.3,   0.5,   0.8,   1.0,   1.5,   2.0,  2.5,
    5.0,   10.0,   15.0,  20.0, 30.0,  40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920., 7680.};
inline constexpr std::array kStepBounds = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05,
                                           0.1,    0.2,   0.5,   1.0,   2.0,  5.0,  10.0};
inline constexpr std::array kTransferBounds = {0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05,
                                               0.1,    0.2,    0.5,    1.0,   2.0,   5.0,   10.0, 30.0};

// Of the time since a block was used or written: from seconds to a month.
inline constexpr std::array kAgeBounds = {1.0,     5.0,     15.0,     60.0,     300.0,
                                          900.0,   1800.0,  3600.0,   7200.0,   14400.0,
                                          43200.0, 86400.0, 172800.0, 604800.0, 2592000.0};

inline constexpr size_t kMaxLatencyBounds = kFirstTokenBounds.size();

struct LatencyHistogram {
  template <size_t kCount>
  explicit constexpr LatencyHistogram(const std::array<double, kCount>& of) : bounds(of) {
    static_assert(kCount <= kMaxLatencyBounds);
  }

  std::span<const double> bounds;
  std::array<uint64_t, kMaxLatencyBounds + 1> counts{};  // by bucket; bounds.size() + 1 of them are used
  double sum = 0;
  void Add(double seconds) {
    size_t bucket = 0;
    while (bucket < bounds.size() && seconds > bounds[bucket]) ++bucket;
    ++counts[bucket];
    sum += seconds;
  }
  // Adds the counts of a histogram with the same bounds.
  LatencyHistogram& operator+=(const LatencyHistogram& other) {
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += other.counts[i];
    sum += other.sum;
    return *this;
  }
};

}  // namespace prefixd
