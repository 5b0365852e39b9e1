#include "daemon/api/cache_request.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <iterator>
#include <utility>
#include <vector>

namespace prefixd {

namespace {

namespace json = boost::json;

std::optional<double> ReadLifetime(RequestFields& fields, std::string_view name, const std::string& path) {
  const auto text = fields.String(name);
  if (!text || fields.error()) return std::nullopt;
  const std::optional<double> seconds = ParseLifetime(*text);
  if (!seconds)
    fields.Fail(name,
                "'" + path +
                    "' must be a number of minutes or hours up to 24h, such as '5m' or '1h', "
                    "not " +
                    QuoteJson(json::value(*text)) + ".",
                "invalid_value");
  return seconds;
}

constexpr std::pair<std::string_view, SessionHint> kHints[] = {{"ended", SessionHint::kEnded},
                                                               {"one_shot", SessionHint::kOneShot},
                                                               {"tool_pending", SessionHint::kToolPending}};

SessionHint ReadHint(RequestFields& fields) {
  const auto text = fields.String("prefixd_session");
  if (!text || fields.error()) return SessionHint::kNone;
  const auto found = std::ranges::find(kHints, *text, [](const auto& hint) { return hint.first; });
  if (found != std::end(kHints)) return found->second;
  fields.Fail("prefixd_session",
              "'prefixd_session' must be 'ended', 'one_shot' or 'tool_pending', not " +
                  QuoteJson(json::value(*text)) + ".",
              "invalid_value");
  return SessionHint::kNone;
}

}  // namespace

std::optional<double> ParseLifetime(std::string_view text) {
  constexpr int kMostMinutes = 24 * 60;
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end + 1 != text.data() + text.size() || number <= 0) return std::nullopt;
  if (*end != 'm' && *end != 'h') return std::nullopt;
  if (number > (*end == 'm' ? kMostMinutes : kMostMinutes / 60)) return std::nullopt;
  return number * (*end == 'm' ? kMinute : kHour);
}

void AddCacheFields(FieldTable* table) {
  table->String("prefixd_session").String("prompt_cache_retention");
  table->Object("prompt_cache_options", R"({"mode":{"enum":["implicit","explicit",null]},
      "ttl":{"type":["string","null"]},"prewarm":{"type":["boolean","null"]},
      "comparison_response_id":{"type":["string","null"]}})");
}

CacheRequest ReadCacheRequest(RequestFields& fields) {
  CacheRequest request{.hint = ReadHint(fields)};
  if (const auto retention = fields.String("prompt_cache_retention"); retention && !fields.error()) {
    if (*retention == "24h") {
      request.lifetime = 24 * kHour;
    } else if (*retention != "in_memory" && *retention != "in-memory") {
      fields.Fail("prompt_cache_retention",
                  "'prompt_cache_retention' must be 'in_memory' or '24h', not " +
                      QuoteJson(json::value(*retention)) + ".",
                  "invalid_value");
    }
  }
  const json::object* options = fields.Object("prompt_cache_options");
  if (options == nullptr) return request;
  RequestFields inner(*options, "prompt_cache_options.");
  const std::string mode = inner.String("mode").value_or("implicit");
  if (mode != "implicit" && mode != "explicit")
    inner.Fail("mode",
               "'prompt_cache_options.mode' must be 'implicit' or 'explicit', not " +
                   QuoteJson(json::value(mode)) + ".",
               "invalid_value");
  request.only_breakpoints = mode == "explicit";
  if (const auto seconds = ReadLifetime(inner, "ttl", "prompt_cache_options.ttl")) request.lifetime = seconds;
  request.prewarm = inner.Bool("prewarm", false);
  if (inner.error()) fields.Fail(*inner.error());
  return request;
}

PrefixUse UseOfPrefix(const CacheRequest& request, std::vector<Breakpoint> breakpoints, int tokens) {
  std::optional<double> whole = request.whole;
  if (!request.only_breakpoints && request.lifetime) whole = std::max(whole.value_or(0), *request.lifetime);
  for (Breakpoint& breakpoint : breakpoints)
    if (breakpoint.seconds <= 0) breakpoint.seconds = request.lifetime.value_or(kDefaultLifetime);
  std::erase_if(breakpoints, [&](const Breakpoint& b) { return b.tokens <= 0 || b.tokens > tokens; });
  const size_t most = kMostBreakpoints - (whole ? 1 : 0);
  if (breakpoints.size() > most)
    breakpoints.erase(breakpoints.begin(), breakpoints.end() - static_cast<std::ptrdiff_t>(most));
  if (whole) breakpoints.push_back({tokens, *whole});
  PrefixUse use{.breakpoints = std::move(breakpoints), .hint = request.hint};
  if (request.only_breakpoints) use.write_limit = use.asked_tokens();
  return use;
}

bool UsesNoCache(const CacheRequest& request, const PrefixUse& use) {
  return request.only_breakpoints && use.breakpoints.empty();
}

}  // namespace prefixd
