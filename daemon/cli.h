// Parses the command line `prefixd COMMAND [flags]` and the config file. Only cli.cc includes CLI11.
//
// Threads: main thread only.
//
// Invariants
//   1. All faults of usage are reported at once: one line each, with its origin (the flag, the variable, or
//      file and line) and what to write instead.
//   2. A word that is not known gets the nearest name that is.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "daemon/admin/live_command.h"
#include "daemon/command_table.h"
#include "daemon/convert_command.h"
#include "daemon/disk_commands.h"
#include "daemon/keys_command.h"
#include "daemon/options.h"

namespace prefixd {

// The parsed command line.
struct Invocation {
  Command command = Command::kPrint;
  Options options{};                  // for serve and validate
  DiskCommandOptions disk{};          // for inspect without --live, purge and verify
  LiveOptions live{};                 // for inspect with --live
  ConvertOptions convert{};           // for convert
  KeysOptions keys{};                 // for keys
  bool json = false;                  // --json, for validate and version
  std::string text;                   // for kPrint: written to stdout
  std::vector<std::string> warnings;  // one line each, for the log
};

// Parses the command line, the environment variables and the config file. Returns kInvalidArgument (exit code
// 2) when something is wrong. The message has one line for each fault.
Result<Invocation> ParseCommandLine(int argc, const char* const* argv, const char* const* environment);

// Whether the words ask a command that knows it for JSON, also where ParseCommandLine finds faults.
bool AsksForJson(int argc, const char* const* argv);

// Returns the settings of a TOML file with lines `some-name = value`. Adds a fault when the file cannot be
// read, and one for each line that is something else, sets `config` or a name twice, or has a table or
// an array of three or more elements. An array of two becomes one value with a space in between, like the
// unquoted value 4 GiB.
std::vector<Setting> SettingsFromFile(const std::string& path, std::vector<std::string>* faults);

// Returns the help that prefixd prints to stderr when it is called without a command.
std::string TopLevelHelp();

}  // namespace prefixd
