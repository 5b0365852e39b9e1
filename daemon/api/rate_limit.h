// RateLimit: how many requests and tokens a tenant has taken lately, of as many as it may take in a minute.
//
// Each of the two is a token bucket in its form as a meter (ITU-T I.371, "leaky bucket"): what is taken adds
// to `used`, and `used` falls by the limit in a minute. So a tenant that was idle may take the limit at once.
// The length of an answer is not known in advance: a request needs room for its prompts, and the tokens of
// its answer are added as they come, above the limit, too. A prompt of more tokens than the limit needs the
// whole of it.
//
// Threads: any.
//
// Invariants
//   1. tokens() is the sum of usage.total_tokens of all requests that were accepted, when none runs.
//   2. A refused request has taken nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "daemon/api/api_key.h"
#include "daemon/http/error_response.h"
#include "daemon/http/exchange.h"

namespace prefixd {

class RateLimit {
 public:
  // There are no limits at first. What was taken stays taken.
  void SetLimits(const TenantLimits& limits) EXCLUDES(mutex_);

  // Takes a request, or the tokens of its prompts. Otherwise returns the 429. `now`: seconds that never fall.
  std::optional<ApiError> TakeRequest(double now) EXCLUDES(mutex_);
  std::optional<ApiError> TakePrompt(int64_t tokens, double now) EXCLUDES(mutex_);
  // Tokens of an answer. Below 0: of a taken prompt whose request was not accepted.
  void AddTokens(int64_t tokens, double now) EXCLUDES(mutex_);

  // The x-ratelimit headers; those of what has no limit are absent.
  HttpHeaders Headers(double now) EXCLUDES(mutex_);
  // Taken, in all.
  int64_t requests() const EXCLUDES(mutex_);
  int64_t tokens() const EXCLUDES(mutex_);

 private:
  struct Meter {
    int64_t limit = 0;  // a minute; 0: none
    double used = 0;    // at `time`
    double time = 0;
    int64_t taken = 0;  // in all

    void Drain(double now);
    // Takes so many and returns 0, or returns after how many seconds there is room for them.
    double Take(int64_t count, double now);
    void Add(int64_t count, double now);
    void AppendHeaders(const std::string& what, double now, HttpHeaders* headers);
  };

  mutable Mutex mutex_;
  Meter requests_ GUARDED_BY(mutex_), tokens_ GUARDED_BY(mutex_);
};

// A time as Go writes it, which clients of OpenAI read: "12ms", "1.5s", "6m0s".
std::string GoDuration(double seconds);

}  // namespace prefixd
