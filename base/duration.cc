#include "base/duration.h"

#include <charconv>
#include <ctime>
#include <iterator>

namespace prefixd {
namespace {

struct Unit {
  char name;
  int64_t seconds;
};
constexpr Unit kUnits[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86'400}, {'w', 7 * 86'400}};
constexpr int64_t kLongest = int64_t{1000} * 365 * 86'400;
constexpr uint64_t kYear10000 = 253'402'300'800;  // in seconds since 1970

}  // namespace

Result<int64_t> ParseDuration(std::string_view text) {
  const Status bad = InvalidArgument("'" + std::string(text) +
                                     "' is not a span of time: write a whole number and s, m, h, d or w, " +
                                     "such as 12h or 7d");
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0 || end + 1 != text.data() + text.size()) return bad;
  for (const Unit& unit : kUnits) {
    if (unit.name != *end) continue;
    if (number > kLongest / unit.seconds) return bad;
    return number * unit.seconds;
  }
  return bad;
}

std::string FormatDuration(int64_t seconds) {
  const Unit* chosen = &kUnits[0];
  // Weeks are read less well than days.
  for (const Unit* unit = std::begin(kUnits); unit != std::end(kUnits) - 1; ++unit)
    if (seconds >= 2 * unit->seconds) chosen = unit;
  return std::to_string(seconds / chosen->seconds) + " " +
         (chosen->name == 'm' ? std::string("min") : std::string(1, chosen->name));
}

std::string FormatUtc(uint64_t unix_seconds) {
  if (unix_seconds >= kYear10000) return "after the year 9999";
  const auto time = static_cast<std::time_t>(unix_seconds);
  std::tm parts{};
  gmtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

}  // namespace prefixd
