// What a request says of the cache beside its prompt: which mode and lifetime it asks for. Plain values; any
// thread.
#pragma once

#include <boost/json/object.hpp>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "cache/retention.h"
#include "daemon/api/request_fields.h"

namespace prefixd {

inline constexpr double kMinute = 60, kHour = 3600;
// Of a breakpoint that names none.
inline constexpr double kDefaultLifetime = 30 * kMinute;

// Of a prompt, with the one that the mode implicit adds. The latest count.
inline constexpr size_t kMostBreakpoints = 4;

struct CacheRequest {
  bool only_breakpoints = false;   // the mode explicit: what is behind the last breakpoint is not written
  std::optional<double> lifetime;  // seconds; in the mode implicit also that of the whole prompt
  std::optional<double> whole;     // a breakpoint at the end of the prompt, with this lifetime
  SessionHint hint = SessionHint::kNone;
  bool prewarm = false;  // the prompt is computed, and nothing is generated
};

// Reads `prompt_cache_options`, `prompt_cache_retention` and `prefixd_session`, the rows of AddCacheFields.
void AddCacheFields(FieldTable* table);
CacheRequest ReadCacheRequest(RequestFields& fields);

// The seconds of a lifetime such as "5m", "30m", "1h" or "24h": minutes or hours, at most a day. Nothing for
// any other text.
std::optional<double> ParseLifetime(std::string_view text);

// What the engine is told: the breakpoints within the prompt, and those that the request implies, for a
// prompt of `tokens` tokens. Of too many breakpoints the latest count.
PrefixUse UseOfPrefix(const CacheRequest& request, std::vector<Breakpoint> breakpoints, int tokens);
// Whether the request neither reads the cache nor writes to it: only breakpoints are cached, and it has none.
bool UsesNoCache(const CacheRequest& request, const PrefixUse& use);

}  // namespace prefixd
