// Tokens of answers that follow a grammar are those that encoding their text gives, whatever is drawn, for
// the tokenizers of several families.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/prng.h"
#include "engine/gguf_description.h"
#include "grammar/constraint_cache.h"
#include "tests/support/rounds.h"
#include "tests/support/shared_data.h"

namespace prefixd {
namespace {

using grammar::ConstraintSpec;
using testing_support::ReadFileOrDie;
using testing_support::SharedDir;
using testing_support::SourceDir;

constexpr const char* kSchema = R"({"type":"object","properties":{
    "title":{"type":"string","maxLength":40},"port":{"type":"integer"},"share":{"type":"number"},
    "tier":{"enum":["device","host disk",null]},
    "place":{"type":"object","properties":{"street":{"type":"string","maxLength":20},
      "codes":{"type":"array","items":{"type":"string","pattern":"^[ -~]{1,9}$"},"maxItems":3}},
      "required":["street","codes"],"additionalProperties":false}},
    "required":["title","port","share","tier","place"],"additionalProperties":false})";

std::unique_ptr<Tokenizer> Read(const std::filesystem::path& path) {
  const std::string bytes = ReadFileOrDie(path);
  if (path.extension() == ".json") {
    auto made = Tokenizer::FromJson(bytes);
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    return *std::move(made);
  }
  const auto gguf = ParseGguf(path.string(), std::as_bytes(std::span(bytes)));
  EXPECT_TRUE(gguf.ok()) << gguf.status().ToString();
  auto files = ReadGgufTokenizer(gguf->values, "");
  EXPECT_TRUE(files.ok()) << files.status().ToString();
  return std::move(files->tokenizer);
}

struct Answer {
  std::vector<TokenId> ids;
  size_t refused = 0;
  bool complete = false;
};

// Any token of the mask is as likely as any other, so most of what is drawn is no encoding of its text.
Answer Draw(grammar::ConstraintState& state, const grammar::Vocabulary& vocabulary, Prng& prng) {
  Answer answer;
  while (answer.ids.size() < 400 && !state.complete() && !testing::Test::HasFailure()) {
    const auto mask = state.Mask();
    std::vector<TokenId> allowed;
    for (TokenId id = 0; id < vocabulary.size(); ++id)
      if (((*mask)[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) allowed.push_back(id);
    EXPECT_FALSE(allowed.empty());
    if (allowed.empty()) break;
    const TokenId id = allowed[prng.Below(allowed.size())];
    if (state.Refuses(id)) {
      ++answer.refused;
      continue;
    }
    state.Append(id);
    answer.ids.push_back(id);
  }
  answer.complete = state.complete();
  return answer;
}

class EncodesBack : public ::testing::TestWithParam<const char*> {};

TEST_P(EncodesBack, WhateverIsDrawn) {
  const std::string name = GetParam();
  if (!name.starts_with("deploy")) PREFIXD_NEED_SHARED(name);
  const std::unique_ptr<Tokenizer> tokenizer =
      Read((name.starts_with("deploy") ? SourceDir() : SharedDir()) / name);
  const auto vocabulary = grammar::Vocabulary::Of(*tokenizer, {0}, tokenizer->vocab_size());
  grammar::ConstraintCache cache(vocabulary, {});
  const auto made = cache.Get(
      {.kind = ConstraintSpec::Kind::kJsonSchema, .schema = boost::json::parse(kSchema), .strict = true});
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  const std::string prompt = "Where does the daemon listen?\nThe arguments are:\n";
  const std::vector<TokenId> before = *tokenizer->Encode(prompt, {.add_special_tokens = false});
  Prng prng(7);
  size_t same = 0, refused = 0, complete = 0;
  constexpr size_t kAnswers = testing_support::Rounds(60);
  for (size_t i = 0; i < kAnswers; ++i) {
    grammar::ConstraintState state(made->constraint, before);
    const Answer answer = Draw(state, *vocabulary, prng);
    std::vector<TokenId> all = before;
    all.insert(all.end(), answer.ids.begin(), answer.ids.end());
    std::string text = prompt;
    for (const TokenId id : answer.ids) text += vocabulary->text(id);
    const auto encoded = *tokenizer->Encode(text, {.add_special_tokens = false});
    EXPECT_EQ(encoded, all) << text;
    same += encoded == all ? 1 : 0;
    refused += answer.refused;
    complete += answer.complete ? 1 : 0;
  }
  EXPECT_EQ(same, kAnswers);
  EXPECT_GT(complete, kAnswers / 2);
  EXPECT_GT(refused, kAnswers);
}
INSTANTIATE_TEST_SUITE_P(
    Tokenizers, EncodesBack,
    testing::Values("deploy/models/demo/tokenizer.json", "golden/tokenizers/llama3/tokenizer.json",
                    "golden/tokenizers/qwen2/tokenizer.json", "golden/tokenizers/spm/tokenizer.json",
                    "tokenizers/ggml-vocab-gpt-2.gguf", "tokenizers/ggml-vocab-deepseek-coder.gguf",
                    "tokenizers/ggml-vocab-llama-spm.gguf"),
    [](const auto& info) {
      std::string name = info.param;
      std::ranges::replace_if(
          name, [](char c) { return std::isalnum(c) == 0; }, '_');
      return name;
    });

}  // namespace
}  // namespace prefixd
