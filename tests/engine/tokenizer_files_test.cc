#include "engine/tokenizer_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "tests/support/shared_data.h"
#include "tests/support/temp_dir.h"
#include "text/chat_template.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing_support::SharedDir;
using testing_support::TempDir;
using Ids = std::vector<TokenId>;

// A folder that begins as the tokenizer files of a golden checkpoint.
class TokenizerFilesTest : public ::testing::Test {
 protected:
  void Start(const std::string& golden) {
    fs::remove_all(folder_);
    fs::create_directory(folder_);
    for (const char* name : {"config.json", "tokenizer.json", "tokenizer_config.json",
                             "generation_config.json", "chat_template.jinja"}) {
      const fs::path from = SharedDir() / "golden" / golden / name;
      if (fs::exists(from)) Write(name, testing_support::ReadFileOrDie(from));
    }
  }
  void Write(const std::string& name, const std::string& text) {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary | std::ios::trunc) << text;
  }
  // Writes one of the files of shared/cases.
  void Take(const std::string& from, const std::string& name) {
    Write(name, testing_support::ReadFileOrDie(SharedDir() / "cases" / from));
  }
  void Replace(const std::string& name, const std::string& from, const std::string& to) {
    std::string text = testing_support::ReadFileOrDie(folder_ / name);
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    Write(name, text.replace(at, from.size(), to));
  }
  Result<TokenizerFiles> Read() { return ReadTokenizerFiles(folder_, ""); }
  Ids Encode(std::string_view text) {
    const auto files = Read();
    EXPECT_TRUE(files.ok()) << files.status().message();
    return files.ok() ? *files->tokenizer->Encode(text, {.add_special_tokens = false}) : Ids{};
  }
  std::string Refusal() { return Read().status().message(); }
  std::string Template() {
    const auto files = Read();
    EXPECT_TRUE(files.ok()) << files.status().message();
    return files.ok() ? files->chat_template.text + "|" + files->chat_template.tool_use : "";
  }

  TempDir dir_;
  fs::path folder_ = dir_.path() / "model";
};

TEST_F(TokenizerFilesTest, GoldenFoldersDoNotContradictThemselves) {
  PREFIXD_NEED_SHARED("golden");
  for (const char* golden : {"llama-gqa", "llama-mqa-linear", "llama3-rope", "mistral", "qwen3"}) {
    Start(golden);
    const auto files = Read();
    ASSERT_TRUE(files.ok()) << files.status().message();
    EXPECT_THAT(files->contradictions, IsEmpty()) << golden;
  }
}

// The next three tests have the files and the expected values of shared/cases; further instances follow each.
TEST_F(TokenizerFilesTest, NamesOfSpecialTokensMap) {
  PREFIXD_NEED_SHARED("cases/special-tokens-map");
  Start("llama-gqa");
  Take("special-tokens-map/special_tokens_map.json", "special_tokens_map.json");
  Take("special-tokens-map/tokenizer_config.json", "tokenizer_config.json");
  const auto files = Read();
  ASSERT_TRUE(files.ok()) << files.status().message();
  EXPECT_EQ(TextOf(files->named, "bos_token"), "<|begin_of_text|>");
  EXPECT_EQ(TextOf(files->named, "eos_token"), "<|eot_id|>");
  ChatTemplate::Options options;
  options.bos_token = TextOf(files->named, "bos_token");
  options.eos_token = TextOf(files->named, "eos_token");
  const auto chat = ChatTemplate::Parse(files->chat_template.text, options);
  ChatTemplate::Input input;
  input.messages.push_back(boost::json::object{{"role", "user"}, {"content", "hi"}});
  EXPECT_EQ(*(*chat)->Render(input), "<|begin_of_text|>|hi<|eot_id|>");
}

TEST_F(TokenizerFilesTest, TokensOfAddedTokensDecoderAlone) {
  PREFIXD_NEED_SHARED("cases/added-tokens");
  Start("qwen2");
  Take("added-tokens/tokenizer.json", "tokenizer.json");
  EXPECT_EQ(Encode("x</tool_call>y"), (Ids{87, 644, 88}));
  EXPECT_THAT(Read()->contradictions, Contains(HasSubstr("adds it with the id 644")));
  Write("tokenizer_config.json", R"({"tokenizer_class": "PreTrainedTokenizerFast"})");
  EXPECT_EQ(Encode("x</tool_call>y").size(), 11u) << "no file has it";
  Write("added_tokens.json", R"({"</tool_call>": 644})");
  EXPECT_EQ(Encode("x</tool_call>y"), (Ids{87, 644, 88})) << "added_tokens.json has it";
  fs::remove(folder_ / "added_tokens.json");
  Write("special_tokens_map.json", R"({"additional_special_tokens": ["</tool_call>"]})");
  EXPECT_EQ(Encode("x</tool_call>y"), (Ids{87, 644, 88})) << "special_tokens_map.json has it";
  fs::remove(folder_ / "special_tokens_map.json");
  Write("tokenizer_config.json", R"({"eos_token": "</tool_call>"})");
  EXPECT_EQ(Encode("x</tool_call>y"), (Ids{87, 644, 88})) << "it is a name";
}

