#include "daemon/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "cache/eviction.h"
#include "daemon/cli.h"
#include "daemon/limit_table.h"
#include "tests/support/shared_data.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

Result<Invocation> Parse(std::vector<const char*> words, std::vector<const char*> environment = {}) {
  words.insert(words.begin(), "prefixd");
  environment.push_back(nullptr);
  return ParseCommandLine(static_cast<int>(words.size()), words.data(), environment.data());
}

std::string Fault(std::vector<const char*> words, std::vector<const char*> environment = {}) {
  const Result<Invocation> result = Parse(std::move(words), std::move(environment));
  return result.ok() ? "no fault" : result.status().message();
}

std::string WriteConfig(const testing_support::TempDir& dir, const std::string& text) {
  const std::string path = dir.path() / "prefixd.toml";
  std::ofstream(path) << text;
  return path;
}

TEST(OptionTable, NamesAreUniqueAndEveryDefaultIsInRange) {
  std::set<std::string_view> names;
  for (const OptionSpec& spec : OptionTable()) {
    EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
    EXPECT_THAT(std::string(spec.help), Not(IsEmpty())) << spec.name;
  }
  EXPECT_TRUE(BuildOptions({}).ok());
}

TEST(LimitTable, NamesAreUniqueAndLimitsAreExplained) {
  std::set<std::string_view> names;
  for (const LimitSpec& limit : kLimitTable) {
    EXPECT_TRUE(names.insert(limit.name).second) << limit.name;
    EXPECT_EQ(FindOption(limit.name), nullptr) << limit.name;
    EXPECT_GT(limit.value, 0) << limit.name;
    EXPECT_FALSE(limit.unit.empty() || limit.reason.empty()) << limit.name;
  }
  static_assert(Limit("best-of") == 20 && Limit<size_t>("header-bytes") == 32768);
  EXPECT_EQ(Parse({"help-markdown"})->text, OptionsAsMarkdown() + "\n" + LimitsAsMarkdown());
}

TEST(CommandLine, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  const testing_support::TempDir dir;
  const std::string file =
      WriteConfig(dir, "model = \"from-file\"\nthreads = 3\nmax-queue = 7\nstep-tokens = 9 # why\n");
  const auto parsed = Parse({"serve", "--config", file.c_str(), "--threads", "1"},
                            {"PREFIXD_THREADS=2", "PREFIXD_MAX_QUEUE=6"});
  ASSERT_TRUE(parsed.ok()) << parsed.status().ToString();
  EXPECT_EQ(parsed->options.threads, 1);
  EXPECT_EQ(parsed->options.max_queue, 6);
  EXPECT_EQ(parsed->options.step_tokens, 9);
  EXPECT_EQ(parsed->options.model, "from-file");
  EXPECT_EQ(parsed->options.max_sequences, 64);
  EXPECT_EQ(parsed->command, Command::kServe);
}

TEST(CommandLine, EveryOptionIsTakenFromAllThreeOrigins) {
  for (const OptionSpec& spec : OptionTable()) {
    if (spec.name == "config") continue;
    const std::string value = spec.kind == OptionKind::kFlag
                                  ? "true"
                                  : std::string(spec.default_text.empty() ? "x" : spec.default_text);
    const testing_support::TempDir dir;
    const std::string file = WriteConfig(dir, std::string(spec.name) + " = \"" + value + "\"\n");
    const std::string flag = "--" + std::string(spec.name) + "=" + value;
    const std::string variable = VariableName(spec.name) + "=" + value;
    std::vector<const char*> model = {"serve"};
    if (spec.name != "model") model = {"serve", "--model", "m"};
    auto with_flag = model, with_file = model;
    with_flag.push_back(flag.c_str());
    with_file.insert(with_file.end(), {"--config", file.c_str()});
    EXPECT_EQ(Fault(with_flag), "no fault") << flag;
    EXPECT_EQ(Fault(with_file), "no fault") << spec.name;
    EXPECT_EQ(Fault(model, {variable.c_str()}), "no fault") << variable;
  }
}

