#include "daemon/command_table.h"

#include <algorithm>

namespace prefixd {
namespace {

using K = OptionKind;

constexpr OptionSpec Flag(std::string_view name, std::string_view help) {
  return {name, "", K::kFlag, {}, "", "", help};
}
constexpr OptionSpec Value(std::string_view name, std::string_view value_name, std::string_view help,
                           OptionKind kind = K::kText) {
  return {name, value_name, kind, {}, "", "", help};
}

constexpr std::string_view kDirectoryHelp = "the --disk-cache-dir of the daemon";
constexpr OptionSpec kJson = Flag("json", "print one JSON document");
constexpr OptionSpec kOnlyJson[] = {kJson};
constexpr OptionSpec kInspect[] = {
    Value("live", "ADDR", "ask the daemon whose --admin-listen this is, and take no DIR"),
    {"watch", "SECONDS", K::kInteger, {}, "2", "", "with --live: ask again every so many seconds", 1, 86400},
    Value("key-file", "FILE", "with --live: a file with an API key, where the daemon has --api-keys"),
    kJson,
};
constexpr OptionSpec kPurge[] = {
    Value("model", "FINGERPRINT", "records of this model: the first digits of its fingerprint"),
    Value("tenant", "NAME",
          "records of this tenant, or without API keys of this cache_salt; '' is those without"),
    Value("tenant-key", "FILE",
          "a file with a key of the tenant, or its entry; --tenant then is a cache_salt"),
    Value("older-than", "TIME", "records written so long ago: 90s, 15m, 12h, 7d, 2w", K::kDuration),
    Flag("all", "everything, also what is damaged or of another version"),
    Flag("yes", "do not ask"),
    Flag("dry-run", "only say what would go; works beside a daemon"),
    kJson,
};
constexpr OptionSpec kVerify[] = {
    Flag("delete", "remove what is damaged; no daemon may use the directory"),
    kJson,
};

constexpr OptionSpec kConvert[] = {
    {"type",
     "TYPE",
     K::kChoice,
     {},
     "",
     "",
     "type of the matrices; without it that of the model, or bf16. A folder has f32 or bf16",
     0,
     0,
     "f32|f16|bf16|q8_0|q4_0"},
    Flag("overwrite", "replace TO, if it is a file or a folder of that kind"),
    kJson,
};

constexpr OptionSpec kKeys[] = {
    Flag("new", "draw a new key, and print it to standard error"),
    Value("tenant", "NAME", "tenant of the key; without it the key is one of its own"),
    {"rights",
     "LIST",
     K::kText,
     {},
     "",
     "",
     "generate (the API; default), admin (the admin listener), or generate,admin"},
    Value("requests-per-minute", "N", "requests that the tenant may send; without it there is no limit"),
    Value("tokens-per-minute", "N", "tokens of prompts and answers that it may take"),
    Value("weight", "N", "its part of steps and caches beside other tenants; without it 1"),
    Value("guaranteed-device-cache", "SIZE", "bytes of the device cache that no other tenant evicts"),
    Value("guaranteed-host-cache", "SIZE", "the same of the host cache"),
    Value("guaranteed-disk-cache", "SIZE", "the same of the disk cache, in bytes of its records"),
    Value("max-device-cache", "SIZE", "bytes of the device cache that it has at most"),
    Value("max-host-cache", "SIZE", "the same of the host cache"),
    Value("max-disk-cache", "SIZE", "the same of the disk cache, in bytes of its records"),
};

constexpr CommandSpec kCommands[] = {
    {"serve", Command::kServe, "", "", "load a model and answer HTTP until SIGTERM", true, {}, ""},
    {"validate", Command::kValidate, "", "",
     "check the configuration and the model, and print the limits that serve would use", true, kOnlyJson, ""},
    {"inspect", Command::kInspect, "DIR", kDirectoryHelp,
     "say what is in a disk cache: models, tenants, prefixes; or, with --live, what a daemon does", false,
     kInspect,
     "It works beside a daemon. The first token ids of prefixes are parts of prompts.\n"
     "With --live ADDR, words may follow that say what to ask:\n"
     "status: its state, tiers, rates and prefixes (without a word); ready: exit code 0 or 1;\n"
     "requests: those that ended last; request ID: why that one missed the cache."},
    {"purge", Command::kPurge, "DIR", kDirectoryHelp, "remove records from a disk cache that no daemon uses",
     false, kPurge,
     "Records that match all the given filters go, and no file of the cache has them any more.\n"
     "A daemon that runs has the directory locked: stop it first. --dry-run works beside it."},
    {"verify", Command::kVerify, "DIR", kDirectoryHelp, "read every record of a disk cache and check it",
     false, kVerify, "Exit codes: 0 no damage, 1 damaged records or not readable, 2 wrong usage."},
    {"convert", Command::kConvert, "FROM TO",
     "a Hugging Face folder, or a GGUF file|the GGUF file that is made, or the folder",
     "write a GGUF file of a Hugging Face folder, or such a folder of a GGUF file", false, kConvert,
     "What it writes is there whole or not at all.\n"
     "Exit codes: 0 ok, 1 failed or stopped, 2 wrong usage or TO exists, 3 the model cannot be converted."},
    {"keys", Command::kKeys, "hash", "what to do: hash", "make an entry of the file --api-keys from a key",
     false, kKeys,
     "The first line of standard input is the key. The entry has its hash, so the file has no secret.\n"
     "prefixd keys hash --new --tenant alice >> keys.txt prints the new key to the terminal."},
    {"version", Command::kVersion, "", "", "print the version and the backends", false, kOnlyJson, ""},
    {"help", Command::kPrint, "COMMAND", "one of those above", "print the flags of a command", false, {}, ""},
    {"help-markdown", Command::kPrint, "", "", "", false, {}, ""},
    {"help-toml", Command::kPrint, "", "", "", false, {}, ""},
    {"help-man", Command::kPrint, "", "", "", false, {}, ""},
    {"help-completion", Command::kPrint, "SHELL", "bash, zsh or fish", "", false, {}, ""},
};

}  // namespace

std::span<const CommandSpec> CommandTable() { return kCommands; }

const CommandSpec* FindCommand(std::string_view name) {
  const auto* found = std::ranges::find(kCommands, name, &CommandSpec::name);
  return found == std::end(kCommands) ? nullptr : found;
}

std::vector<std::string> WordsOf(std::string_view list, char separator) {
  std::vector<std::string> words;
  while (!list.empty()) {
    const size_t end = std::min(list.find(separator), list.size());
    words.emplace_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return words;
}

std::vector<const OptionSpec*> FlagsOf(const CommandSpec& command) {
  std::vector<const OptionSpec*> flags;
  if (command.options) {
    for (const OptionSpec& spec : OptionTable()) flags.push_back(&spec);
  }
  for (const OptionSpec& spec : command.flags) flags.push_back(&spec);
  return flags;
}

}  // namespace prefixd
