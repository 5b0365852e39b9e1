#include "daemon/admin/rate_history.h"

#include <numeric>

namespace prefixd {

RateHistory::Counts RateHistory::CountsOf(double now, const EngineStats& stats) {
  Counts counts{.seconds = now,
                .computed_tokens = stats.prompt_tokens[static_cast<size_t>(TokenSource::kComputed)],
                .generated_tokens = stats.generation_tokens,
                .prefill_seconds_saved = stats.prefill_seconds_saved,
                .first_tokens = stats.time_to_first_token.counts,
                .miss_tokens = stats.miss_tokens};
  for (const uint64_t finished : stats.finished) counts.requests += finished;
  for (const uint64_t tokens : stats.prompt_tokens) counts.prompt_tokens += tokens;
  return counts;
}

void RateHistory::Sample(double now, const EngineStats& stats) {
  MutexLock lock(mutex_);
  if (!samples_.empty() && now < samples_.back().seconds + kSampleSeconds) return;
  samples_.push_back(CountsOf(now, stats));
  while (samples_.size() > 1 && samples_[1].seconds <= now - kWindowSeconds) samples_.pop_front();
}

Rates RateHistory::Until(double now, const EngineStats& stats) const {
  const Counts last = CountsOf(now, stats);
  Counts first;
  {
    MutexLock lock(mutex_);
    if (samples_.empty()) return {};
    // The oldest sample that is not older than the window, or the newest.
    size_t at = 0;
    while (at + 1 < samples_.size() && samples_[at].seconds < now - kWindowSeconds) ++at;
    first = samples_[at];
  }
  return Between(first, last);
}

std::vector<PastRates> RateHistory::Past() const {
  std::vector<PastRates> past;
  MutexLock lock(mutex_);
  for (size_t i = 1; i < samples_.size(); ++i)
    past.push_back({.until = samples_[i].seconds, .rates = Between(samples_[i - 1], samples_[i])});
  return past;
}

Rates RateHistory::Between(const Counts& first, const Counts& last) {
  Rates rates{.seconds = last.seconds - first.seconds};
  if (rates.seconds <= 0) return {};
  const auto per_second = [&](uint64_t to, uint64_t from) {
    return static_cast<double>(to - from) / rates.seconds;
  };
  rates.requests_per_second = per_second(last.requests, first.requests);
  rates.prompt_tokens_per_second = per_second(last.prompt_tokens, first.prompt_tokens);
  rates.prefill_tokens_per_second = per_second(last.computed_tokens, first.computed_tokens);
  rates.decode_tokens_per_second = per_second(last.generated_tokens, first.generated_tokens);
  rates.prefill_seconds_saved_per_second =
      (last.prefill_seconds_saved - first.prefill_seconds_saved) / rates.seconds;
  if (last.prompt_tokens > first.prompt_tokens)
    rates.cached_share = 1 - rates.prefill_tokens_per_second / rates.prompt_tokens_per_second;
  std::array<uint64_t, kMaxLatencyBounds + 1> counts;
  for (size_t i = 0; i < counts.size(); ++i) counts[i] = last.first_tokens[i] - first.first_tokens[i];
  rates.ttft_p95_seconds = QuantileOf(counts, kFirstTokenBounds, 0.95);
  for (size_t i = 0; i < rates.miss_tokens.size(); ++i)
    rates.miss_tokens[i] = last.miss_tokens[i] - first.miss_tokens[i];
  return rates;
}

std::optional<double> QuantileOf(std::span<const uint64_t> counts, std::span<const double> bounds,
                                 double share) {
  const auto all = static_cast<double>(std::accumulate(counts.begin(), counts.end(), uint64_t{0}));
  if (all == 0) return std::nullopt;
  double before = 0;
  for (size_t i = 0; i < bounds.size(); ++i) {
    const auto here = static_cast<double>(counts[i]);
    if (here > 0 && before + here >= share * all) {
      const double begin = i == 0 ? 0 : bounds[i - 1];
      return begin + (bounds[i] - begin) * (share * all - before) / here;
    }
    before += here;
  }
  return bounds.back();
}

}  // namespace prefixd
