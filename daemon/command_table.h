// The commands of the program, and the flags that belong to one command alone. From this table and that of
// the options (options.h) come the command line, its help, the manual page and the completions.
//
// Threads: constant data; any thread.
//
// Invariants
//   1. Every command is parsed. Those with a summary are in the help, the manual page and the completions;
//      the others print what a build or a package needs.
//   2. Where a command takes options, none of its own flags has the name of an option.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/options.h"

namespace prefixd {

enum class Command { kServe, kValidate, kInspect, kPurge, kVerify, kConvert, kKeys, kVersion, kPrint };

struct CommandSpec {
  std::string_view name;
  Command command;
  std::string_view argument;          // the words after the command, such as DIR or FROM TO; empty: none
  std::string_view argument_help;     // of each, separated by '|'
  std::string_view summary;           // lower case, without a full stop
  bool options;                       // it takes those of OptionTable, too
  std::span<const OptionSpec> flags;  // of this command alone; they have no member of Options
  std::string_view notes;             // lines below the flags
};

std::span<const CommandSpec> CommandTable();
const CommandSpec* FindCommand(std::string_view name);

// The words of a list with a separator: those of `argument`, or their help.
std::vector<std::string> WordsOf(std::string_view list, char separator);

// The flags that a command takes: the options, where it takes them, and then its own.
std::vector<const OptionSpec*> FlagsOf(const CommandSpec& command);

}  // namespace prefixd
