#include "daemon/reload.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "base/check.h"
#include "daemon/serve_plan.h"
#include "storage/redis_address.h"

namespace prefixd {
namespace {

using Value = std::variant<std::string, int64_t, bool>;

Value ValueOf(const OptionSpec& spec, const Options& options) {
  return std::visit([&](const auto member) -> Value { return options.*member; }, spec.member);
}

std::string TextOf(const Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  const int64_t number = std::get<int64_t>(value);
  return number == kAuto ? "auto" : std::to_string(number);
}

}  // namespace

Result<Reload> ReadReload(const Options& now, const std::vector<ApiKey>& keys, const OptionsReader& read) {
  PREFIXD_ASSIGN_OR_RETURN(const Options next, read());
  Reload reload{.options = now, .keys = keys};
  for (const OptionSpec& spec : OptionTable()) {
    const bool same = ValueOf(spec, now) == ValueOf(spec, next);
    if (spec.name == "log-level" && !same) {
      reload.options.log_level = next.log_level;
      reload.changed.emplace_back(spec.name);
    } else if (spec.name == "api-keys" && !now.api_keys.empty() && !next.api_keys.empty()) {
      PREFIXD_ASSIGN_OR_RETURN(reload.keys, ReadApiKeys(spec.name, next.api_keys));
      reload.options.api_keys = next.api_keys;
      if (reload.keys != keys) reload.changed.emplace_back(spec.name);
    } else if ((spec.name == "tls-cert" || spec.name == "tls-key") && !now.tls_cert.empty() &&
               !next.tls_cert.empty()) {
      reload.options.tls_cert = next.tls_cert;
      reload.options.tls_key = next.tls_key;
    } else if (!same) {
      reload.needs_restart.emplace_back(spec.name);
    }
  }
  // The files may have changed below the same names.
  PREFIXD_ASSIGN_OR_RETURN(reload.tls, ReadTlsFiles(reload.options));
  if (reload.tls != nullptr) reload.changed.emplace_back("tls-cert");
  return reload;
}

std::vector<std::pair<std::string, std::string>> ChangedOptions(const Options& options) {
  const Result<Options> defaults = BuildOptions({});
  PREFIXD_CHECK(defaults.ok()) << defaults.status().message();
  std::vector<std::pair<std::string, std::string>> changed;
  for (const OptionSpec& spec : OptionTable()) {
    const Value value = ValueOf(spec, options);
    if (value == ValueOf(spec, *defaults)) continue;
    std::string text = TextOf(value);
    if (spec.name == "remote-cache") {  // without its password
      const Result<RedisAddress> address = ParseRedisUrl(text);
      text = address.ok() ? address->Name() : "";
    }
    changed.emplace_back(spec.name, std::move(text));
  }
  return changed;
}

}  // namespace prefixd
