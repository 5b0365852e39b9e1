#include "daemon/api/rate_limit.h"

#include <algorithm>
#include <cmath>

namespace prefixd {
namespace {

constexpr double kMinute = 60;
constexpr double kRounding = 1e-6;  // of sums and differences of doubles

ApiError RefusedError(std::string_view what, int64_t limit, double seconds) {
  return {.status = 429,
          .type = "rate_limit_error",
          .code = "rate_limit_exceeded",
          .message = "This tenant may take " + std::to_string(limit) + " " + std::string(what) +
                     " a minute (" + std::string(what) + "-per-minute of its key); there is room in " +
                     GoDuration(seconds) + ".",
          .retry_after = static_cast<int>(std::clamp(std::ceil(seconds), 1.0, kMinute))};
}

}  // namespace

void RateLimit::Meter::Drain(double now) {
  used = std::max(0.0, used - std::max(0.0, now - time) * static_cast<double>(limit) / kMinute);
  time = std::max(time, now);
}

double RateLimit::Meter::Take(int64_t count, double now) {
  Drain(now);
  const double over = used + static_cast<double>(std::min(count, limit) - limit);
  if (limit > 0 && over > kRounding) return over * kMinute / static_cast<double>(limit);
  Add(count, now);
  return 0;
}

void RateLimit::Meter::Add(int64_t count, double now) {
  Drain(now);
  taken += count;
  if (limit > 0) used = std::max(0.0, used + static_cast<double>(count));
}

void RateLimit::Meter::AppendHeaders(const std::string& what, double now, HttpHeaders* headers) {
  if (limit == 0) return;
  Drain(now);
  const double remaining = std::max(0.0, static_cast<double>(limit) - used);
  headers->emplace_back("x-ratelimit-limit-" + what, std::to_string(limit));
  headers->emplace_back("x-ratelimit-remaining-" + what,
                        std::to_string(static_cast<int64_t>(remaining + kRounding)));
  headers->emplace_back("x-ratelimit-reset-" + what, GoDuration(used * kMinute / static_cast<double>(limit)));
}

void RateLimit::SetLimits(const TenantLimits& limits) {
  MutexLock lock(mutex_);
  requests_.limit = limits.requests_per_minute;
  tokens_.limit = limits.tokens_per_minute;
}

std::optional<ApiError> RateLimit::TakeRequest(double now) {
  MutexLock lock(mutex_);
  const double wait = requests_.Take(1, now);
  if (wait == 0) return std::nullopt;
  return RefusedError("requests", requests_.limit, wait);
}

std::optional<ApiError> RateLimit::TakePrompt(int64_t tokens, double now) {
  MutexLock lock(mutex_);
  const double wait = tokens_.Take(tokens, now);
  if (wait == 0) return std::nullopt;
  return RefusedError("tokens", tokens_.limit, wait);
}

void RateLimit::AddTokens(int64_t tokens, double now) {
  MutexLock lock(mutex_);
  tokens_.Add(tokens, now);
}

HttpHeaders RateLimit::Headers(double now) {
  MutexLock lock(mutex_);
  HttpHeaders headers;
  requests_.AppendHeaders("requests", now, &headers);
  tokens_.AppendHeaders("tokens", now, &headers);
  return headers;
}

int64_t RateLimit::requests() const {
  MutexLock lock(mutex_);
  return requests_.taken;
}

int64_t RateLimit::tokens() const {
  MutexLock lock(mutex_);
  return tokens_.taken;
}

std::string GoDuration(double seconds) {
  const auto milliseconds = static_cast<int64_t>(std::ceil(seconds * 1000 - kRounding));
  if (milliseconds < 1000) return std::to_string(std::max<int64_t>(0, milliseconds)) + "ms";
  std::string rest = std::to_string(milliseconds % 60000 / 1000);
  if (const int64_t part = milliseconds % 1000; part > 0) {
    std::string digits = std::to_string(1000 + part).substr(1);
    digits.erase(digits.find_last_not_of('0') + 1);
    rest += "." + digits;
  }
  const int64_t minutes = milliseconds / 60000;
  if (minutes == 0) return rest + "s";
  const std::string hours = minutes < 60 ? "" : std::to_string(minutes / 60) + "h";
  return hours + std::to_string(minutes % 60) + "m" + rest + "s";
}

}  // namespace prefixd
