#include "bench/serve_statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace prefixd::bench {

double Percentile(std::vector<double> values, double p) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::sort(values.begin(), values.end());
  const double place = p * static_cast<double>(values.size() - 1);
  const size_t below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (values[above] - values[below]) * (place - static_cast<double>(below));
}

Summary Summarize(const std::vector<RequestResult>& results, double seconds, int64_t asked_tokens) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  Summary summary;
  summary.seconds = seconds;
  std::vector<double> first, gaps;
  bool usage = false, cached = false;
  for (const RequestResult& result : results) {
    if (!result.error.empty()) {
      if (summary.failed++ == 0) summary.first_error = result.error;
      continue;
    }
    ++summary.ok;
    const std::vector<double>& arrivals = result.arrivals;
    if (!arrivals.empty()) first.push_back(arrivals.front());
    for (size_t i = 1; i < arrivals.size(); ++i) gaps.push_back(arrivals[i] - arrivals[i - 1]);
    const bool counted = result.completion_tokens >= 0;
    summary.output_tokens += counted ? result.completion_tokens : static_cast<int64_t>(arrivals.size());
    if (counted && result.completion_tokens < asked_tokens) ++summary.short_answers;
    if (!counted) ++summary.without_usage;
    usage = usage || result.prompt_tokens >= 0;
    cached = cached || result.cached_tokens >= 0;
    summary.prompt_tokens += std::max<int64_t>(result.prompt_tokens, 0);
    summary.cached_tokens += std::max<int64_t>(result.cached_tokens, 0);
  }
  summary.ttft_p50 = Percentile(first, 0.50);
  summary.ttft_p90 = Percentile(first, 0.90);
  summary.ttft_p95 = Percentile(first, 0.95);
  summary.ttft_p99 = Percentile(first, 0.99);
  summary.ttfts = std::move(first);
  summary.itl_p50 = Percentile(gaps, 0.50);
  summary.itl_p95 = Percentile(gaps, 0.95);
  const bool timed = summary.ok > 0 && seconds > 0;
  summary.output_rate = timed ? static_cast<double>(summary.output_tokens) / seconds : kNone;
  summary.prompt_rate = timed && usage ? static_cast<double>(summary.prompt_tokens) / seconds : kNone;
  summary.cached_share = cached && summary.prompt_tokens > 0 ? static_cast<double>(summary.cached_tokens) /
                                                                   static_cast<double>(summary.prompt_tokens)
                                                             : kNone;
  return summary;
}

}  // namespace prefixd::bench
