#include "daemon/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>

#include "base/duration.h"
#include "daemon/completion.h"
#include "daemon/limit_table.h"
#include "daemon/manual.h"

namespace prefixd {
namespace {

using Faults = std::vector<std::string>;

// What CLI11 gives as the value of a flag that has none. No word of a command line is this.
constexpr const char* kNoValue = "\x01";
constexpr int64_t kMostWatch = 86400;  // seconds

struct Parser {
  CLI::App app{"prefixd serves a language model over HTTP and reuses the work on cached prefixes.",
               "prefixd"};
  std::vector<CLI::App*> commands;  // in the order of CommandTable
};

// The help text of an option.
std::string Description(const OptionSpec& spec) {
  std::string text(spec.help);
  if (!spec.default_text.empty() && spec.kind != OptionKind::kFlag)
    text += " [" + std::string(spec.default_text) + "]";
  return FindOption(spec.name) == &spec ? text + " (" + VariableName(spec.name) + ")" : text;
}

void AddFlag(CLI::App* app, const OptionSpec& spec) {
  const std::string flag = "--" + std::string(spec.name);
  const std::string description = Description(spec);  // CLI11 takes a text that is no constant as a variable
  CLI::Option* option;
  if (spec.kind == OptionKind::kFlag) {
    option = app->add_flag(flag, description);
  } else {
    option = app->add_option(flag, description);
    option->expected(0, 1)->type_name(std::string(spec.choices.empty() ? spec.value_name : spec.choices));
  }
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  if (!spec.group.empty()) option->group(std::string(spec.group));
}

std::unique_ptr<Parser> MakeParser() {
  auto parser = std::make_unique<Parser>();
  CLI::App& app = parser->app;
  app.set_help_flag("-h,--help", "print the flags of a command");
  app.require_subcommand(0, 1);  // a second name of a command is a word like any other
  app.footer(
      "\nMost used flags of serve: --model --listen --device-cache --context --threads\n\n"
      "  prefixd serve --model ./model\n"
      "  PREFIXD_MODEL=./model prefixd serve --listen 0.0.0.0:8080 --api-keys keys.txt\n\n"
      "Exit codes: 0 ok, 1 failed while running, 2 wrong usage or configuration, 3 model refused.");
  for (const CommandSpec& spec : CommandTable()) {
    CLI::App* command = app.add_subcommand(std::string(spec.name), std::string(spec.summary));
    if (spec.summary.empty()) command->group("");
    command->allow_extras();  // reported as faults, with the nearest name
    for (const OptionSpec* flag : FlagsOf(spec)) AddFlag(command, *flag);
    const std::vector<std::string> arguments = WordsOf(spec.argument, ' ');
    const std::vector<std::string> helps = WordsOf(spec.argument_help, '|');
    for (size_t i = 0; i < arguments.size(); ++i) command->add_option(arguments[i], helps[i]);
    if (!spec.notes.empty()) command->footer("\n" + std::string(spec.notes));
    parser->commands.push_back(command);
  }
  return parser;
}

std::string HelpOf(const CommandSpec& command) {
  const std::unique_ptr<Parser> parser = MakeParser();
  return parser->commands[static_cast<size_t>(&command - CommandTable().data())]->help();
}

// What is given after a command.
struct Given {
  const CommandSpec* command = nullptr;
  std::vector<Setting> flags;          // known ones, with their values
  std::vector<std::string> arguments;  // of the command, such as DIR; those that are there, or may be meant
  bool model_meant = false;            // something unknown looks like --model
  bool unclear = false;  // a flag is unknown or has no value, so that others may only seem absent

