// The command line `prefixd COMMAND [flags]` and the config file. Only cli.cc includes CLI11.
//
// Threads: the main thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "daemon/options.h"

namespace prefixd {

enum class Command { kServe, kValidate, kVersion, kPrint };

// The parsed command line.
struct Invocation {
  Command command = Command::kPrint;
  Options options{};                  // for serve and validate
  bool json = false;                  // --json, for validate and version
  std::string text;                   // for kPrint: written to stdout
  std::vector<std::string> warnings;  // one line each, for the log
};

// Returns kInvalidArgument (exit code 2) with all faults of flags, variables and file.
Result<Invocation> ParseCommandLine(int argc, const char* const* argv, const char* const* environment);

// The settings of a TOML file: flat `some-name = value`. Returns kInvalidArgument when the file cannot be
// read or contains tables or arrays.
Result<std::vector<Setting>> SettingsFromFile(const std::string& path);

// Printed to stderr when prefixd is called without a command.
std::string ShortHelp();

}  // namespace prefixd
