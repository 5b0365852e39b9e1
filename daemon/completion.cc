#include "daemon/completion.h"

#include <array>
#include <vector>

#include "daemon/command_table.h"

namespace prefixd {
namespace {

constexpr std::array<std::string_view, 3> kShells = {"bash", "zsh", "fish"};

// What completes the value of a flag or the argument of a command.
enum class Values { kNone, kWords, kFiles, kFolders, kUnknown };

Values ValuesOf(const OptionSpec& spec) {
  if (spec.kind == OptionKind::kFlag) return Values::kNone;
  if (!spec.choices.empty()) return Values::kWords;
  if (spec.value_name == "PATH" || spec.value_name == "FILE") return Values::kFiles;
  return spec.value_name == "DIR" ? Values::kFolders : Values::kUnknown;
}

std::string Replaced(std::string_view text, std::string_view which, std::string_view prefix) {
  std::string out;
  for (const char c : text) {
    if (which.find(c) != std::string_view::npos) out += prefix;
    out += c;
  }
  return out;
}

// The choices, separated by blanks.
std::string Words(const OptionSpec& spec) {
  std::string words(spec.choices);
  for (char& c : words) c = c == '|' ? ' ' : c;
  return words;
}

std::vector<const CommandSpec*> ShownCommands() {
  std::vector<const CommandSpec*> commands;
  for (const CommandSpec& command : CommandTable()) {
    if (!command.summary.empty()) commands.push_back(&command);
  }
  return commands;
}

std::string CommandNames() {
  std::string names;
  for (const CommandSpec* command : ShownCommands())
    names += (names.empty() ? "" : " ") + std::string(command->name);
  return names;
}

// The cases of a command, by "command:word before".
std::string BashCases(const CommandSpec& command) {
  const std::string name(command.name);
  std::string files, folders, unknown, flags, cases;
  for (const OptionSpec* spec : FlagsOf(command)) {
    const std::string flag = "--" + std::string(spec->name);
    flags += flag + " ";
    const Values values = ValuesOf(*spec);
    if (values == Values::kNone) continue;
    if (values == Values::kWords) {
      cases += "      " + name + ":" + flag + ") words='" + Words(*spec) + "' ;;\n";
      continue;
    }
    std::string& list = values == Values::kFiles ? files : values == Values::kFolders ? folders : unknown;
    list += (list.empty() ? "" : " | ") + name + ":" + flag;
  }
  if (!files.empty()) cases += "      " + files + ") action=file ;;\n";
  if (!folders.empty()) cases += "      " + folders + ") action=directory ;;\n";
  if (!unknown.empty()) cases += "      " + unknown + ") ;;\n";
  cases += "      " + name + ":*) words='" + flags + "--help'";
  if (command.argument == "DIR") cases += "; [[ $cur == -* ]] || action=directory";
  if (command.argument == "FROM TO") cases += "; [[ $cur == -* ]] || action=file";
  if (command.argument == "COMMAND") cases += "; words='" + CommandNames() + "'";
  return cases + " ;;\n";
}

std::string Bash() {
  std::string text =
      "# Completes prefixd in bash; `prefixd help-completion bash` prints it.\n"
      "_prefixd() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words='' action=''\n"
      "  [[ $cur == '=' ]] && cur=''  # bash splits words at =\n"
      "  [[ $prev == '=' ]] && prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
      "  COMPREPLY=()\n"
      "  if ((COMP_CWORD == 1)); then\n"
      "    words='" +
      CommandNames() +
      " --help --version'\n"
      "  else\n"
      "    case ${COMP_WORDS[1]}:$prev in\n";
  for (const CommandSpec* command : ShownCommands()) text += BashCases(*command);
  return text +
         "    esac\n"
         "  fi\n"
         "  if [[ -n $action ]]; then\n"
         "    compopt -o filenames\n"
         "    mapfile -t COMPREPLY < <(compgen -A \"$action\" -- \"$cur\")\n"
         "  else\n"
         "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
         "  fi\n"
         "}\n"
         "complete -F _prefixd prefixd\n";
}

// A text in single quotes.
std::string ZshQuoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string ZshFlag(const OptionSpec& spec) {
  std::string text = "--" + std::string(spec.name);
  const Values values = ValuesOf(spec);
  if (values != Values::kNone) text += "=";
  text += "[" + Replaced(spec.help, "[]:\\", "\\") + "]";
  if (values != Values::kNone) text += ":" + Replaced(spec.value_name, ":", "\\") + ":";
  if (values == Values::kWords) text += "(" + Words(spec) + ")";
  if (values == Values::kFiles) text += "_files";
  if (values == Values::kFolders) text += "_files -/";
  return ZshQuoted(text);
}

std::string Zsh() {
  std::string text =
      "#compdef prefixd\n"
      "# Completes prefixd in zsh; `prefixd help-completion zsh` prints it.\n"
      "_prefixd() {\n"
      "  local -a commands\n"
      "  commands=(\n";
  for (const CommandSpec* command : ShownCommands())
    text += "    " + ZshQuoted(std::string(command->name) + ":" + std::string(command->summary)) + "\n";
  text +=
      "  )\n"
      "  if (( CURRENT == 2 )); then\n"
      "    _describe command commands\n"
      "    return\n"
      "  fi\n"
      "  local command=$words[2]\n"
      "  shift words\n"
      "  (( CURRENT-- ))\n"
      "  case $command in\n";
  for (const CommandSpec* command : ShownCommands()) {
    text += "    " + std::string(command->name) + ")\n      _arguments";
    for (const OptionSpec* spec : FlagsOf(*command)) text += " \\\n        " + ZshFlag(*spec);
    if (command->argument == "DIR") text += " \\\n        '1:DIR:_files -/'";
    if (command->argument == "FROM TO") text += " \\\n        '1:FROM:_files' '2:TO:_files'";
    if (command->argument == "COMMAND") text += " \\\n        '1:COMMAND:(" + CommandNames() + ")'";
    text += " \\\n        '--help[print the flags of the command]' ;;\n";
  }
  return text + "  esac\n}\n_prefixd \"$@\"\n";
}

std::string FishQuoted(std::string_view text) { return "'" + Replaced(text, "'\\", "\\") + "'"; }

std::string FishFlag(const CommandSpec& command, const OptionSpec& spec) {
  std::string text = "complete -c prefixd -n '__fish_seen_subcommand_from " + std::string(command.name) +
                     "' -l " + std::string(spec.name);
  switch (ValuesOf(spec)) {
    case Values::kNone:
      break;
    case Values::kWords:
      text += " -x -a " + FishQuoted(Words(spec));
      break;
    case Values::kFiles:
      text += " -r -F";
      break;
    case Values::kFolders:
      text += " -x -a '(__fish_complete_directories)'";
      break;
    case Values::kUnknown:
      text += " -x";
      break;
  }
  return text + " -d " + FishQuoted(spec.help) + "\n";
}

std::string Fish() {
  std::string text =
      "# Completes prefixd in fish; `prefixd help-completion fish` prints it.\n"
      "complete -c prefixd -f\n"
      "complete -c prefixd -l help -d 'print the flags of a command'\n";
  for (const CommandSpec* command : ShownCommands()) {
    const std::string name(command->name);
    text += "complete -c prefixd -n __fish_use_subcommand -a " + name + " -d " +
            FishQuoted(command->summary) + "\n";
    const std::string words = command->argument == "DIR"       ? "(__fish_complete_directories)"
                              : command->argument == "COMMAND" ? CommandNames()
                                                               : "";
    if (command->argument == "FROM TO")
      text += "complete -c prefixd -n '__fish_seen_subcommand_from " + name + "' -F\n";
    if (!words.empty())
      text +=
          "complete -c prefixd -n '__fish_seen_subcommand_from " + name + "' -a " + FishQuoted(words) + "\n";
    for (const OptionSpec* spec : FlagsOf(*command)) text += FishFlag(*command, *spec);
  }
  return text;
}

}  // namespace

Result<std::string> CompletionScript(std::string_view shell) {
  if (shell == "bash") return Bash();
  if (shell == "zsh") return Zsh();
  if (shell == "fish") return Fish();
  std::string names;
  for (const std::string_view name : kShells) names += " " + std::string(name);
  return InvalidArgument("'" + std::string(shell) + "' is unknown; help-completion takes one of:" + names);
}

}  // namespace prefixd
