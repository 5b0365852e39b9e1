#include "daemon/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <memory>

#include "daemon/limit_table.h"

namespace prefixd {
namespace {

constexpr std::array<std::string_view, 4> kUnimplementedCommands = {"inspect", "purge", "verify", "convert"};
constexpr std::array<std::string_view, 4> kCommands = {"serve", "validate", "version", "help"};

struct Parser {
  CLI::App app{"prefixd serves a language model over HTTP and never computes the same prompt prefix twice.",
               "prefixd"};
  CLI::App* serve = nullptr;
  CLI::App* validate = nullptr;
  CLI::App* version = nullptr;
  CLI::App* markdown = nullptr;
  CLI::App* toml = nullptr;
  bool json = false;
};

// The help text of an option.
std::string Description(const OptionSpec& spec) {
  std::string text(spec.help);
  if (!spec.default_text.empty() && spec.kind != OptionKind::kFlag)
    text += " [" + std::string(spec.default_text) + "]";
  return text + " (" + VariableName(spec.name) + ")";
}

void AddOptions(CLI::App* command) {
  command->allow_extras();  // reported as faults, with the nearest option name
  for (const OptionSpec& spec : OptionTable()) {
    const std::string flag = "--" + std::string(spec.name);
    const std::string description = Description(spec);
    CLI::Option* option;
    if (spec.kind == OptionKind::kFlag) {
      option = command->add_flag(flag, description);
    } else {
      option = command->add_option(flag, description);
      option->expected(1)->type_name(spec.kind == OptionKind::kChoice ? std::string(spec.choices)
                                                                      : std::string(spec.value_name));
    }
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)->group(std::string(spec.group));
  }
}

std::unique_ptr<Parser> MakeParser() {
  auto parser = std::make_unique<Parser>();
  CLI::App& app = parser->app;
  app.set_help_flag("-h,--help", "print the flags of a command");
  app.footer(
      "\nMost used flags of serve: --model --listen --device-cache --context --threads\n\n"
      "  prefixd serve --model ./model\n"
      "  PREFIXD_MODEL=./model prefixd serve --listen 0.0.0.0:8080 --api-keys keys.txt\n\n"
      "Exit codes: 0 ok, 1 failed while running, 2 wrong usage or configuration, 3 model refused.");
  parser->serve = app.add_subcommand("serve", "load a model and answer HTTP until SIGTERM");
  parser->validate = app.add_subcommand(
      "validate", "check the configuration and the model, and print the limits that serve would use");
  parser->version = app.add_subcommand("version", "print the version and the backends");
  parser->markdown = app.add_subcommand("help-markdown", "")->group("");
  parser->toml = app.add_subcommand("help-toml", "")->group("");
  AddOptions(parser->serve);
  AddOptions(parser->validate);
  parser->validate->add_flag("--json", parser->json, "print one JSON document");
  parser->version->add_flag("--json", parser->json, "print one JSON document");
  return parser;
}

std::vector<Setting> SettingsFromFlags(const CLI::App& command) {
  std::vector<Setting> settings;
  for (const OptionSpec& spec : OptionTable()) {
    const std::string flag = "--" + std::string(spec.name);
    for (const std::string& value : command.get_option(flag)->results()) {
      settings.push_back({std::string(spec.name), value, flag});
    }
  }
  bool after_unknown_flag = false;  // then the next word is most likely the value of that flag
  for (const std::string& extra : command.remaining()) {
    const bool flag = extra.starts_with("--");
    const std::string name = flag ? extra.substr(2, extra.find('=') - 2) : extra;
    if (flag || !after_unknown_flag) settings.push_back({name, "", flag ? "--" + name : "'" + extra + "'"});
    after_unknown_flag = flag && name.size() + 2 == extra.size();
  }
  return settings;
}

Status RejectDuplicates(const std::vector<Setting>& settings) {
  std::map<std::string, int> seen;
  for (const Setting& setting : settings) {
    if (++seen[setting.origin] == 2) return InvalidArgument(setting.origin + " is given twice");
  }
  return Status::Ok();
}

Status UnknownCommand(std::string_view word) {
  if (std::ranges::find(kUnimplementedCommands, word) != kUnimplementedCommands.end()) {
    return InvalidArgument("prefixd " + std::string(word) + " is not implemented in this version of prefixd");
  }
  const std::string_view nearest = NearestName(word, kCommands);
  return InvalidArgument(
      "prefixd has no command '" + std::string(word) + "'" +
      (nearest.empty() ? "; see prefixd --help" : "; did you mean " + std::string(nearest) + "?"));
}

Result<Options> CollectOptions(const CLI::App& command, const char* const* environment,
                               std::vector<std::string>* warnings) {
  std::vector<std::vector<Setting>> layers(3);
  layers[1] = SettingsFromEnvironment(environment, warnings);
  layers[2] = SettingsFromFlags(command);
  PREFIXD_RETURN_IF_ERROR(RejectDuplicates(layers[2]));
  std::string path;
  for (const std::vector<Setting>& layer : layers) {
    for (const Setting& setting : layer) {
      if (setting.name == "config") path = setting.value;
    }
  }
  if (!path.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(layers[0], SettingsFromFile(path));
    PREFIXD_RETURN_IF_ERROR(RejectDuplicates(layers[0]));
  }
  PREFIXD_ASSIGN_OR_RETURN(Options options, BuildOptions(layers));
  if (options.model.empty())
    return InvalidArgument("--model (or PREFIXD_MODEL, or model in the config file) is required");
  return options;
}

// Digits, possibly with a point: what a unit may follow.
bool IsNumber(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789.") == std::string_view::npos;
}

}  // namespace

