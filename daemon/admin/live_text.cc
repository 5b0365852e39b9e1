#include "daemon/admin/live_text.h"

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <cstdarg>
#include <cstdio>
#include <string_view>

#include "base/bytes.h"
#include "base/duration.h"

namespace prefixd {
namespace {

namespace json = boost::json;

// printf into a string.
__attribute__((format(printf, 1, 2))) std::string Format(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

std::string Text(const json::value& value) { return std::string(value.as_string()); }
double Number(const json::value& value) { return value.to_number<double>(); }
uint64_t Count(const json::value& value) { return value.to_number<uint64_t>(); }
std::string Size(const json::value& value) { return FormatSize(Count(value)); }

// What is not known is "-".
std::string Seconds(const json::value& value) {
  return value.is_null() ? "-" : Format("%.3g s", Number(value));
}
std::string Percent(const json::value& value) {
  return value.is_null() ? "-" : Format("%.1f %%", 100 * Number(value));
}
std::string At(const json::value& value) {
  return value.is_null() ? "-" : FormatUtc(static_cast<uint64_t>(Number(value)));
}

std::string Joined(const json::array& words) {
  std::string text;
  for (const json::value& word : words) text += (text.empty() ? "" : "+") + Text(word);
  return text.empty() ? "none" : text;
}

// " (host 1 ms, disk 20 ms)"; empty without one.
std::string Waits(const json::object& waits) {
  std::string text;
  for (const auto& [tier, seconds] : waits)
    text += (text.empty() ? " (" : ", ") + std::string(tier) + " " + Seconds(seconds);
  return text.empty() ? text : text + ")";
}

// "device 32, computed 8"
std::string Counts(const json::object& counts) {
  std::string text;
  for (const auto& [name, count] : counts)
    text += (text.empty() ? "" : ", ") + std::string(name) + " " + std::to_string(Count(count));
  return text.empty() ? "none" : text;
}

std::string Colored(const std::string& word, bool color) {
  if (!color) return word;
  const bool good = word == "serving" || word == "ok";
  const bool bad = word.starts_with("failed") || word == "draining";
  return (good ? "\x1b[32m" : bad ? "\x1b[31m" : "\x1b[33m") + word + "\x1b[0m";
}

std::string TierLine(std::string_view name, const json::object& tier) {
  const auto part = [&](const char* what) {
    const std::string blocks = std::string(what) + "_blocks";
    const json::value* const bytes = tier.if_contains(std::string(what) + "_bytes");
    if (bytes == nullptr) return Format("%20s", "-");
    const std::string count = tier.contains(blocks) ? std::to_string(Count(tier.at(blocks))) : "";
    return Format("%11s %8s", Size(*bytes).c_str(), count.c_str());
  };
  std::string line = Format("%-8s", std::string(name).c_str());
  for (const char* what : {"leased", "cached", "free", "capacity"}) line += part(what);
  if (const json::value* pending = tier.if_contains("spill_pending_bytes"); pending && Count(*pending) > 0)
    line += "  spill pending " + Size(*pending);
  return line + "\n";
}

std::string TiersText(const json::object& tiers) {
  std::string text = Format("%-8s%20s%20s%20s%20s\n", "tier", "leased, blocks", "cached, blocks",
                            "free, blocks", "capacity, blocks");
  for (const auto& [name, tier] : tiers) text += TierLine(name, tier.as_object());
  return text;
}

std::string RatesText(const json::object& rates) {
  return Format("last %.0f s: %s of prompt tokens cached, TTFT p95 %s, %.3g requests/s\n",
                Number(rates.at("seconds")), Percent(rates.at("cached_share")).c_str(),
                Seconds(rates.at("ttft_p95_seconds")).c_str(), Number(rates.at("requests_per_second"))) +
         Format(
             "            prefill %.4g tokens/s, decode %.4g tokens/s; the cache saved %.3g s of prefill "
             "per second\n",
             Number(rates.at("prefill_tokens_per_second")), Number(rates.at("decode_tokens_per_second")),
             Number(rates.at("prefill_seconds_saved_per_second")));
}

std::string PrefixesText(const json::value& prefixes) {
  if (prefixes.is_null()) return "prefixes: not looked for yet\n";
  const json::array& rows = prefixes.at("rows").as_array();
  if (rows.empty()) return "prefixes: none was hit\n";
  std::string text = "prefixes that saved most (" + std::to_string(Count(prefixes.at("hit_prefixes"))) +
                     " were hit)\n" +
                     Format("%8s %7s  %-19s  %-16s  %-16s  %s\n", "tokens", "hits", "last use, UTC",
                            "last block in", "tenant", "key of the last block");
  for (const json::value& row : rows) {
    text += Format("%8llu %7llu  %-19s  %-16s  %-16s  %s%s\n",
                   static_cast<unsigned long long>(Count(row.at("tokens"))),
                   static_cast<unsigned long long>(Count(row.at("hits"))), At(row.at("last_use")).c_str(),
                   Joined(row.at("tiers").as_array()).c_str(), Text(row.at("tenant")).c_str(),
                   Text(row.at("key")).c_str(), row.at("branches").as_bool() ? " (branches)" : "");
  }
  return text;
}

std::string CachedOf(const json::object& request) {
  const uint64_t prompt = Count(request.at("prompt_tokens"));
  const json::value* const computed = request.at("sources").as_object().if_contains("computed");
  const uint64_t missed = computed == nullptr ? 0 : Count(*computed);
  return std::to_string(prompt - std::min(prompt, missed)) + "/" + std::to_string(prompt);
}

}  // namespace

std::string ReadyAsText(const json::object& document, bool color) {
  std::string text = Colored(Text(document.at("state")), color) + ":";
  for (const auto& [part, state] : document.at("checks").as_object())
    text += " " + std::string(part) + " " + Colored(Text(state), color) + ",";
  text.back() = '\n';
  return text;
}

std::string StatusAsText(const json::object& document, bool color) {
  std::string text = "prefixd " + Text(document.at("version")) + " (" + Text(document.at("revision")) +
                     "), up " + FormatDuration(document.at("uptime_seconds").to_number<int64_t>()) + "\n" +
                     ReadyAsText(document, color);
  text += "model " + Text(document.at("model")) + " on " + Text(document.at("backend")) + ", " +
          std::to_string(Count(document.at("threads"))) + " threads\n";
  std::string config;
  for (const auto& [name, value] : document.at("config").as_object())
    config += " " + std::string(name) + "=" + Text(value);
  text += "options:" + (config.empty() ? " all defaults" : config) + "\n\n";
  text += TiersText(document.at("tiers").as_object());
  const json::object& requests = document.at("requests").as_object();
  text += "\nrequests: " + std::to_string(Count(requests.at("running"))) + " running, " +
          std::to_string(Count(requests.at("waiting"))) + " waiting\n";
  return text + RatesText(document.at("rates").as_object()) + "\n" + PrefixesText(document.at("prefixes"));
}

std::string RequestsAsText(const json::object& document) {
  const json::array& rows = document.at("requests").as_array();
  if (rows.empty()) return "no request has ended yet\n";
  std::string text = Format("%-19s  %13s  %-17s %7s  %9s  %9s  %s\n", "ended, UTC", "cached/prompt",
                            "first miss", "token", "TTFT", "seconds", "id");
  for (const json::value& row : rows) {
    const json::object& request = row.as_object();
    const json::value& miss = request.at("first_miss");
    text += Format("%-19s  %13s  %-17s %7s  %9s  %9s  ", At(request.at("finished")).c_str(),
                   CachedOf(request).c_str(), miss.is_null() ? "-" : Text(miss.at("reason")).c_str(),
                   miss.is_null() ? "-" : std::to_string(Count(miss.at("token"))).c_str(),
                   Seconds(request.at("ttft_seconds")).c_str(), Seconds(request.at("seconds")).c_str()) +
            Text(request.at("id")) + "\n";
  }
  return text;
}

std::string RequestAsText(const json::object& document) {
  std::string text;
  for (const json::value& row : document.at("requests").as_array()) {
    const json::object& request = row.as_object();
    text += (text.empty() ? "" : "\n") + Text(request.at("id")) + ", ended " + At(request.at("finished")) +
            " UTC (" + Text(request.at("finish")) + "), tenant " + Text(request.at("tenant")) + "\n";
    text += Text(request.at("explanation")) + "\n";
    const json::value& miss = request.at("first_miss");
    if (!miss.is_null()) {
      text += "  reason         " + Text(miss.at("reason")) + "\n";
      text += "  its block      " + (miss.at("key").is_null() ? "is not full" : Text(miss.at("key"))) +
              "; tiers that had it: " + Joined(miss.at("tiers").as_array()) + "\n";
      text += "  left memory    " + At(miss.at("lost")) + ", last used " + At(miss.at("last_use")) + "\n";
    }
    text += "  prompt         " + std::to_string(Count(request.at("prompt_tokens"))) +
            " tokens: " + Counts(request.at("sources").as_object()) + "\n";
    text += "  missed         " + Counts(request.at("miss_tokens").as_object()) + "\n";
    text += "  loads          " + Counts(request.at("load_decisions").as_object()) + "\n";
    text += "  times          queue " + Seconds(request.at("queue_seconds")) + ", load " +
            Seconds(request.at("load_wait_seconds")) + Waits(request.at("load_waits").as_object()) +
            ", first token " + Seconds(request.at("ttft_seconds")) + ", all " +
            Seconds(request.at("seconds")) + "\n";
  }
  return text;
}

}  // namespace prefixd
