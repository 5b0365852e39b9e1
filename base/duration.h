// Spans of time as people write them: "90s", "15m", "12h", "7d", "2w". Pure functions; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace prefixd {

// Returns seconds. A whole number with one of the units s, m, h, d and w. kInvalidArgument: the text is no
// such thing, or longer than 1000 years.
Result<int64_t> ParseDuration(std::string_view text);
// Formats 93'600 as "26 h": rounded down to a unit of which there are at least two, except below two minutes.
std::string FormatDuration(int64_t seconds);
// Formats seconds since 1970 as "2026-11-27 07:00:00"; years beyond 9999 as "after the year 9999".
std::string FormatUtc(uint64_t unix_seconds);

}  // namespace prefixd