std::string TopLevelHelp() { return MakeParser()->app.help(); }

Result<std::vector<Setting>> SettingsFromFile(const std::string& path) {
  std::error_code ignored;  // the parser reports a missing file
  if (std::filesystem::is_directory(path, ignored))
    return InvalidArgument("--config: '" + path + "' is a folder, not a file");
  std::vector<CLI::ConfigItem> items;
  try {
    items = CLI::ConfigTOML().from_file(path);
  } catch (const CLI::Error&) {
    return InvalidArgument("--config: cannot read '" + path + "'");
  }
  std::vector<Setting> settings;
  for (const CLI::ConfigItem& item : items) {
    if (!item.parents.empty()) {
      return InvalidArgument(path + ": '" + item.fullname() +
                             "': options must be at the top of the file, not in tables");
    }
    if (item.name == "config") return InvalidArgument(path + ": config: a file cannot name another file");
    std::string value;  // CLI11 gives quoted text with blanks as one input, a bare "4 GiB" as two
    for (const std::string& part : item.inputs) value += (value.empty() ? "" : " ") + part;
    // Two inputs are a number and its unit, or an array of two values, which no option takes.
    const bool array = item.inputs.size() > 2 || (item.inputs.size() == 2 && !IsNumber(item.inputs.front()));
    if (value.starts_with('"') || value.starts_with('\'') || array) {
      return InvalidArgument(path + ": " + item.name +
                             " takes one value: a number, true, false, or quoted text without '#'");
    }
    settings.push_back({item.name, value, item.name + " in " + path});
  }
  return settings;
}

Result<Invocation> ParseCommandLine(int argc, const char* const* argv, const char* const* environment) {
  if (argc < 2) return InvalidArgument(TopLevelHelp());
  const std::string_view word = argv[1];
  const std::unique_ptr<Parser> parser = MakeParser();
  const bool help_command = word == "help";
  const bool known = word.starts_with("help") || std::ranges::find(kCommands, word) != kCommands.end();
  if (!known && !word.starts_with("-")) return UnknownCommand(word);

  std::vector<std::string> arguments(argv + 1, argv + argc);
  if (help_command) {  // help CMD is CMD --help
    arguments.erase(arguments.begin());
    arguments.push_back("--help");
  }
  if (word == "--version") arguments = {"version"};
  std::ranges::reverse(arguments);  // the order that CLI11 expects
  Invocation invocation;
  try {
    parser->app.parse(arguments);
  } catch (const CLI::CallForHelp&) {
    const std::vector<CLI::App*> chosen = parser->app.get_subcommands();
    invocation.text = (chosen.empty() ? &parser->app : chosen.front())->help();
    return invocation;
  } catch (const CLI::Error& error) {
    return InvalidArgument(error.what());
  }
  invocation.json = parser->json;
  if (parser->markdown->parsed() || parser->toml->parsed()) {
    invocation.text =
        parser->toml->parsed() ? OptionsAsToml() : OptionsAsMarkdown() + "\n" + LimitsAsMarkdown();
  } else if (parser->version->parsed()) {
    invocation.command = Command::kVersion;
  } else if (parser->serve->parsed() || parser->validate->parsed()) {
    invocation.command = parser->serve->parsed() ? Command::kServe : Command::kValidate;
    PREFIXD_ASSIGN_OR_RETURN(invocation.options,
                             CollectOptions(parser->serve->parsed() ? *parser->serve : *parser->validate,
                                            environment, &invocation.warnings));
  } else {
    return InvalidArgument(TopLevelHelp());
  }
  return invocation;
}

}  // namespace prefixd
