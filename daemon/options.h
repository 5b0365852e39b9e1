// The options of the daemon: one table makes flags, environment variables, keys of the TOML file, the help, the sample file
// and the page in docs/OPERATIONS.md. Plain values; used by the main thread before others start.
//
// Invariants
//   1. Every option of the table has one flag --some-name, one variable PREFIXD_SOME_NAME and one key some-name.
//   2. Stronger origins win: flag, environment, file, default.
//   3. Nothing is accepted and ignored: an unknown or not yet existing name or value is a fault that is told by name (a
//      variable that is not ours at all: a warning). All faults are reported at once, each with its origin.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"

namespace prefixd {

// Values as configured. Numbers whose default is "auto" hold kAuto until sizing has derived them.
inline constexpr int64_t kAuto = -2;

struct Options {
  std::string model, served_model_name, chat_template, backend, kv_dtype;
  std::string listen, api_keys, log_level, log_format, config;
  int64_t threads, block_tokens, context, max_sequences, step_tokens, max_queue, max_logprobs;
  int64_t device_cache;  // bytes
  int64_t io_threads, max_connections, max_body, max_bodies, stream_backlog, header_seconds, body_seconds, idle_seconds, drain_seconds;
  bool no_prefix_cache, deterministic;
};

enum class OptionKind {
  kFlag,     // true or false
  kInteger,  // within [min, max], or "auto" where that is the default
  kSize,     // bytes with an optional unit; as kInteger otherwise
  kChoice,   // one of `choices`
  kText,
};

struct OptionSpec {
  std::string_view name;        // some-name
  std::string_view value_name;  // "N"; empty for a flag
  OptionKind kind;
  std::variant<std::string Options::*, int64_t Options::*, bool Options::*> member;
  std::string_view default_text;
  std::string_view group;  // heading in the help
  std::string_view help;   // one sentence, lower case, with unit
  int64_t min = 0, max = 0;
  std::string_view choices = {};        // separated by '|'
  std::string_view later_choices = {};  // known, refused by name
};

std::span<const OptionSpec> OptionTable();
const OptionSpec* FindOption(std::string_view name);
// Names of interface.md that a later version brings; refused by name.
std::span<const std::string_view> LaterOptions();

std::string VariableName(std::string_view option_name);  // "PREFIXD_SOME_NAME"

// Something that was said, and where: "--threads", "PREFIXD_THREADS", "threads in /etc/prefixd/prefixd.toml".
struct Setting {
  std::string name;
  std::string value;
  std::string origin;
};

// The variables PREFIXD_* of `environment` (nullptr-terminated "NAME=value"). What Kubernetes injects for a service called
// prefixd is skipped; other unknown names become a line in `warnings`. An empty value counts as not set.
std::vector<Setting> SettingsFromEnvironment(const char* const* environment, std::vector<std::string>* warnings);

// Defaults, then `layers`, weakest first. kInvalidArgument with one line per fault.
Result<Options> BuildOptions(std::span<const std::vector<Setting>> layers);

// The name of `names` that is nearest to `word`, or "" when none is near.
std::string_view NearestName(std::string_view word, std::span<const std::string_view> names);

std::string OptionsAsMarkdown();  // the table of docs/OPERATIONS.md
std::string OptionsAsToml();      // deploy/prefixd.toml: every option, commented out, at its default

}  // namespace prefixd
