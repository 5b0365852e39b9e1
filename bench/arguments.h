// The command line of a program under bench/: `--name VALUE` options, `--name` flags and positional
// arguments, declared in one table from which --help is printed. Every program has --help and, unless it is a
// tool that measures nothing, --json FILE. Plain values; any thread.
//
// Invariants
//   1. Every option is declared; an unknown one is an error that names it.
//   2. The value of an option is checked when it is read; a wrong one is an error that names option and
//      value.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace prefixd::bench {

// One row of the table. A flag has no value name; a positional argument has no dashes in its name.
struct OptionSpec {
  std::string name;           // "--runs", or "URL"
  std::string value_name;     // "N"; empty for flags and positional arguments
  std::string default_value;  // empty: none
  std::string help;
};

class Arguments {
 public:
  // `summary` is one sentence for --help. Positional arguments are required, in the order of the table.
  Arguments(std::string program, std::string summary, std::vector<OptionSpec> options);

  // Reads argv[1..]. Does not handle --help.
  Status Parse(int argc, const char* const* argv);
  // Like Parse, for main: --help prints the usage and ends the program with 0, an error ends it with 2.
  void ParseOrExit(int argc, const char* const* argv);

  // Text of an option or positional argument: what was given, or its default.
  const std::string& Text(std::string_view name) const;
  bool Given(std::string_view name) const;
  // A whole number in [low, high].
  Result<int64_t> Integer(std::string_view name, int64_t low, int64_t high) const;
  // A finite number > 0.
  Result<double> Positive(std::string_view name) const;
  // One of `choices`.
  Result<std::string> OneOf(std::string_view name, const std::vector<std::string>& choices) const;
  // The same for main: an error is printed and ends the program with 2.
  int64_t IntegerOrExit(std::string_view name, int64_t low, int64_t high) const;
  double PositiveOrExit(std::string_view name) const;

  std::string Usage() const;
  const std::string& program() const { return program_; }
  // Prints `status` with the program's name to stderr and ends the program with exit code 2.
  [[noreturn]] void Fail(const Status& status) const;

 private:
  const OptionSpec* Find(std::string_view name) const;
  const OptionSpec& Declared(std::string_view name) const;

  std::string program_, summary_;
  std::vector<OptionSpec> options_;
  std::map<std::string, std::string, std::less<>> given_;
};

}  // namespace prefixd::bench