  const std::string* Find(std::string_view name) const {
    const auto found = std::ranges::find(flags, name, &Setting::name);
    return found == flags.end() ? nullptr : &found->value;
  }
  bool Has(std::string_view name) const { return Find(name) != nullptr; }
  bool IsSet(std::string_view flag) const {
    const std::string* value = Find(flag);
    return value != nullptr && *ParseBool(*value);
  }
};

// The fault of a flag that the command does not have.
std::string UnknownFlag(std::string_view flag, Given* given) {
  const CommandSpec& command = *given->command;
  const std::string_view name = flag.substr(std::min(flag.find_first_not_of('-'), flag.size()));
  std::string text(flag);
  text += command.options ? " is not an option of prefixd"
                          : " is not a flag of prefixd " + std::string(command.name);
  std::vector<std::string_view> names = {"help"};
  for (const OptionSpec* spec : FlagsOf(command)) names.push_back(spec->name);
  const std::string_view nearest = NearestName(name, names);
  if (nearest == "model") given->model_meant = true;
  if (!nearest.empty()) return text + "; did you mean --" + std::string(nearest) + "?";
  for (const CommandSpec& other : CommandTable()) {
    const std::vector<const OptionSpec*> flags = FlagsOf(other);
    if (std::ranges::find(flags, name, &OptionSpec::name) != flags.end())
      return text + "; it belongs to prefixd " + std::string(other.name);
  }
  return text + "; see prefixd " + std::string(command.name) + " --help";
}

// The fault of a word that is neither a flag, nor a value, nor the argument of the command.
std::string UnknownWord(const std::string& word, Given* given) {
  const CommandSpec& command = *given->command;
  const std::string quoted = "'" + word + "'";
  std::vector<std::string_view> names;
  for (const OptionSpec* spec : FlagsOf(command)) names.push_back(spec->name);
  const std::string_view nearest = NearestName(word, names);
  if (nearest == "model") given->model_meant = true;
  std::string text = quoted + (command.options ? " is not an option of prefixd" : " is one word too many");
  if (!nearest.empty()) return text + "; did you mean --" + std::string(nearest) + "?";
  if (!command.options || given->Has("model") || given->model_meant)
    return text + "; see prefixd " + std::string(command.name) + " --help";
  given->model_meant = true;
  return text + "; did you mean --model " + word + "?";
}

bool LooksLikeFlag(std::string_view word) {
  return word.size() > 1 && word[0] == '-' && !(word[1] >= '0' && word[1] <= '9');
}

// Makes faults of what CLI11 did not know, and of an argument that is not there.
void TakeExtras(const std::vector<std::string>& extras, Given* given, Faults* faults) {
  const CommandSpec& command = *given->command;
  bool after_unknown_flag = false;  // then the next word is most likely its value
  for (const std::string& extra : extras) {
    const bool flag = LooksLikeFlag(extra);
    if (flag) {
      faults->push_back(UnknownFlag(std::string_view(extra).substr(0, extra.find('=')), given));
    } else if (given->Has("live")) {
      given->arguments.push_back(extra);
    } else if (!after_unknown_flag && (command.argument.empty() || !given->unclear)) {
      faults->push_back(UnknownWord(extra, given));
    }
    after_unknown_flag = flag && extra.find('=') == std::string::npos;
    given->unclear |= flag;
  }
  if (given->Has("live")) return;  // its words say what to ask
  const std::vector<std::string> wanted = WordsOf(command.argument, ' ');
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (i < given->arguments.size() && !given->arguments[i].empty()) continue;
    faults->push_back(wanted[i] + " is required: prefixd " + std::string(command.name) + " " +
                      std::string(command.argument));
  }
  given->arguments.resize(wanted.size());
}

Given TakeFlags(const CommandSpec& command, const CLI::App& app, Faults* faults) {
  Given given;
  given.command = &command;
  for (const std::string& name : WordsOf(command.argument, ' ')) {
    for (const std::string& word : app.get_option(name)->results()) given.arguments.push_back(word);
  }
  for (const OptionSpec* spec : FlagsOf(command)) {
    const std::string flag = "--" + std::string(spec->name);
    const std::vector<std::string> values = app.get_option(flag)->results();
    if (values.size() > 1) faults->push_back(flag + " is given twice; leave one of them out");
    for (const std::string& value : values) {
      if (value == kNoValue && FindOption(spec->name) != spec && !spec->default_text.empty()) {
        given.flags.push_back({std::string(spec->name), std::string(spec->default_text), flag});
      } else if (value == kNoValue) {
        const std::string wanted(spec->value_name);
        faults->push_back(flag + " has no value: give " + flag + " " + wanted + ", or " + flag + "=" +
                          wanted + " where it begins with '-'");
        given.unclear = true;
        if (spec->name == "model") given.model_meant = true;
      } else if (spec->kind == OptionKind::kFlag && FindOption(spec->name) != spec && !ParseBool(value)) {
        faults->push_back(flag + ": '" + value + "' is neither true nor false");
      } else {
        given.flags.push_back({std::string(spec->name), value, flag});
      }
    }
  }
  TakeExtras(app.remaining(), &given, faults);
  return given;
}

std::string UnknownCommand(const std::string& word) {
  if (word.starts_with("-")) {
    const std::string name = word.substr(std::min(word.find_first_not_of('-'), word.size()));
    if (FindOption(name.substr(0, name.find('='))) != nullptr)
      return word + " comes after a command, as in prefixd serve " + word;
  }
  std::vector<std::string_view> names = {"--help", "--version"};
  for (const CommandSpec& command : CommandTable()) {
    if (!command.summary.empty()) names.push_back(command.name);
  }
  const std::string_view nearest = NearestName(word, names);
  return "prefixd has no command '" + word + "'" +
         (nearest.empty() ? "; see prefixd --help" : "; did you mean " + std::string(nearest) + "?");
}

Options CollectOptions(const Given& given, const char* const* environment, std::vector<std::string>* warnings,
                       Faults* faults) {
  std::vector<std::vector<Setting>> layers(3);
  layers[1] = SettingsFromEnvironment(environment, warnings);
  layers[2] = given.flags;
  std::erase_if(layers[2], [](const Setting& flag) { return FindOption(flag.name) == nullptr; });  // --json
  std::string path;
  bool model = given.model_meant;
  for (const std::vector<Setting>& layer : layers) {
    for (const Setting& setting : layer) {
      if (setting.name == "config") path = setting.value;
    }
  }
  if (!path.empty()) layers[0] = SettingsFromFile(path, faults);
  for (const std::vector<Setting>& layer : layers) {
    for (const Setting& setting : layer) model |= setting.name == "model" && !setting.value.empty();
  }
  const Result<Options> options = BuildOptions(layers);
  if (!options.ok()) faults->push_back(options.status().message());
  if (!model) faults->push_back("--model (or PREFIXD_MODEL, or model in the config file) is required");
  return options.ok() ? *options : Options{};
}

ConvertOptions CollectConvertOptions(const Given& given) {
  ConvertOptions options{.from = given.arguments[0], .to = given.arguments[1]};
  if (const std::string* type = given.Find("type")) options.type = *type;
  options.overwrite = given.IsSet("overwrite");
  options.json = given.IsSet("json");
  return options;
}

KeysOptions CollectKeysOptions(const Given& given, Faults* faults) {
  KeysOptions options{.fields = {}, .draw = given.IsSet("new")};
  for (const OptionSpec& flag : given.command->flags) {
    const std::string* value = given.Find(flag.name);
    if (value != nullptr && flag.name != "new")
      options.fields.push_back(std::string(flag.name) + "=" + *value);
  }
  const std::string& word = given.arguments[0];
  if (!word.empty() && word != "hash")
    faults->push_back("'" + word + "' is nothing that prefixd keys does; write prefixd keys hash");
  return options;
}

DiskCommandOptions CollectDiskOptions(const Given& given, Faults* faults) {
  DiskCommandOptions options;
  options.directory = given.arguments[0];
  const auto is_set = [&](std::string_view name) { return given.IsSet(name); };
  options.json = is_set("json");
  options.remove_damaged = is_set("delete");
  if (given.command->command != Command::kPurge) return options;
  options.all = is_set("all");
  options.yes = is_set("yes");
  options.dry_run = is_set("dry-run");
  if (const std::string* model = given.Find("model")) options.model = *model;
  if (const std::string* tenant = given.Find("tenant")) options.tenant = *tenant;
  if (const std::string* key = given.Find("tenant-key")) options.tenant_key = *key;
  if (const std::string* text = given.Find("older-than")) {
    const Result<int64_t> age = ParseDuration(*text);
    if (age.ok()) options.older_than = *age;
    if (!age.ok()) faults->push_back("--older-than: " + age.status().message());
  }
  if (given.Has("model") && options.model.empty())
    faults->push_back("--model: '' is not the beginning of a fingerprint; prefixd inspect shows them");
  if (given.Has("tenant-key") && options.tenant_key.empty())
    faults->push_back("--tenant-key: '' is not a file; leave it out where the daemon has no --api-keys");
  const bool filtered =
      given.Has("model") || given.Has("tenant") || given.Has("tenant-key") || given.Has("older-than");
  if (options.all && filtered) faults->push_back("--all removes everything; give it alone, or filters");
  if (!options.all && !filtered && !given.unclear) {
    faults->push_back(
        "say what to purge: --model, --tenant, --tenant-key, --older-than, several of them, or --all");
  }
  return options;
}

// inspect --live, and faults where its flags come without it.
LiveOptions CollectLiveOptions(const Given& given, Faults* faults) {
  LiveOptions options;
  options.json = given.IsSet("json");
  const std::string* const address = given.Find("live");
  for (const char* const name : {"watch", "key-file"}) {
    if (address == nullptr && given.Has(name))
      faults->push_back("--" + std::string(name) + " goes with --live ADDR, which asks a daemon");
  }
  if (address == nullptr) return options;
  if (address->empty()) faults->push_back("--live: '' is not an address: give that of --admin-listen");
  options.address = *address;
  if (const std::string* file = given.Find("key-file")) options.key_file = *file;
  if (const std::string* text = given.Find("watch")) {
    const char* const end = text->data() + text->size();
    const auto [read, error] = std::from_chars(text->data(), end, options.watch_seconds);
    if (error != std::errc() || read != end || options.watch_seconds < 1 ||
        options.watch_seconds > kMostWatch)
      faults->push_back("--watch: '" + *text + "' is not a number of seconds from 1 to " +
                        std::to_string(kMostWatch) + "; give it as --watch=SECONDS before other words");
  }
  constexpr std::string_view kWhat[] = {"status", "ready", "requests", "request"};
  const std::vector<std::string>& words = given.arguments;
  if (words.empty()) return options;
  options.what = words[0];
  if (std::ranges::find(kWhat, options.what) == std::end(kWhat)) {
    const std::string_view nearest = NearestName(options.what, kWhat);
    faults->push_back("'" + options.what +
                      "' is not what --live can ask: status, ready, requests or request ID" +
                      (nearest.empty() ? "" : "; did you mean " + std::string(nearest) + "?"));
  }
  const size_t most = options.what == "request" ? 2 : 1;
  if (words.size() > most)
    faults->push_back("'" + words[most] + "' is one word too many; see prefixd inspect --help");
  if (options.what != "request") return options;
  if (words.size() > 1) options.id = words[1];
  if (options.id.empty())
    faults->push_back("request takes the id of one: prefixd inspect --live ADDR request ID");
  return options;
}

// What the commands print that only help.
std::string TextOf(const Given& given, Faults* faults) {
  const std::string_view name = given.command->name;
  if (name == "help-toml") return OptionsAsToml();
  if (name == "help-markdown") return OptionsAsMarkdown() + "\n" + LimitsAsMarkdown();
  if (name == "help-man") return ManualPage();
  const Result<std::string> script = CompletionScript(given.arguments[0]);
  if (script.ok()) return *script;
  if (faults->empty()) faults->push_back(script.status().message());
  return "";
}

// Digits, possibly with a point: what a unit may follow.
bool IsNumber(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789.") == std::string_view::npos;
}

// The setting of an item of the file, or its fault.
Result<Setting> SettingFrom(const CLI::ConfigItem& item, const std::string& origin) {
  if (item.name == "config") return InvalidArgument("config: a file cannot name another file");
  std::string value;  // CLI11 gives quoted text with blanks as one input, a bare "4 GiB" as two
  for (const std::string& part : item.inputs) value += (value.empty() ? "" : " ") + part;
  // Two inputs are a number and its unit, or an array of two values, which no option takes.
  const bool array = item.inputs.size() > 2 || (item.inputs.size() == 2 && !IsNumber(item.inputs.front()));
  if (value.starts_with('"') || value.starts_with('\'') || array) {
    return InvalidArgument(item.name + " takes one value: a number, true, false, or quoted text without '#'");
  }
  return Setting{item.name, value, origin + item.name};
}

// prefixd help [COMMAND]
Result<Invocation> Help(std::span<const char* const> words) {
  Invocation invocation;
  if (words.size() > 1) return InvalidArgument("prefixd help takes one command; see prefixd --help");
  const std::string_view word = words.empty() ? "" : words[0];
  const CommandSpec* command = FindCommand(word);
  if (command == nullptr && !word.empty() && word != "--help" && word != "-h")
    return InvalidArgument(UnknownCommand(words[0]));
  invocation.text = command == nullptr ? TopLevelHelp() : HelpOf(*command);
  return invocation;
}

std::string Joined(const Faults& faults) {
  std::string text;
  for (const std::string& fault : faults) text += (text.empty() ? "" : "\n") + fault;
  return text;
}

}  // namespace

