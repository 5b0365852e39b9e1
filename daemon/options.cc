#include "daemon/options.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <optional>

#include "base/bytes.h"
#include "base/duration.h"
#include "daemon/relaunch.h"
#include "text/output/tool_format.h"

namespace prefixd {
namespace {

constexpr std::string_view kVariablePrefix = "PREFIXD_";

bool Contains(std::string_view choices, std::string_view word) {
  while (!word.empty() && !choices.empty()) {
    const size_t bar = choices.find('|');
    if (choices.substr(0, bar) == word) return true;
    choices = bar == std::string_view::npos ? "" : choices.substr(bar + 1);
  }
  return false;
}

std::optional<int64_t> ParseInteger(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Decimal digits with at most one point; the value in milliseconds.
std::optional<int64_t> ParseSeconds(std::string_view text) {
  double seconds = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, seconds, std::chars_format::fixed);
  if (error != std::errc() || rest != end || !(std::abs(seconds) < 1e12)) return std::nullopt;
  return std::llround(seconds * 1000);
}

std::string SecondsText(int64_t milliseconds) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", static_cast<double>(milliseconds) / 1000);
  return text;
}

std::string Bound(const OptionSpec& spec, int64_t value) {
  if (spec.kind == OptionKind::kSeconds) return SecondsText(value);
  return spec.kind == OptionKind::kSize ? FormatSize(static_cast<uint64_t>(value)) : std::to_string(value);
}

std::string Range(const OptionSpec& spec) {
  return Bound(spec, spec.min) + " to " + Bound(spec, spec.max) +
         (spec.default_text == "auto" ? ", or auto" : "");
}

Status AssignNumber(const OptionSpec& spec, std::string_view text, int64_t* member) {
  if (text == "auto" && spec.default_text == "auto") {
    *member = kAuto;
    return Status::Ok();
  }
  if (spec.kind == OptionKind::kDuration) {
    *member = 0;
    if (text == "none") return Status::Ok();
    PREFIXD_ASSIGN_OR_RETURN(*member, ParseDuration(text));
    if (*member > 0) return Status::Ok();
    return InvalidArgument("'" + std::string(text) + "' is no time; without a limit it is none");
  }
  int64_t value = 0;
  if (spec.kind == OptionKind::kSize) {
    PREFIXD_ASSIGN_OR_RETURN(const uint64_t bytes, ParseSize(text));  // below 2^63
    value = static_cast<int64_t>(bytes);
  } else if (spec.kind == OptionKind::kSeconds) {
    const std::optional<int64_t> parsed = ParseSeconds(text);
    if (!parsed) {
      return InvalidArgument("'" + std::string(text) + "' is not a number of seconds; it takes " +
                             Range(spec));
    }
    value = *parsed;
  } else {
    const std::optional<int64_t> parsed = ParseInteger(text);
    if (!parsed)
      return InvalidArgument("'" + std::string(text) + "' is not a whole number; it takes " + Range(spec));
    value = *parsed;
  }
  if (value < spec.min || value > spec.max) {
    return InvalidArgument("'" + std::string(text) + "' is out of range; it takes " + Range(spec));
  }
  *member = value;
  return Status::Ok();
}

Status AssignText(const OptionSpec& spec, std::string_view text, std::string* member) {
  if (spec.kind == OptionKind::kChoice && !Contains(spec.choices, text)) {
    std::string choices(spec.choices);
    std::ranges::replace(choices, '|', ' ');
    return InvalidArgument("'" + std::string(text) + "' is unknown; it takes one of: " + choices);
  }
  *member = text;
  return Status::Ok();
}

Status Assign(const OptionSpec& spec, std::string_view text, Options* options) {
  if (const auto* number = std::get_if<int64_t Options::*>(&spec.member)) {
    return AssignNumber(spec, text, &(options->**number));
  }
  if (const auto* words = std::get_if<std::string Options::*>(&spec.member)) {
    return AssignText(spec, text, &(options->**words));
  }
  const std::optional<bool> parsed = ParseBool(text);
  if (!parsed) return InvalidArgument("'" + std::string(text) + "' is neither true nor false");
  options->*std::get<bool Options::*>(spec.member) = *parsed;
  return Status::Ok();
}

std::vector<std::string_view> OptionNames() {
  std::vector<std::string_view> names;
  for (const OptionSpec& spec : OptionTable()) names.push_back(spec.name);
  return names;
}

// The fault of a name of the file that is not in the table.
std::string NameFault(std::string_view name) {
  const std::string_view nearest = NearestName(name, OptionNames());
  return " is not an option of prefixd" + (nearest.empty() ? "; prefixd serve --help lists them"
                                                           : "; did you mean " + std::string(nearest) + "?");
}

// "; did you mean PREFIXD_THREADS?", or "".
std::string NearestVariable(std::string_view variable) {
  std::string word(variable.substr(kVariablePrefix.size()));
  for (char& c : word) c = c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const std::string_view nearest = NearestName(word, OptionNames());
  return nearest.empty() ? "" : "; did you mean " + VariableName(nearest) + "?";
}

bool InjectedByKubernetes(std::string_view variable) {
  return variable == "PREFIXD_PORT" || variable.starts_with("PREFIXD_PORT_") ||
         variable.starts_with("PREFIXD_SERVICE_");
}

std::string FormatNames() {
  std::string names;
  for (const ToolFormat& format : ToolFormats()) names += " " + std::string(format.name);
  return names;
}

}  // namespace