TEST_F(TokenizerFilesTest, FlagsOfAddedTokensDecoderAlone) {
  PREFIXD_NEED_SHARED("cases/added-tokens");
  Start("qwen2");
  Take("added-tokens/tokenizer_config.flags.json", "tokenizer_config.json");
  EXPECT_EQ(Encode("a  <tool_call>  b"), (Ids{64, 643, 65}));
  Replace("tokenizer_config.json", R"("lstrip": true)", R"("lstrip": false)");
  EXPECT_EQ(Encode("a  <tool_call>  b"), (Ids{64, 256, 643, 65}));
  Replace("tokenizer_config.json", R"("rstrip": true)", R"("rstrip": false)");
  EXPECT_EQ(Encode("a  <tool_call>  b"), (Ids{64, 256, 643, 220, 261}));
  EXPECT_TRUE(Read()->tokenizer->IsSpecial(643)) << "special stands there only, too";
  Write("tokenizer_config.json",
        R"({"added_tokens_decoder": {"643": {"content": "<tool_call>", "single_word": true}}})");
  EXPECT_EQ(Encode("-<tool_call>-").size(), 3u);
  EXPECT_GT(Encode("a<tool_call>b").size(), 3u) << "single_word";
}

TEST_F(TokenizerFilesTest, ChatTemplatesByPrecedence) {
  PREFIXD_NEED_SHARED("golden");
  Start("llama-gqa");
  Write("tokenizer_config.json", "{}");
  EXPECT_EQ(Template(), "|");
  Write("chat_template.json", R"({"chat_template": "zero"})");
  EXPECT_EQ(Template(), "|");
  EXPECT_THAT(Read()->contradictions, ElementsAre(HasSubstr("chat_template.json is not read")));
  fs::remove(folder_ / "chat_template.json");
  Write("tokenizer_config.json", R"({"chat_template": "one"})");
  EXPECT_EQ(Template(), "one|");
  Write("tokenizer_config.json", R"({"chat_template": {"default": "two", "tool_use": "tools"}})");
  EXPECT_EQ(Template(), "two|tools");
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "three"}]})");
  EXPECT_EQ(Template(), "three|");
  EXPECT_THAT(Read()->contradictions, IsEmpty());
  Write("chat_template.jinja", "four");
  EXPECT_EQ(Template(), "four|");
  EXPECT_THAT(Read()->contradictions, ElementsAre(HasSubstr("but chat_template.jinja counts")));
  Write("additional_chat_templates/tool_use.jinja", "four tools");
  EXPECT_EQ(Template(), "four|four tools");
  Write("additional_chat_templates/default.jinja", "five");
  EXPECT_EQ(Template(), "five|four tools");
  fs::remove(folder_ / "chat_template.jinja");
  fs::remove(folder_ / "additional_chat_templates/default.jinja");
  EXPECT_THAT(Refusal(), HasSubstr("add chat_template.jinja"));
  EXPECT_EQ(ReadTokenizerFiles(folder_, "given")->chat_template.text, "given");
}

TEST_F(TokenizerFilesTest, IdsOfOtherFilesThatContradictNames) {
  PREFIXD_NEED_SHARED("golden");
  Start("llama-gqa");
  Write("generation_config.json", R"({"bos_token_id": 3, "eos_token_id": [644, 3]})");
  EXPECT_THAT(
      Read()->contradictions,
      ElementsAre("bos_token_id is 3 in generation_config.json, but bos_token \"<|begin_of_text|>\" of "
                  "tokenizer_config.json has the id 640, which counts",
                  "eos_token_id is [644,3] in generation_config.json, but eos_token \"<|end_of_text|>\" of "
                  "tokenizer_config.json has the id 641; each of them ends an answer"));
  Write("generation_config.json", R"({"bos_token_id": 640, "eos_token_id": [644, 641]})");
  EXPECT_THAT(Read()->contradictions, IsEmpty());
  Replace("tokenizer_config.json", "{", R"({"add_bos_token": false,)");
  EXPECT_THAT(Read()->contradictions, ElementsAre(HasSubstr("add_bos_token is false")));
}

TEST_F(TokenizerFilesTest, APointerOfGitLfsIsNamed) {
  PREFIXD_NEED_SHARED("golden");
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                           "added_tokens.json", "chat_template.jinja"}) {
    Start("qwen3");
    Write(name, "version https://git-lfs.github.com/spec/v1\noid sha256:" + std::string(64, 'a') +
                    "\nsize 7031645\n");
    EXPECT_THAT(Refusal(), HasSubstr(std::string(name) + " is a git-lfs pointer"));
    EXPECT_THAT(Refusal(), HasSubstr("git lfs pull --include " + std::string(name)));
  }
}

TEST_F(TokenizerFilesTest, OfAKeyGivenTwiceTheLastCounts) {
  PREFIXD_NEED_SHARED("golden");
  Start("llama-gqa");
  Write("tokenizer_config.json", R"({"eos_token": "<|eot_id|>", "eos_token": "<|end_of_text|>"})");
  EXPECT_EQ(TextOf(Read()->named, "eos_token"), "<|end_of_text|>");
  EXPECT_THAT(Read()->contradictions, Contains(HasSubstr("the last one counts")));
  Write("special_tokens_map.json", R"({"bos_token": "<|eot_id|>", "bos_token": "<|begin_of_text|>"})");
  EXPECT_EQ(TextOf(Read()->named, "bos_token"), "<|begin_of_text|>");
}

TEST_F(TokenizerFilesTest, FilesThatAreCutAreNamed) {
  PREFIXD_NEED_SHARED("golden");
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    Start("llama-gqa");
    const std::string text = testing_support::ReadFileOrDie(folder_ / name);
    Write(name, text.substr(0, text.size() - 100));
    EXPECT_THAT(Refusal(), HasSubstr(name));
    Write(name, text + ",");
    EXPECT_THAT(Refusal(), HasSubstr(name));
    Write(name, "");
    EXPECT_THAT(Refusal(), HasSubstr(name));
  }
}

}  // namespace
}  // namespace prefixd
