#include "text/tokenizer/gguf_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "text/tokenizer/tokenizer.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

GgufVocabulary Gpt2() {
  return {.model = "gpt2",
          .pre = "gpt-2",
          .tokens = {"a", "b", "ab", "<s>", "</s>", "tool"},
          .merges = {"a b"},
          .types = {1, 1, 1, 3, 3, 4},
          .bos = 3,
          .eos = 4};
}

GgufVocabulary Llama() {
  return {.model = "llama",
          .tokens = {"<unk>", "<s>", "\u2581", "a", "b", "\u2581a", "ab", "\u2581ab"},
          .scores = {0, 0, -1, -2, -3, -4, -5, -6},
          .types = {2, 3, 1, 1, 1, 1, 1, 1},
          .bos = 1};
}

std::vector<TokenId> Encode(const GgufVocabulary& vocabulary, std::string_view text) {
  const Result<TokenizerSpec> spec = SpecOfGguf(vocabulary);
  EXPECT_TRUE(spec.ok()) << spec.status().ToString();
  return *(*Tokenizer::FromSpec(*spec))->Encode(text, {});
}

TEST(GgufSpec, TokensOfTypesAreAdded) {
  EXPECT_THAT(Encode(Gpt2(), "ab</s>tool"), ElementsAre(2, 4, 5)) << "no bos is asked for";
  const TokenizerSpec spec = *SpecOfGguf(Gpt2());
  ASSERT_EQ(spec.added.size(), 3u);
  EXPECT_TRUE(spec.added[1].special);
  EXPECT_FALSE(spec.added[2].special) << "a token of the user";
}

TEST(GgufSpec, EndsAreAddedWhereTheFileSays) {
  GgufVocabulary vocabulary = Gpt2();
  vocabulary.add_bos = vocabulary.add_eos = true;
  EXPECT_THAT(Encode(vocabulary, "a"), ElementsAre(3, 0, 4));
  EXPECT_THAT(Encode(Llama(), "ab"), ElementsAre(1, 7)) << "the default of this kind";
  GgufVocabulary plain = Llama();
  plain.add_bos = false;
  EXPECT_THAT(Encode(plain, "a"), ElementsAre(5));
}

TEST(GgufSpec, MergesFollowFromScoresAndLengths) {
  EXPECT_THAT(SpecOfGguf(Llama())->model.merges,
              ElementsAre(Pair("\u2581", "a"), Pair("a", "b"), Pair("\u2581a", "b"), Pair("\u2581", "ab")));
}

TEST(GgufSpec, ATokenOfNoDefinedTypeIsANormalOne) {
  GgufVocabulary vocabulary = Gpt2();
  vocabulary.types[2] = 0;
  EXPECT_THAT(Encode(vocabulary, "ab</s>tool"), ElementsAre(2, 4, 5));
}

TEST(GgufSpec, WhatIsWrongIsNamed) {
  const auto refusal = [](GgufVocabulary vocabulary, const auto& change) {
    change(&vocabulary);
    return SpecOfGguf(vocabulary).status().message();
  };
  using V = GgufVocabulary*;
  EXPECT_THAT(refusal(Gpt2(), [](V v) { v->pre = "falcon"; }),
              HasSubstr("tokenizer.ggml.pre is \"falcon\" (supported: gpt-2, smollm, deepseek-coder"));
  EXPECT_THAT(refusal(Gpt2(), [](V v) { v->pre = ""; }), HasSubstr("pre is missing"));
  EXPECT_THAT(refusal(Llama(), [](V v) { v->pre = "gpt-2"; }), HasSubstr("pre is \"gpt-2\""));
  EXPECT_THAT(refusal(Gpt2(), [](V v) { v->model = "bert"; }), HasSubstr("supported: gpt2, llama"));
  EXPECT_THAT(refusal(Gpt2(), [](V v) { v->merges = {"a c"}; }), HasSubstr("merges[0] is \"a c\""));
  EXPECT_THAT(refusal(Gpt2(), [](V v) { v->merges = {""}; }), HasSubstr("merges[0]"));
  EXPECT_THAT(refusal(Gpt2(),
                      [](V v) {
                        v->tokens[1] = "";
                        v->merges = {"a "};
                      }),
              HasSubstr("merges[0] is \"a \" (expected: two tokens"));
  EXPECT_THAT(refusal(Gpt2(), [](V v) { v->tokens[1] = "a"; }),
              HasSubstr("\"a\" twice, with the ids 0 and 1"));
  EXPECT_THAT(refusal(Gpt2(), [](V v) { v->tokens.clear(); }), HasSubstr("has 0 tokens"));
  EXPECT_THAT(refusal(Gpt2(), [](V v) { v->types.pop_back(); }), HasSubstr("5 types for 6 tokens"));
  for (const int32_t type : {7, 1 << 30, -1})
    EXPECT_THAT(refusal(Gpt2(), [&](V v) { v->types[2] = type; }),
                HasSubstr("token_type[2] is " + std::to_string(type) + " (expected: 0 to 6)"));
  EXPECT_THAT(refusal(Gpt2(), [](V v) { v->bos = 6; }), HasSubstr("bos_token_id is 6, and there are 6"));
  EXPECT_THAT(refusal(Gpt2(),
                      [](V v) {
                        v->add_bos = true;
                        v->bos.reset();
                      }),
              HasSubstr("bos_token_id is missing"));
  EXPECT_THAT(refusal(Llama(), [](V v) { v->scores.pop_back(); }), HasSubstr("7 scores for 8 tokens"));
  EXPECT_THAT(refusal(Llama(), [](V v) { v->scores[3] = std::numeric_limits<float>::quiet_NaN(); }),
              HasSubstr("not a number"));
  EXPECT_THAT(refusal(Llama(), [](V v) { v->add_space_prefix = false; }), HasSubstr("add_space_prefix"));
  const std::string longer(513, 'x');
  EXPECT_THAT(refusal(Llama(), [&](V v) { v->tokens[3] = longer; }), HasSubstr("has 513 bytes (limit 512"));
  const std::string control(1025, 'x');
  EXPECT_THAT(refusal(Gpt2(), [&](V v) { v->tokens[3] = control; }), HasSubstr("a control token of 1025"));
}

}  // namespace
}  // namespace prefixd