std::string TopLevelHelp() { return MakeParser()->app.help(); }

std::vector<Setting> SettingsFromFile(const std::string& path, std::vector<std::string>* faults) {
  std::vector<Setting> settings;
  std::error_code ignored;  // a file that cannot be read is reported below
  if (std::filesystem::is_directory(path, ignored)) {
    faults->push_back("--config: '" + path + "' is a folder, not a file");
    return settings;
  }
  std::ifstream file(path);
  if (!file) {
    faults->push_back("--config: cannot read '" + path + "'; correct its path or its permissions");
    return settings;
  }
  std::map<std::string, int> first_line;
  bool in_table = false;  // then the fault is told
  std::string line;
  for (int number = 1; !in_table && std::getline(file, line); ++number) {  // CLI11 does not count lines
    const std::string origin = path + ":" + std::to_string(number) + ": ";
    std::istringstream text(line);
    const std::vector<CLI::ConfigItem> items = CLI::ConfigTOML().from_config(text);
    const size_t first_character = line.find_first_not_of(" \t\r");
    if (items.empty() && first_character != std::string::npos && line[first_character] != '#')
      faults->push_back(origin + "'" + line + "' is not some-name = value");
    for (const CLI::ConfigItem& item : items) {
      if (!item.parents.empty()) {
        if (!in_table)
          faults->push_back(origin +
                            "options are at the top of the file as some-name = value, not in tables");
        in_table = true;
      } else if (const auto [first, is_new] = first_line.emplace(item.name, number); !is_new) {
        faults->push_back(origin + item.name + " is given twice, first in line " +
                          std::to_string(first->second));
      } else if (const Result<Setting> setting = SettingFrom(item, origin); setting.ok()) {
        settings.push_back(*setting);
      } else {
        faults->push_back(origin + setting.status().message());
      }
    }
  }
  return settings;
}

