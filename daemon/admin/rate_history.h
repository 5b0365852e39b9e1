// RateHistory: what the engine counted over the last minutes, as rates. It keeps a few counters of each
// sample, for as long as the window, so its size is fixed.
//
// Threads: any; the members lock.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/mutex.h"
#include "engine/engine_stats.h"

namespace prefixd {

// Over `seconds`; nothing where nothing was counted that would say it.
struct Rates {
  double seconds = 0;  // the part of the window for which there are samples
  double requests_per_second = 0;
  double prompt_tokens_per_second = 0;  // of prompts that were completed, cached tokens included
  double prefill_tokens_per_second = 0, decode_tokens_per_second = 0;
  double prefill_seconds_saved_per_second = 0;
  std::optional<double> cached_share;  // of the prompt tokens
  std::optional<double> ttft_p95_seconds;
  std::array<uint64_t, kMissReasons> miss_tokens{};  // computed prompt tokens, by reason
};

// The rates of one span that ended at `until`, on the engine's clock.
struct PastRates {
  double until = 0;
  Rates rates;
};

class RateHistory {
 public:
  static constexpr double kWindowSeconds = 300, kSampleSeconds = 5;

  // Keeps a sample, unless the last one is younger than kSampleSeconds. `now` never falls.
  void Sample(double now, const EngineStats& stats);
  // From the oldest sample in the window until now.
  Rates Until(double now, const EngineStats& stats) const;
  // Those between each sample and the one before it, the oldest first.
  std::vector<PastRates> Past() const;

 private:
  struct Counts {
    double seconds = 0;
    uint64_t requests = 0, prompt_tokens = 0, computed_tokens = 0, generated_tokens = 0;
    double prefill_seconds_saved = 0;
    std::array<uint64_t, kMaxLatencyBounds + 1> first_tokens{};
    std::array<uint64_t, kMissReasons> miss_tokens{};
  };
  static Counts CountsOf(double now, const EngineStats& stats);
  static Rates Between(const Counts& first, const Counts& last);

  mutable Mutex mutex_;
  // The oldest first; that one alone may be older than the window.
  std::deque<Counts> samples_ GUARDED_BY(mutex_);
};

// The value below which the share of the counted durations lies, linear within a bucket; nothing when none
// was counted. Above the last bound it is that bound.
std::optional<double> QuantileOf(std::span<const uint64_t> counts, std::span<const double> bounds,
                                 double share);

}  // namespace prefixd