TEST(CommandLine, ReportsAllFaultsWithTheirOrigin) {
  const std::string fault =
      Fault({"serve", "--model", "m", "--threads", "many", "--block-tokens", "24"},
            {"PREFIXD_MAX_QUEUE=-5", "PREFIXD_KV_DTYPE=fp4", "PREFIXD_TOOL_FORMAT=hermez"});
  EXPECT_THAT(fault, HasSubstr("--threads: 'many' is not a whole number; it takes 1 to 8192, or auto"));
  EXPECT_THAT(fault, HasSubstr("PREFIXD_MAX_QUEUE: '-5' is out of range"));
  EXPECT_THAT(fault, HasSubstr("PREFIXD_KV_DTYPE: 'fp4' is unknown; it takes one of: auto f32 "));
  EXPECT_THAT(fault, HasSubstr("--block-tokens: 24 is not a power of two"));
  EXPECT_THAT(fault, HasSubstr("PREFIXD_TOOL_FORMAT: 'hermez' is unknown; it takes one of: auto harmony "));
}

TEST(CommandLine, SecondsMayHaveDecimals) {
  const auto milliseconds = [](const char* text) {
    return Parse({"serve", "--model", "m", "--step-seconds", text})->options.step_milliseconds;
  };
  EXPECT_EQ(milliseconds("0.25"), 250);
  EXPECT_EQ(milliseconds("30"), 30'000);
  EXPECT_EQ(milliseconds("0.0104"), 10);
  for (const char* text : {"", "half", "1s", "1e3", "0x10", "nan", "inf", "1.5.2", " 1", "1e999"}) {
    EXPECT_THAT(Fault({"serve", "--model", "m", "--step-seconds", text}),
                HasSubstr("is not a number of seconds; it takes 0.01 to 3600"))
        << text;
  }
  for (const char* text : {"0", "-1", "0.009", "3600.1", "99999999999"}) {
    EXPECT_THAT(Fault({"serve", "--model", "m", "--step-seconds", text}), HasSubstr("is out of range"))
        << text;
  }
}

TEST(CommandLine, AnAgeHasAUnitOrIsNone) {
  const auto age = [](const char* text) {
    return Parse({"serve", "--model", "m", "--disk-max-age", text})->options.disk_max_age;
  };
  EXPECT_EQ(Parse({"serve", "--model", "m"})->options.disk_max_age, 0);
  EXPECT_EQ(age("none"), 0);
  EXPECT_EQ(age("90s"), 90);
  EXPECT_EQ(age("2w"), 14 * 86'400);
  for (const char* text : {"", "7", "0h", "-1h", "1y", "1.5h", "auto", "99999999999999999999s"}) {
    EXPECT_THAT(Fault({"serve", "--model", "m", ("--disk-max-age=" + std::string(text)).c_str()}),
                HasSubstr("disk-max-age"))
        << text;
  }
}

TEST(CommandLine, SizesOfTheTiersHaveTheirRange) {
  const auto parsed = Parse({"serve", "--model", "m", "--host-cache", "3GiB", "--disk-cache", "auto"});
  ASSERT_TRUE(parsed.ok()) << parsed.status().ToString();
  EXPECT_EQ(parsed->options.host_cache, int64_t{3} << 30);
  EXPECT_EQ(parsed->options.disk_cache, kAuto);
  EXPECT_THAT(Fault({"serve", "--model", "m", "--host-cache", "auto"}), HasSubstr("host-cache"));
  EXPECT_THAT(Fault({"serve", "--model", "m", "--disk-cache", "8388607"}), HasSubstr("out of range"));
  EXPECT_EQ(Fault({"serve", "--model", "m", "--disk-cache", "8388608"}), "no fault");
}

TEST(CommandLine, UnknownNamesAreRejectedWithTheNearestName) {
  EXPECT_THAT(Fault({"serve", "--modell", "m"}),
              HasSubstr("--modell is not an option of prefixd; did you mean --model?"));
  EXPECT_THAT(Fault({"sevre"}), HasSubstr("did you mean serve?"));
  EXPECT_THAT(Fault({"serve", "stray", "--model", "m"}), HasSubstr("'stray' is not an option"));
  EXPECT_THAT(Fault({"serve", "--model", "m", "--threads", "1", "--threads", "2"}),
              HasSubstr("--threads is given twice"));
  EXPECT_THAT(Fault({"serve"}), HasSubstr("--model (or PREFIXD_MODEL"));
}

TEST(CommandLine, ConvertIsParsed) {
  const auto plain = Parse({"convert", "model", "model.gguf"});
  ASSERT_TRUE(plain.ok()) << plain.status().message();
  EXPECT_EQ(plain->command, Command::kConvert);
  EXPECT_EQ(plain->convert.from, "model");
  EXPECT_EQ(plain->convert.to, "model.gguf");
  EXPECT_TRUE(plain->convert.type.empty() && !plain->convert.overwrite && !plain->convert.json);
  const auto all = Parse({"convert", "--type", "q8_0", "a", "b", "--overwrite", "--json"});
  ASSERT_TRUE(all.ok()) << all.status().message();
  EXPECT_EQ(all->convert.type, "q8_0");
  EXPECT_TRUE(all->convert.overwrite && all->convert.json);
  EXPECT_EQ(Fault({"convert"}),
            "FROM is required: prefixd convert FROM TO\nTO is required: prefixd convert FROM TO");
  EXPECT_EQ(Fault({"convert", "a"}), "TO is required: prefixd convert FROM TO");
  EXPECT_THAT(Fault({"convertt", "a", "b"}), HasSubstr("did you mean convert?"));
}

TEST(CommandLine, DiskCommandsAreParsed) {
  const auto inspect = Parse({"inspect", "dir", "--json"});
  ASSERT_TRUE(inspect.ok());
  EXPECT_EQ(inspect->command, Command::kInspect);
  EXPECT_EQ(inspect->disk.directory, "dir");
  EXPECT_TRUE(inspect->disk.json);
  const auto purge = Parse({"purge", "--model", "12ab", "--tenant", "", "--older-than", "7d", "dir"});
  ASSERT_TRUE(purge.ok()) << purge.status().message();
  EXPECT_EQ(purge->command, Command::kPurge);
  EXPECT_EQ(purge->disk.model, "12ab");
  EXPECT_EQ(purge->disk.tenant, "");
  EXPECT_EQ(purge->disk.older_than, 7 * 86'400);
  EXPECT_FALSE(purge->disk.all || purge->disk.yes || purge->disk.dry_run);
  const auto all = Parse({"purge", "dir", "--all", "--yes"});
  ASSERT_TRUE(all.ok());
  EXPECT_TRUE(all->disk.all && all->disk.yes);
  EXPECT_FALSE(all->disk.tenant || all->disk.older_than);
  const auto verify = Parse({"verify", "dir", "--delete"});
  ASSERT_TRUE(verify.ok());
  EXPECT_EQ(verify->command, Command::kVerify);
  EXPECT_TRUE(verify->disk.remove_damaged);

  EXPECT_THAT(Fault({"inspect"}), HasSubstr("DIR is required"));
  EXPECT_THAT(Fault({"purge", "dir"}), HasSubstr("say what to purge"));
  EXPECT_THAT(Fault({"purge", "dir", "--all", "--tenant", "x"}), HasSubstr("--all removes everything"));
  EXPECT_THAT(Fault({"purge", "dir", "--older-than", "7"}), HasSubstr("--older-than: '7' is not a span"));
  EXPECT_THAT(Fault({"purge", "dir", "--model="}), HasSubstr("--model"));
  EXPECT_THAT(Fault({"verify", "dir", "--all"}), HasSubstr("--all"));
  EXPECT_THAT(Fault({"inspect", "dir", "other"}), HasSubstr("other"));
}

TEST(CommandLine, FaultsOfTheFileAreReported) {
  const testing_support::TempDir dir;
  const auto with = [&](const std::string& text) {
    const std::string file = WriteConfig(dir, text);
    return Fault({"serve", "--model", "m", "--config", file.c_str()});
  };
  EXPECT_THAT(with("max-que = 3\n"), HasSubstr("did you mean max-queue?"));
  EXPECT_THAT(with("[serve]\nmax-queue = 3\n"), HasSubstr("not in tables"));
  EXPECT_THAT(with("max-queue = 3\nthreads = 1\nmax-queue = 4\n"), HasSubstr("given twice"));
  EXPECT_THAT(with("max-queue = [1, 2, 3]\n"), HasSubstr("takes one value"));
  EXPECT_THAT(with("model = [\"a\", \"b\"]\n"), HasSubstr("model takes one value"));
  EXPECT_THAT(with("chat-template = \"a#b\"\n"), HasSubstr("without '#'"));
  EXPECT_EQ(with("device-cache = \"4 GiB\"\nno-prefix-cache = true\n# rest\n"), "no fault");
  EXPECT_THAT(with("config = \"other.toml\"\n"), HasSubstr("cannot name another file"));
  EXPECT_THAT(Fault({"serve", "--model", "m", "--config", "/nowhere.toml"}),
              HasSubstr("cannot read '/nowhere.toml'"));
  EXPECT_THAT(Fault({"serve", "--model", "m", "--config", "/"}), HasSubstr("'/' is a folder"));
}

TEST(CommandLine, FaultsOfTheFileHaveTheirLines) {
  const testing_support::TempDir dir;
  const std::string file = WriteConfig(dir,
                                       "# comment\n\nthreads = many\nmax-que = 3\nmax-queue = 3\n"
                                       "max-queue = 4\nmodel = [1, 2, 3]\n?\n[serve]\nlisten = 3\n");
  const std::string fault = Fault({"serve", "--config", file.c_str(), "--thraeds", "1"});
  EXPECT_EQ(fault, "--thraeds is not an option of prefixd; did you mean --threads?\n" + file +
                       ":6: max-queue is given twice, first in line 5\n" + file +
                       ":7: model takes one value: a number, true, false, or quoted text without '#'\n" +
                       file + ":8: '?' is not some-name = value\n" + file +
                       ":9: options are at the top of the file as some-name = value, not in tables\n" + file +
                       ":3: threads: 'many' is not a whole number; it takes 1 to 8192, or auto\n" + file +
                       ":4: max-que is not an option of prefixd; did you mean max-queue?\n"
                       "--model (or PREFIXD_MODEL, or model in the config file) is required");
}

TEST(CommandLine, AValueIsTheNextWordWhateverItIs) {
  const auto parsed = Parse({"serve", "--model", "serve", "--max-logprobs", "-1", "--served-model-name=-x",
                             "--chat-template=", "--listen", "unix:a=b", "--disk-write-through"});
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->options.model, "serve");
  EXPECT_EQ(parsed->options.max_logprobs, -1);
  EXPECT_EQ(parsed->options.served_model_name, "-x");
  EXPECT_EQ(parsed->options.chat_template, "");
  EXPECT_EQ(parsed->options.listen, "unix:a=b");
  EXPECT_TRUE(parsed->options.disk_write_through);
  const auto purge = Parse({"purge", "--tenant=", "dir"});
  ASSERT_TRUE(purge.ok()) << purge.status().message();
  EXPECT_EQ(purge->disk.directory, "dir");
  EXPECT_EQ(purge->disk.tenant, "");
}

TEST(OptionTable, EvictionHasThePoliciesOfTheCache) {
  const OptionSpec& eviction = *std::ranges::find(OptionTable(), "eviction", &OptionSpec::name);
  std::string names;
  for (const std::string_view name : EvictionPolicyNames()) {
    names += (names.empty() ? "" : "|") + std::string(name);
  }
  EXPECT_EQ(eviction.choices, names);
  EXPECT_EQ(eviction.default_text, EvictionPolicyNames()[0]);
}

TEST(Environment, SkipsVariablesOfKubernetesAndWarnsOfUnknownOnes) {
  const char* environment[] = {"PREFIXD_PORT=tcp://10.0.0.1:80",
                               "PREFIXD_PORT_8080_TCP=tcp://10.0.0.1:8080",
                               "PREFIXD_SERVICE_HOST=10.0.0.1",
                               "PREFIXD_STRANGE=1",
                               "PREFIXD_MAX_QUEU=1",
                               "PREFIXD_LOG=debug",
                               "PREFIXD_LOG_LEVEL=error",
                               "HOME=/root",
                               "PREFIXD_CONTEXT=",
                               nullptr};
  std::vector<std::string> warnings;
  const std::vector<Setting> settings = SettingsFromEnvironment(environment, &warnings);
  ASSERT_THAT(settings, SizeIs(2));
  EXPECT_EQ(settings[0].value, "debug");
  EXPECT_EQ(settings[1].value, "error");  // later in the layer, so it overrides the first
  ASSERT_THAT(warnings, SizeIs(2));
  EXPECT_EQ(warnings[0], "PREFIXD_STRANGE is set, but no option of prefixd has that name");
  EXPECT_EQ(warnings[1],
            "PREFIXD_MAX_QUEU is set, but no option of prefixd has that name; did you mean "
            "PREFIXD_MAX_QUEUE?");
}

TEST(Help, NamesEveryOptionAndCommand) {
  const auto help = Parse({"serve", "--help"});
  ASSERT_TRUE(help.ok());
  for (const OptionSpec& spec : OptionTable()) {
    EXPECT_THAT(help->text, HasSubstr("--" + std::string(spec.name)));
    EXPECT_THAT(help->text, HasSubstr(VariableName(spec.name)));
  }
  EXPECT_EQ(Parse({"help", "serve"})->text, help->text);
  EXPECT_THAT(Fault({}), HasSubstr("validate"));
}

TEST(Documents, MatchTheTables) {
  const std::filesystem::path source = testing_support::SourceDir();
  const auto page = testing_support::ReadFileOrDie(source / "docs/OPERATIONS.md");
  EXPECT_THAT(page, HasSubstr(OptionsAsMarkdown()))
      << "paste the list of options that `prefixd help-markdown` prints";
  EXPECT_THAT(page, HasSubstr(LimitsAsMarkdown()))
      << "paste the table of limits that `prefixd help-markdown` prints";
  EXPECT_EQ(testing_support::ReadFileOrDie(source / "deploy/prefixd.toml"), OptionsAsToml())
      << "write it anew with `prefixd help-toml`";
}

TEST(Documents, TheSampleFileSetsTheDefaults) {
  std::string text = OptionsAsToml();
  for (size_t at = 0; (at = text.find("\n#", at)) != std::string::npos; ++at) {
    if (text[at + 2] != ' ') text.erase(at + 1, 1);
  }
  const testing_support::TempDir dir;
  std::vector<std::string> faults;
  const std::vector<Setting> settings = SettingsFromFile(WriteConfig(dir, text), &faults);
  EXPECT_THAT(faults, IsEmpty());
  EXPECT_EQ(settings.size() + 1, OptionTable().size());  // all but config
  for (const Setting& setting : settings)
    EXPECT_EQ(setting.value, FindOption(setting.name)->default_text) << setting.name;
}

}  // namespace
}  // namespace prefixd
