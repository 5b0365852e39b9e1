#include "daemon/manual.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "daemon/cli.h"
#include "daemon/command_table.h"
#include "daemon/completion.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Printed(std::vector<const char*> words) {
  words.insert(words.begin(), "prefixd");
  const char* const environment[] = {nullptr};
  const Result<Invocation> parsed =
      ParseCommandLine(static_cast<int>(words.size()), words.data(), environment);
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  return parsed.ok() ? parsed->text : "";
}

std::string RoffFlag(std::string_view name) {
  std::string text = "\\fB\\-\\-";
  for (const char c : name) text += c == '-' ? "\\-" : std::string(1, c);
  return text + "\\fR";
}

// The part of a text from `begin` to `end`.
std::string Section(const std::string& text, const std::string& begin, const std::string& end) {
  const size_t from = text.find(begin);
  EXPECT_NE(from, std::string::npos) << begin;
  return text.substr(from, text.find(end, from + begin.size()) - from);
}

TEST(CommandTable, NamesAreUniqueAndFlagsDoNotMeetOptions) {
  std::set<std::string_view> commands;
  for (const CommandSpec& command : CommandTable()) {
    EXPECT_TRUE(commands.insert(command.name).second) << command.name;
    EXPECT_EQ(WordsOf(command.argument, ' ').size(), WordsOf(command.argument_help, '|').size())
        << command.name;
    std::set<std::string_view> flags;
    for (const OptionSpec* flag : FlagsOf(command)) {
      EXPECT_TRUE(flags.insert(flag->name).second) << command.name << " --" << flag->name;
      EXPECT_FALSE(flag->help.empty()) << flag->name;
    }
    EXPECT_EQ(FindCommand(command.name), &command);
  }
  EXPECT_EQ(FindCommand("help-me"), nullptr);
}

TEST(Help, EveryCommandNamesItsFlags) {
  const std::string top = Printed({"--help"});
  for (const CommandSpec& command : CommandTable()) {
    if (command.summary.empty()) continue;
    EXPECT_THAT(top, HasSubstr("\n  " + std::string(command.name) + " ")) << command.name;
    const std::string name(command.name);
    const std::string help = Printed({"help", name.c_str()});
    if (name != "help") {
      EXPECT_EQ(help, Printed({name.c_str(), "-h"}));
    }
    for (const OptionSpec* flag : FlagsOf(command))
      EXPECT_THAT(help, HasSubstr("--" + std::string(flag->name)));
    for (const std::string& argument : WordsOf(command.argument, ' ')) EXPECT_THAT(help, HasSubstr(argument));
  }
  EXPECT_THAT(top, Not(HasSubstr("help-man")));
}

TEST(ManualPage, HasEveryCommandAndFlag) {
  const std::string page = ManualPage();
  EXPECT_EQ(Printed({"help-man"}), page);
  const std::string options = Section(page, ".SH OPTIONS", ".SH EXIT STATUS");
  for (const OptionSpec& spec : OptionTable()) EXPECT_THAT(options, HasSubstr(".TP\n" + RoffFlag(spec.name)));
  const std::string commands = Section(page, ".SH COMMANDS", ".SH OPTIONS") + ".SS ";
  for (const CommandSpec& command : CommandTable()) {
    if (command.summary.empty()) continue;
    const std::string section = Section(commands, ".SS " + std::string(command.name), ".SS ");
    for (const OptionSpec& flag : command.flags) EXPECT_THAT(section, HasSubstr(RoffFlag(flag.name)));
    EXPECT_EQ(section.find("flags of OPTIONS") != std::string::npos, command.options) << command.name;
  }
}

TEST(ManualPage, LinesAreShortAndNoneIsAnUnknownRequest) {
  std::istringstream page(ManualPage());
  const std::set<std::string> known = {".TH", ".SH", ".SS", ".TP", ".PP", ".nf", ".fi"};
  for (std::string line; std::getline(page, line);) {
    EXPECT_LT(line.size(), 80u) << line;
    EXPECT_FALSE(line.empty());
    if (line[0] == '.' || line[0] == '\'') {
      EXPECT_TRUE(known.contains(line.substr(0, 3))) << line;
    }
  }
}

TEST(CompletionScript, HasEveryCommandAndFlagForEveryShell) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const std::string script = Printed({"help-completion", shell});
    EXPECT_EQ(script, *CompletionScript(shell));
    for (const CommandSpec& command : CommandTable()) {
      const std::string name(command.name);
      if (command.summary.empty()) {
        EXPECT_THAT(script, Not(HasSubstr(name + ")")));
        continue;
      }
      // What completes the flags of this command.
      const std::string begin = std::string(shell) == "bash" ? "\n      " + name + ":*) words='"
                                : std::string(shell) == "zsh"
                                    ? "\n    " + name + ")\n"
                                    : "\ncomplete -c prefixd -n __fish_use_subcommand -a " + name;
      const std::string end = std::string(shell) == "fish" ? "-n __fish_use_subcommand" : ";;";
      const std::string part = Section(script, begin, end);
      const std::string dashes = std::string(shell) == "fish" ? " -l " : "--";
      for (const OptionSpec* flag : FlagsOf(command))
        EXPECT_THAT(part, HasSubstr(dashes + std::string(flag->name))) << shell << " " << name;
    }
  }
  EXPECT_THAT(CompletionScript("csh").status().message(), HasSubstr("bash zsh fish"));
}

}  // namespace
}  // namespace prefixd
