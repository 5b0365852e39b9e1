#include "daemon/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <memory>

#include "base/duration.h"
#include "daemon/limit_table.h"

namespace prefixd {
namespace {

constexpr std::array<std::string_view, 1> kUnimplementedCommands = {"convert"};
constexpr std::array<std::string_view, 7> kCommands = {"serve",  "validate", "inspect", "purge",
                                                       "verify", "version",  "help"};

struct Parser {
  CLI::App app{"prefixd serves a language model over HTTP and reuses the work on cached prefixes.",
               "prefixd"};
  CLI::App* serve = nullptr;
  CLI::App* validate = nullptr;
  CLI::App* inspect = nullptr;
  CLI::App* purge = nullptr;
  CLI::App* verify = nullptr;
  CLI::App* version = nullptr;
  CLI::App* markdown = nullptr;
  CLI::App* toml = nullptr;
  bool json = false;
  DiskCommandOptions disk;
  std::string tenant;
  std::string older_than;
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

// The commands on the directory of a disk cache.
void AddDiskCommands(Parser* parser) {
  CLI::App& app = parser->app;
  parser->inspect = app.add_subcommand("inspect", "say what is in a disk cache: models, tenants, prefixes");
  parser->purge = app.add_subcommand("purge", "remove records from a disk cache that no daemon uses");
  parser->verify = app.add_subcommand("verify", "read every record of a disk cache and check it");
  for (CLI::App* command : {parser->inspect, parser->purge, parser->verify}) {
    command->add_option("DIR", parser->disk.directory, "the --disk-cache-dir of the daemon")->required();
    command->add_flag("--json", parser->json, "print one JSON document");
  }
  CLI::App* purge = parser->purge;
  purge
      ->add_option("--model", parser->disk.model,
                   "records of this model: the first digits of its fingerprint")
      ->type_name("FINGERPRINT");
  purge
      ->add_option("--tenant", parser->tenant,
                   "records of the tenant with this cache_salt; '' is those without")
      ->type_name("SALT");
  purge
      ->add_option("--tenant-key", parser->disk.tenant_key,
                   "a file with the API key of the tenant, where the daemon has --api-keys")
      ->type_name("FILE");
  purge->add_option("--older-than", parser->older_than, "records written so long ago: 90s, 15m, 12h, 7d, 2w")
      ->type_name("TIME");
  purge->add_flag("--all", parser->disk.all, "everything, also what is damaged or of another version");
  purge->add_flag("--yes", parser->disk.yes, "do not ask");
  purge->add_flag("--dry-run", parser->disk.dry_run, "only say what would go; works beside a daemon");
  parser->inspect->footer(
      "\nIt works beside a daemon. The first token ids of prefixes are parts of prompts.");
  purge->footer(
      "\nRecords that match all the given filters go, and no file of the cache has them any more.\n"
      "A daemon that runs has the directory locked: stop it first. --dry-run works beside it.");
  parser->verify->add_flag("--delete", parser->disk.remove_damaged,
                           "remove what is damaged; no daemon may use the directory");
  parser->verify->footer("\nExit codes: 0 no damage, 1 damaged records or not readable, 2 wrong usage.");
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
  AddDiskCommands(parser.get());
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

Result<DiskCommandOptions> CollectDiskOptions(const Parser& parser) {
  DiskCommandOptions options = parser.disk;
  options.json = parser.json;
  const CLI::App& purge = *parser.purge;
  if (!purge.parsed()) return options;
  const bool model = purge.count("--model") > 0;
  if (purge.count("--tenant") > 0) options.tenant = parser.tenant;
  if (purge.count("--older-than") > 0) {
    const auto age = ParseDuration(parser.older_than);
    if (!age.ok()) return age.status().WithContext("--older-than");
    options.older_than = *age;
  }
  if (model && options.model.empty())
    return InvalidArgument("--model: '' is not the beginning of a fingerprint");
  const bool filtered = model || options.tenant || !options.tenant_key.empty() || options.older_than;
  if (options.all && filtered) return InvalidArgument("--all removes everything; give it alone, or filters");
  if (!options.all && !filtered)
    return InvalidArgument(
        "say what to purge: --model, --tenant, --tenant-key, --older-than, several of them, or --all");
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
  } else if (parser->inspect->parsed() || parser->purge->parsed() || parser->verify->parsed()) {
    invocation.command = parser->inspect->parsed() ? Command::kInspect
                         : parser->purge->parsed() ? Command::kPurge
                                                   : Command::kVerify;
    PREFIXD_ASSIGN_OR_RETURN(invocation.disk, CollectDiskOptions(*parser));
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