bool AsksForJson(int argc, const char* const* argv) {
  const std::span<const char* const> words(argv, static_cast<size_t>(argc));
  const CommandSpec* const command = words.size() < 2 ? nullptr : FindCommand(words[1]);
  return command != nullptr &&
         std::ranges::find(command->flags, "json", &OptionSpec::name) != command->flags.end() &&
         std::ranges::any_of(words, [](std::string_view word) { return word == "--json"; });
}

Result<Invocation> ParseCommandLine(int argc, const char* const* argv, const char* const* environment) {
  if (argc < 2) return InvalidArgument(TopLevelHelp());
  std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments[0] == "help" || arguments[0] == "--help" || arguments[0] == "-h")
    return Help(std::span(argv, static_cast<size_t>(argc)).subspan(2));
  if (arguments[0] == "--version") arguments[0] = "version";
  const CommandSpec* command = FindCommand(arguments[0]);
  if (command == nullptr) return InvalidArgument(UnknownCommand(arguments[0]));

  const std::unique_ptr<Parser> parser = MakeParser();
  CLI::App& app = *parser->commands[static_cast<size_t>(command - CommandTable().data())];
  for (const OptionSpec* flag : FlagsOf(*command)) {
    if (flag->kind != OptionKind::kFlag)
      app.get_option("--" + std::string(flag->name))->default_str(kNoValue);
  }
  // CLI11 takes the next word as the value of `--name=`, but not if that is a word of its own.
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (!arguments[i].starts_with("--") || !arguments[i].ends_with('=')) continue;
    arguments[i].pop_back();
    arguments.insert(arguments.begin() + static_cast<ptrdiff_t>(++i), "");
  }
  std::ranges::reverse(arguments);  // the order that CLI11 expects
  Invocation invocation;
  invocation.command = command->command;
  try {
    parser->app.parse(arguments);
  } catch (const CLI::CallForHelp&) {
    invocation.command = Command::kPrint;
    invocation.text = HelpOf(*command);
    return invocation;
  } catch (const CLI::Error& error) {
    return InvalidArgument(error.what());
  }
  Faults faults;
  const Given given = TakeFlags(*command, app, &faults);
  invocation.json = given.IsSet("json");
  if (command->options) {
    invocation.options = CollectOptions(given, environment, &invocation.warnings, &faults);
  } else if (command->command == Command::kPrint) {
    invocation.text = TextOf(given, &faults);
  } else if (command->command == Command::kConvert) {
    invocation.convert = CollectConvertOptions(given);
  } else if (command->command == Command::kKeys) {
    invocation.keys = CollectKeysOptions(given, &faults);
  } else if (!command->argument.empty()) {
    if (command->command == Command::kInspect) invocation.live = CollectLiveOptions(given, &faults);
    if (!given.Has("live")) invocation.disk = CollectDiskOptions(given, &faults);
  }
  if (!faults.empty()) return InvalidArgument(Joined(faults));
  return invocation;
}

}  // namespace prefixd
