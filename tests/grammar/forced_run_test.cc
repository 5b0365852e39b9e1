// Texts about which a grammar leaves no choice have the tokens that encoding them gives.
#include "grammar/forced_run.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/prng.h"
#include "grammar/constraint_cache.h"
#include "tests/grammar/random_text.h"
#include "tests/support/shared_data.h"

namespace prefixd::grammar {
namespace {

class ForcedRunTest : public testing::Test {
 protected:
  ForcedRunTest() {
    auto made = Tokenizer::FromJson(prefixd::testing_support::ReadFileOrDie(
        prefixd::testing_support::SourceDir() / "deploy/models/demo/tokenizer.json"));
    EXPECT_TRUE(made.ok());
    tokenizer_ = *std::move(made);
    const TokenId control = *tokenizer_->TokenToId("<|im_start|>");
    vocabulary_ = Vocabulary::Of(*tokenizer_, {*tokenizer_->TokenToId("<|im_end|>")},
                                 tokenizer_->vocab_size(), std::vector<TokenId>{control});
    cache_ = std::make_unique<ConstraintCache>(vocabulary_, ConstraintCache::Options());
  }
  std::shared_ptr<const Constraint> Compiled(const ConstraintSpec& spec) {
    const Result<CompiledSpec> made = cache_->Get(spec);
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    return made->constraint;
  }
  std::vector<TokenId> Encoded(std::string_view text) {
    return *tokenizer_->Encode(text, {.add_special_tokens = false});
  }
  std::vector<TokenId> Allowed(ConstraintState& state) {
    const auto mask = state.Mask();
    std::vector<TokenId> ids;
    for (TokenId id = 0; id < vocabulary_->size(); ++id)
      if (((*mask)[static_cast<size_t>(id) / 32] >> (static_cast<size_t>(id) % 32) & 1) != 0)
        ids.push_back(id);
    return ids;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::shared_ptr<const Vocabulary> vocabulary_;
  std::unique_ptr<ConstraintCache> cache_;
};

TEST_F(ForcedRunTest, ATextWithoutAChoiceIsItsEncoding) {
  for (const std::string& text :
       {std::string("Once upon a time, the cache held \"every\" block."), std::string("{\"name\": \"now\"}"),
        std::string("naïve 😀 text\n\n  with blanks"), std::string(1000, 'x') + " and more"}) {
    ConstraintState state(Compiled({.kind = ConstraintSpec::Kind::kChoice, .choices = {text}}));
    std::vector<TokenId> ids;
    std::string written;
    while (!state.complete()) {
      const std::vector<TokenId> allowed = Allowed(state);
      ASSERT_GE(allowed.size(), 1u);
      if (text.size() <= kMostForcedBytes) {
        ASSERT_EQ(allowed.size(), 1u) << written;
      }
      ids.push_back(allowed[0]);
      written += vocabulary_->text(allowed[0]);
      state.Append(allowed[0]);
    }
    EXPECT_EQ(written, text);
    if (text.size() <= kMostForcedBytes) {
      EXPECT_EQ(ids, Encoded(text)) << text;
    }
  }
}

// The last token of a run may become a longer one, but not a shorter one.
TEST_F(ForcedRunTest, ALongerTokenMayFollow) {
  const auto constraint = Compiled({.kind = ConstraintSpec::Kind::kRegex, .text = "cache [a-z]+"});
  ConstraintState state(constraint);
  const ForcedRun run = FindForcedRun(constraint->grammar(), *vocabulary_, state.state());
  EXPECT_EQ(run.tokens, Encoded("cache"));
  EXPECT_EQ(run.rest, " ");
  for (const TokenId id : run.tokens) {
    EXPECT_EQ(Allowed(state), std::vector<TokenId>{id});
    state.Append(id);
  }
  size_t longer = 0;
  for (const TokenId id : Allowed(state)) longer += vocabulary_->text(id).size() > 1 ? 1 : 0;
  EXPECT_GT(longer, 10u);
  ConstraintState quoted(Compiled({.kind = ConstraintSpec::Kind::kRegex, .text = "a \"[a-z]+"}));
  quoted.Append(Encoded("a")[0]);
  for (const TokenId id : Allowed(quoted)) EXPECT_TRUE(vocabulary_->text(id).starts_with(" \""));
}

TEST_F(ForcedRunTest, AControlTokenIsOneToken) {
  CallSpec spec{.functions = {{"now", nullptr, false}}, .writing = {}};
  spec.writing.first = {{CallPart::Kind::kText, "<|im_start|>call "}, {CallPart::Kind::kName}};
  ConstraintState state(Compiled({.kind = ConstraintSpec::Kind::kCalls, .calls = spec}));
  std::vector<TokenId> ids;
  while (!state.complete()) {
    ASSERT_EQ(Allowed(state).size(), 1u);
    ids.push_back(Allowed(state)[0]);
    state.Append(ids.back());
  }
  EXPECT_EQ(ids[0], *tokenizer_->TokenToId("<|im_start|>"));
  EXPECT_EQ(tokenizer_->Decode(ids, /*skip_special_tokens=*/true), "call now");
  // Nothing else spells it, and no text that a client describes contains it.
  ConstraintState plain(Compiled({.kind = ConstraintSpec::Kind::kChoice, .choices = {"<|im_start|>"}}));
  EXPECT_EQ(vocabulary_->text(Allowed(plain)[0]), "<");
  ConstraintState any(Compiled({.kind = ConstraintSpec::Kind::kRegex, .text = "(.|\\n)*"}));
  EXPECT_FALSE(std::ranges::count(Allowed(any), ids[0]));
}

// Whatever is drawn of the masks, the text matches, and no mask is empty.
TEST_F(ForcedRunTest, RunsLeaveNoDeadEnd) {
  Prng prng(11);
  const auto schema = boost::json::parse(R"({"type":"object","properties":{
      "operation":{"type":"string","enum":["insert","inspect","éa","èb"]},"count":{"type":"integer"},
      "names":{"type":"array","items":{"type":"string","maxLength":4},"maxItems":3}},
      "required":["operation","names"],"additionalProperties":false})");
  const auto constraint = Compiled({.kind = ConstraintSpec::Kind::kJsonSchema, .schema = schema});
  size_t forced = 0, drawn = 0;
  for (int round = 0; round < 60; ++round) {
    ConstraintState state(constraint);
    std::string text;
    for (int i = 0; i < 200 && !state.complete(); ++i) {
      const std::vector<TokenId> allowed = Allowed(state);
      ASSERT_FALSE(allowed.empty()) << text;
      (allowed.size() == 1 ? forced : drawn) += 1;
      const TokenId id = allowed[prng.Below(allowed.size())];
      text += vocabulary_->text(id);
      state.Append(id);
      ASSERT_FALSE(state.state().dead()) << text;
    }
    if (state.complete()) {
      EXPECT_TRUE(testing_support::Matches(constraint->grammar(), text)) << text;
    }
  }
  EXPECT_GT(forced, 200u);
  EXPECT_GT(drawn, 200u);
}

}  // namespace
}  // namespace prefixd::grammar
