// The command line: `prefixd COMMAND [flags]`, and the config file. The only user of CLI11. Main thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "daemon/options.h"

namespace prefixd {

enum class Command { kServe, kValidate, kVersion, kPrint };

// What main is to do.
struct Invocation {
  Command command = Command::kPrint;
  Options options{};                  // of serve and validate
  bool json = false;                  // --json of validate and version
  std::string text;                   // kPrint: goes to stdout
  std::vector<std::string> warnings;  // one line each, for the log
};

// kInvalidArgument (exit code 2) for whatever is wrong with flags, variables or file, all faults at once.
Result<Invocation> ParseCommandLine(int argc, const char* const* argv, const char* const* environment);

// The settings of a TOML file: flat `some-name = value`. kInvalidArgument when it cannot be read or has tables or arrays.
Result<std::vector<Setting>> SettingsFromFile(const std::string& path);

// Goes to stderr when prefixd is called without a command.
std::string ShortHelp();

}  // namespace prefixd
