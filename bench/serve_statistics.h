// What a workload measured: one result per request, and their summary. Plain values; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace prefixd::bench {

struct RequestResult {
  std::string error;             // empty: the request was answered in full
  std::string text;              // of the answer
  std::vector<double> arrivals;  // seconds from sending the request to each chunk that carries text
  // From the usage chunk; -1 where the server gives none.
  int64_t prompt_tokens = -1;
  int64_t completion_tokens = -1;
  int64_t cached_tokens = -1;
};

// The value below which a share of `p` (0 .. 1) of `values` lies, interpolated linearly between neighbours as
// in numpy.percentile. NaN when there are no values.
double Percentile(std::vector<double> values, double p);

struct Summary {
  int ok = 0, failed = 0;
  int short_answers = 0;  // answered with fewer tokens than were asked for
  int without_usage =
      0;  // answered without a usage chunk; their output tokens are counted as chunks with text
  std::string first_error;  // empty when none failed
  double seconds = 0;       // from the first request to the last answer
  // Times in seconds, over all requests answered in full; NaN where there is none. An inter-token latency is
  // the time between two successive chunks of an answer that carry text.
  double ttft_p50, ttft_p90, ttft_p95, ttft_p99, itl_p50, itl_p95;
  std::vector<double> ttfts;  // of the same requests, in the order of `results`
  int64_t output_tokens = 0;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  // NaN where no usage chunk says it. Where some requests report cached tokens, the others count as 0: some
  // servers leave the member out when nothing was cached.
  double output_rate, prompt_rate, cached_share;
};
Summary Summarize(const std::vector<RequestResult>& results, double seconds, int64_t asked_tokens);

}  // namespace prefixd::bench