std::optional<bool> ParseBool(std::string_view text) {
  if (text == "true" || text == "1" || text == "yes" || text == "on") return true;
  if (text == "false" || text == "0" || text == "no" || text == "off") return false;
  return std::nullopt;
}

std::string VariableName(std::string_view option_name) {
  std::string name(kVariablePrefix);
  for (const char c : option_name) name += c == '-' ? '_' : static_cast<char>(c - 'a' + 'A');
  return name;
}

std::string AllowedValues(const OptionSpec& spec) {
  std::string text = spec.max > 0 ? Range(spec) : "";
  if (!spec.choices.empty()) text += "one of ";
  for (const char c : spec.choices) text += c == '|' ? std::string(", ") : std::string(1, c);
  return text;
}

std::vector<Setting> SettingsFromEnvironment(const char* const* environment,
                                             std::vector<std::string>* warnings) {
  std::vector<Setting> settings;
  for (; *environment != nullptr; ++environment) {
    const std::string_view entry(*environment);
    const size_t equals = entry.find('=');
    if (!entry.starts_with(kVariablePrefix) || equals == std::string_view::npos) continue;
    const std::string variable(entry.substr(0, equals));
    const std::string value(entry.substr(equals + 1));
    if (value.empty() || InjectedByKubernetes(variable) || variable == kRelaunchedVariable) continue;
    const auto known = [&](std::string_view name) { return VariableName(name) == variable; };
    const auto spec = std::ranges::find_if(OptionTable(), known, &OptionSpec::name);
    if (spec != OptionTable().end()) {
      settings.push_back({std::string(spec->name), value, variable});
    } else if (variable == "PREFIXD_LOG") {  // short for PREFIXD_LOG_LEVEL, which overrides it
      settings.insert(settings.begin(), {"log-level", value, variable});
    } else {
      warnings->push_back(variable + " is set, but no option of prefixd has that name" +
                          NearestVariable(variable));
    }
  }
  return settings;
}

Result<Options> BuildOptions(std::span<const std::vector<Setting>> layers) {
  Options options;
  for (const OptionSpec& spec : OptionTable()) {
    const Status status = Assign(spec, spec.default_text, &options);
    PREFIXD_CHECK(status.ok()) << "default of " << spec.name << ": " << status.message();
  }
  std::string faults;
  const auto add_fault = [&](const std::string& fault) { faults += (faults.empty() ? "" : "\n") + fault; };
  for (const std::vector<Setting>& layer : layers) {
    for (const Setting& setting : layer) {
      const OptionSpec* spec = FindOption(setting.name);
      if (spec == nullptr) {
        add_fault(setting.origin + NameFault(setting.name));
      } else if (const Status status = Assign(*spec, setting.value, &options); !status.ok()) {
        add_fault(setting.origin + ": " + status.message());
      }
    }
  }
  const auto origin = [&](std::string_view name) {
    std::string found(name);
    for (const std::vector<Setting>& layer : layers) {
      for (const Setting& setting : layer) found = setting.name == name ? setting.origin : found;
    }
    return found;
  };
  if ((options.block_tokens & (options.block_tokens - 1)) != 0) {
    add_fault(origin("block-tokens") + ": " + std::to_string(options.block_tokens) +
              " is not a power of two; it takes 1, 2, 4 and so on up to 1024");
  }
  if (options.tool_format != "auto" && FindToolFormat(options.tool_format) == nullptr) {
    add_fault(origin("tool-format") + ": '" + options.tool_format + "' is unknown; it takes one of: auto" +
              FormatNames());
  }
  if (!faults.empty()) return InvalidArgument(faults);
  return options;
}

std::string_view NearestName(std::string_view word, std::span<const std::string_view> names) {
  std::string_view best;
  size_t best_distance = word.size() / 3 + 2;  // a name at this distance is a different word
  for (const std::string_view name : names) {
    std::vector<size_t> row(name.size() + 1);  // Levenshtein distance, one row at a time
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = row[0]++;
      for (size_t j = 1; j <= name.size(); ++j) {
        const size_t replaced = diagonal + (word[i - 1] == name[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = name;
    }
  }
  return best;
}

std::string OptionsAsMarkdown() {
  std::string text;
  for (const OptionSpec& spec : OptionTable()) {
    text += "- `--" + std::string(spec.name) + (spec.value_name.empty() ? "" : " ") +
            std::string(spec.value_name) + "`, `" + VariableName(spec.name) + "`";
    if (!spec.default_text.empty()) text += ", default `" + std::string(spec.default_text) + "`";
    const std::string allowed = AllowedValues(spec);
    text += (allowed.empty() ? "" : ", " + allowed) + ":\n  " + std::string(spec.help) + "\n";
  }
  return text;
}

std::string OptionsAsToml() {
  std::string text =
      "# Options of prefixd, each at its default. A flag or a variable PREFIXD_SOME_NAME overrides this "
      "file.\n";
  std::string_view group;
  for (const OptionSpec& spec : OptionTable()) {
    if (spec.name == "config") continue;  // a file cannot name another file
    if (spec.group != group) text += "\n# " + std::string(group = spec.group) + "\n";
    const bool bare = spec.kind == OptionKind::kFlag || ParseInteger(spec.default_text).has_value() ||
                      spec.kind == OptionKind::kSeconds;
    const std::string quote = bare ? "" : "\"";
    text += "\n# " + std::string(spec.help) + "\n#" + std::string(spec.name) + " = " + quote +
            std::string(spec.default_text) + quote + "\n";
  }
  return text;
}

}  // namespace prefixd
