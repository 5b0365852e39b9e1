// The options of the daemon. One table defines the flags, the environment variables, the keys of the TOML
// file, the help, the sample file and the table in docs/OPERATIONS.md.
//
// Threads: the main thread, before others start. Plain values.
//
// Invariants
//   1. Every option of the table has one flag --some-name, one variable PREFIXD_SOME_NAME and one key
//      some-name.
//   2. The order of precedence is flag, environment, file, default.
//   3. Nothing is accepted and ignored. An unknown name or value is a fault that the message
//      names; an unknown variable PREFIXD_* is a warning. All faults are reported at once, each with its
//      origin.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"

namespace prefixd {

// A number option that is set to "auto". sizing.h derives its value.
inline constexpr int64_t kAuto = -2;

// The values of all options.
struct Options {
  std::string model, load, served_model_name, chat_template, tool_format, reasoning_format, backend,
      activations, quantize, kv_dtype, eviction, product_choices;
  std::string listen, tls_cert, tls_key, admin_listen, api_keys, cors_origin, log_level, log_format, config;
  std::string disk_cache_dir, disk_compression, load_policy, remote_cache;
  std::string remote_tls_ca, remote_tls_cert, remote_tls_key;
  std::string kv_events, kv_events_replay, kv_events_topic, kv_events_sequence;
  int64_t device, threads, block_tokens, retained_share, context, max_sequences, step_tokens, max_queue,
      max_logprobs;
  int64_t max_tokens_in_flight;
  int64_t device_cache, host_cache, disk_cache;  // bytes
  int64_t disk_max_age, remote_max_age;          // seconds; 0: none
  int64_t remote_write_rate;                     // bytes per second
  int64_t warm_start;                            // bytes
  int64_t warm_start_seconds;
  int64_t step_milliseconds, remote_lease_milliseconds;
  int64_t io_threads, max_connections, max_body, max_inflight, stream_backlog;
  int64_t header_seconds, body_seconds, idle_seconds, reader_seconds, drain_seconds;
  bool disk_write_through, remote_write_through, no_prefix_cache;
  bool deterministic, special_tokens_in_content, allow_no_keys;
  bool kv_events_tenants, reuse_generated_ids;
};

enum class OptionKind {
  kFlag,      // true or false
  kInteger,   // within [min, max], or "auto" if that is the default
  kSize,      // like kInteger, in bytes with an optional unit
  kSeconds,   // like kInteger, in milliseconds; the text is in seconds and may have decimals
  kDuration,  // in seconds; the text has a unit, or is "none", which is 0
  kChoice,    // one of `choices`
  kText,
};

struct OptionSpec {
  std::string_view name;        // some-name
  std::string_view value_name;  // "N"; empty for a flag
  OptionKind kind;
  // Not set for a flag of one command alone (command_table.h), which the command reads itself.
  std::variant<std::string Options::*, int64_t Options::*, bool Options::*> member;
  std::string_view default_text;
  std::string_view group;  // heading in the help
  std::string_view help;   // one sentence, lower case, with unit
  int64_t min = 0, max = 0;
  std::string_view choices = {};  // separated by '|'
};

std::span<const OptionSpec> OptionTable();
const OptionSpec* FindOption(std::string_view name);

std::string VariableName(std::string_view option_name);  // "PREFIXD_SOME_NAME"
// What an option takes: "1 to 8192, or auto", "one of on, off", or "" where the name of its value says it.
std::string AllowedValues(const OptionSpec& spec);
std::optional<bool> ParseBool(std::string_view text);  // true, false, 1, 0, yes, no, on, off

// One setting and its origin: "--threads", "PREFIXD_THREADS" or "/etc/prefixd/prefixd.toml:7: threads".
struct Setting {
  std::string name;
  std::string value;
  std::string origin;
};

// The variables PREFIXD_* of `environment` (nullptr-terminated "NAME=value"). Variables that Kubernetes
// injects for a service named prefixd are skipped. Other unknown names add a line to `warnings`. An empty
// value counts as not set.
std::vector<Setting> SettingsFromEnvironment(const char* const* environment,
                                             std::vector<std::string>* warnings);

// Applies the defaults, then `layers` in order; later layers override earlier ones. Returns kInvalidArgument
// with one line per fault.
Result<Options> BuildOptions(std::span<const std::vector<Setting>> layers);

// The name in `names` with the least edit distance to `word`, or "" when none is close.
std::string_view NearestName(std::string_view word, std::span<const std::string_view> names);

std::string OptionsAsMarkdown();  // the list of options in docs/OPERATIONS.md
std::string OptionsAsToml();      // deploy/prefixd.toml: every option, commented out, at its default

}  // namespace prefixd
