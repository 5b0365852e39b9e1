// For the golden tokenizers and checkpoints, ids and texts must equal those of the tokenizers library.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "tests/support/shared_data.h"
#include "text/tokenizer/detokenizer.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using testing_support::ReadFileOrDie;
using testing_support::SharedDir;

std::vector<TokenId> Ids(const json::value& value) { return json::value_to<std::vector<TokenId>>(value); }
std::string Text(const json::value& value) { return std::string(value.as_string()); }

std::unique_ptr<Tokenizer> Load(const std::filesystem::path& folder) {
  auto tokenizer = Tokenizer::FromJson(ReadFileOrDie(folder / "tokenizer.json"));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  return tokenizer.ok() ? std::move(tokenizer).value() : nullptr;
}

std::string Streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& prompt,
                     const std::vector<TokenId>& ids, bool skip_special) {
  Detokenizer detokenizer(tokenizer, skip_special, prompt);
  std::string text;
  for (const TokenId id : ids) text += detokenizer.Push(id);
  return text + detokenizer.Flush();
}

class GoldenTokenizer : public testing::TestWithParam<std::string> {};

TEST_P(GoldenTokenizer, EqualsReference) {
  const std::string folder = "golden/tokenizers/" + GetParam();
  PREFIXD_NEED_SHARED(folder);
  const auto tokenizer = Load(SharedDir() / folder);
  ASSERT_NE(tokenizer, nullptr);
  const json::value golden = json::parse(ReadFileOrDie(SharedDir() / folder / "tokenizer_cases.json"));
  ASSERT_FALSE(golden.at("cases").as_array().empty());
  for (const json::value& one : golden.at("cases").as_array()) {
    const std::string text = Text(one.at("text"));
    SCOPED_TRACE(text);
    const auto plain = Ids(one.at("ids"));
    EXPECT_EQ(*tokenizer->Encode(text, {.add_special_tokens = false}), plain);
    if (tokenizer->max_bytes_per_token() > 0) {
      EXPECT_LE(text.size(), plain.size() * tokenizer->max_bytes_per_token());
    }
    const auto ids = Ids(one.at("ids_with_special"));
    EXPECT_EQ(*tokenizer->Encode(text, {.add_special_tokens = true}), ids);
    EXPECT_EQ(tokenizer->Decode(ids, true), Text(one.at("decoded")));
    EXPECT_EQ(tokenizer->Decode(ids, false), Text(one.at("decoded_with_special")));
  }
  ASSERT_FALSE(golden.at("decodes").as_array().empty());
  for (const json::value& one : golden.at("decodes").as_array()) {
    const auto ids = Ids(one.at("ids"));
    EXPECT_EQ(tokenizer->Decode(ids, true), Text(one.at("text")));
    EXPECT_EQ(tokenizer->Decode(ids, false), Text(one.at("text_with_special")));
    EXPECT_EQ(Streamed(*tokenizer, {}, ids, true), Text(one.at("text")));
    EXPECT_EQ(Streamed(*tokenizer, {}, ids, false), Text(one.at("text_with_special")));
  }
}
INSTANTIATE_TEST_SUITE_P(All, GoldenTokenizer, testing::Values("llama3", "qwen2", "spm"),
                         [](const auto& info) { return info.param; });

class GoldenCheckpoint : public testing::TestWithParam<std::string> {};

TEST_P(GoldenCheckpoint, TextsEqualReference) {
  const std::string folder = "golden/" + GetParam();
  PREFIXD_NEED_SHARED(folder);
  const auto tokenizer = Load(SharedDir() / folder);
  ASSERT_NE(tokenizer, nullptr);
  const json::value expected = json::parse(ReadFileOrDie(SharedDir() / folder / "expected.json"));
  EXPECT_EQ(*tokenizer->Encode(Text(expected.at("text").at("prompt")), {}),
            Ids(expected.at("text").at("ids")));
  EXPECT_EQ(*tokenizer->Encode(Text(expected.at("chat").at("rendered")), {.add_special_tokens = false}),
            Ids(expected.at("chat").at("ids")));
  for (const char* run : {"text", "chat"}) {
    const json::value& one = expected.at(run);
    const auto ids = Ids(one.at("ids")), greedy = Ids(one.at("greedy"));
    EXPECT_EQ(tokenizer->Decode(greedy, true), Text(one.at("greedy_text"))) << run;
    EXPECT_EQ(tokenizer->Decode(greedy, false), Text(one.at("greedy_text_with_special"))) << run;
    EXPECT_EQ(Streamed(*tokenizer, ids, greedy, true), Text(one.at("continuation"))) << run;
  }
}
INSTANTIATE_TEST_SUITE_P(All, GoldenCheckpoint,
                         testing::Values("llama-gqa", "llama-mqa-linear", "llama3-rope", "mistral", "qwen2",
                                         "qwen2-yarn", "qwen3"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace prefixd
