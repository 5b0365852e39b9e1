// The vocabulary that a tokenizer becomes in a GGUF file: what SpecOfGguf reads of it gives the ids that the
// tokenizers library gives for the tokenizer.
#include "text/tokenizer/gguf_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value_to.hpp>

#include "tests/support/shared_data.h"
#include "text/tokenizer/tokenizer.h"
#include "text/tokenizer/tokenizer_json_writer.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing_support::ReadFileOrDie;
using testing_support::SharedDir;

std::vector<TokenId> Ids(const json::value& list) { return json::value_to<std::vector<TokenId>>(list); }

class GgufOfGolden : public testing::TestWithParam<std::pair<std::string, std::string>> {};

TEST_P(GgufOfGolden, GivesTheIdsOfTheLibrary) {
  const auto& [name, pre] = GetParam();
  const std::string folder = "golden/tokenizers/" + name;
  PREFIXD_NEED_SHARED(folder);
  const auto spec = ParseTokenizerJson(ReadFileOrDie(SharedDir() / folder / "tokenizer.json"));
  ASSERT_TRUE(spec.ok());
  const auto made = VocabularyOfSpec(*spec, 672, {}, {});
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  EXPECT_EQ(made->model, "gpt2");
  EXPECT_EQ(made->pre, pre);
  EXPECT_THAT(made->losses, IsEmpty());
  EXPECT_EQ(made->tokens.size(), 672u);
  EXPECT_EQ(made->tokens[671], "[PAD671]");
  const auto read = SpecOfGguf(made->View());
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  const auto tokenizer = Tokenizer::FromSpec(*read);
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_LT((*tokenizer)->vocab_size(), 671) << "ids without a token have no text";
  const json::value golden = json::parse(ReadFileOrDie(SharedDir() / folder / "tokenizer_cases.json"));
  ASSERT_GT(golden.at("cases").as_array().size(), 30u);
  for (const json::value& one : golden.at("cases").as_array()) {
    const std::string text(one.at("text").as_string());
    EXPECT_EQ(*(*tokenizer)->Encode(text, {.add_special_tokens = false}), Ids(one.at("ids"))) << text;
    const auto ids = Ids(one.at("ids_with_special"));
    EXPECT_EQ(*(*tokenizer)->Encode(text, {}), ids) << text;
    EXPECT_EQ((*tokenizer)->Decode(ids, true), one.at("decoded").as_string()) << text;
  }
}
INSTANTIATE_TEST_SUITE_P(All, GgufOfGolden,
                         testing::Values(std::pair("llama3", "llama-bpe"), std::pair("qwen2", "qwen2")),
                         [](const auto& info) { return info.param.first; });

TokenizerSpec ByteLevelSpec() {
  TokenizerSpec spec;
  spec.model.vocab = {{"a", 0}, {"b", 1}, {"ab", 2}, {"<s>", 3}, {"</s>", 4}};
  spec.model.merges = {{"a", "b"}};
  spec.pre_tokenizers = {{.kind = PreTokenizerSpec::kByteLevel, .use_regex = true}};
  spec.decoders = std::vector<DecoderSpec>{{.kind = DecoderSpec::kByteLevel}};
  spec.added = {{.id = 3, .content = "<s>", .special = true}, {.id = 4, .content = "</s>", .special = true}};
  return spec;
}

TEST(GgufVocabulary, OfSentencePieceHasScoresInTheOrderOfMerges) {
  const GgufVocabulary file = {
      .model = "llama",
      .tokens = {"<unk>", "<s>", "\u2581", "a", "b", "\u2581a", "ab", "\u2581ab", "<0x0A>"},
      .scores = {0, 0, -9, -9, -9, -3, -4, -1, 0},
      .types = {2, 3, 1, 1, 1, 1, 1, 1, 6},
      .bos = 1};
  const TokenizerSpec spec = *SpecOfGguf(file);
  const auto made = VocabularyOfSpec(spec, 9, 1, {});
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  EXPECT_EQ(made->model, "llama");
  EXPECT_THAT(made->losses, IsEmpty());
  EXPECT_TRUE(made->add_bos);
  EXPECT_EQ(made->unknown, 0);
  EXPECT_THAT(made->types, ElementsAre(2, 3, 1, 1, 1, 1, 1, 1, 6));
  EXPECT_THAT(made->scores, ElementsAre(-3, -3, -3, -3, -3, -1, -2, 0, -3));
  EXPECT_EQ(SpecOfGguf(made->View())->model.merges, spec.model.merges);
}

TEST(GgufVocabulary, WhatAFileCannotSayIsRefused) {
  const auto refusal = [](const TokenizerSpec& spec, int vocab = 5, TokenId bos = 3) {
    const auto made = VocabularyOfSpec(spec, vocab, bos, 4);
    EXPECT_EQ(made.status().code(), Code::kUnsupported);
    return made.status().message();
  };
  EXPECT_THAT(refusal(ByteLevelSpec(), 4), HasSubstr("token \"</s>\" has the id 4, but the model has 4"));
  TokenizerSpec spec = ByteLevelSpec();
  spec.pre_tokenizers.push_back({.kind = PreTokenizerSpec::kWhitespace});
  EXPECT_THAT(refusal(spec), HasSubstr("(supported: those of llama, gpt-2, smollm, deepseek-coder"));
  spec = ByteLevelSpec();
  spec.prefix_ids = {4};
  EXPECT_THAT(refusal(spec), HasSubstr("other tokens before a text than bos_token"));
  spec.prefix_ids = {3};
  EXPECT_TRUE(VocabularyOfSpec(spec, 5, 3, 4)->add_bos);
  spec.suffix_ids = {4, 4};
  EXPECT_THAT(refusal(spec), HasSubstr("other tokens behind a text than eos_token"));
  spec = ByteLevelSpec();
  spec.model.ignore_merges = true;
  EXPECT_EQ(VocabularyOfSpec(spec, 5, 3, 4)->pre, "gpt-2") << "merges make every token";
  spec.model.merges.clear();
  EXPECT_THAT(refusal(spec), HasSubstr("model.ignore_merges is true with the pre-tokenizer of gpt-2"));
  spec = ByteLevelSpec();
  spec.model.end_of_word_suffix = "</w>";
  EXPECT_THAT(refusal(spec), HasSubstr("end_of_word_suffix is not empty"));
  const std::string folder = "golden/tokenizers/spm";
  PREFIXD_NEED_SHARED(folder);
  EXPECT_THAT(refusal(*ParseTokenizerJson(ReadFileOrDie(SharedDir() / folder / "tokenizer.json")), 768, 1),
              HasSubstr("not those of a vocabulary of SentencePiece"));
}

TEST(GgufVocabulary, LostFlagsAreNamed) {
  TokenizerSpec spec = ByteLevelSpec();
  spec.added[0].lstrip = true;
  spec.added[1].normalized = true;  // without a normalizer, the same as false
  EXPECT_THAT(VocabularyOfSpec(spec, 5, 3, 4)->losses,
              ElementsAre(HasSubstr("added token \"<s>\" loses the flags")));
}

// Every component that a tokenizer.json can have, and every option that is not the default.
TEST(TokenizerJsonWriter, WritesWhatTheReaderReads) {
  TokenizerSpec spec = ByteLevelSpec();
  spec.added[1].lstrip = spec.added[1].rstrip = spec.added[1].single_word = true;
  spec.prefix_ids = {3};
  spec.suffix_ids = {4, 3};
  spec.model.unk_token = "a";
  spec.model.fuse_unk = spec.model.byte_fallback = spec.model.ignore_merges = true;
  const TextPattern regex{.is_regex = true, .text = "\\d+"}, text{.is_regex = false, .text = " "};
  spec.normalizers = {
      {.kind = NormalizerSpec::kNfc},       {.kind = NormalizerSpec::kNfd},
      {.kind = NormalizerSpec::kNfkc},      {.kind = NormalizerSpec::kNfkd},
      {.kind = NormalizerSpec::kLowercase}, {.kind = NormalizerSpec::kStrip, .strip_right = true}};
  spec.normalizers.push_back({.kind = NormalizerSpec::kPrepend, .content = "_"});
  spec.normalizers.push_back({.kind = NormalizerSpec::kReplace, .pattern = regex, .content = "0"});
  spec.normalizers.push_back({.kind = NormalizerSpec::kReplace, .pattern = text, .content = "_"});
  for (const SplitBehavior behavior :
       {SplitBehavior::kRemoved, SplitBehavior::kIsolated, SplitBehavior::kMergedWithPrevious,
        SplitBehavior::kMergedWithNext, SplitBehavior::kContiguous}) {
    spec.pre_tokenizers.push_back(
        {.kind = PreTokenizerSpec::kSplit, .pattern = regex, .behavior = behavior, .invert = true});
  }
  spec.pre_tokenizers.push_back({.kind = PreTokenizerSpec::kByteLevel, .add_prefix_space = true});
  spec.pre_tokenizers.push_back({.kind = PreTokenizerSpec::kDigits, .individual_digits = true});
  spec.pre_tokenizers.push_back(
      {.kind = PreTokenizerSpec::kPunctuation, .behavior = SplitBehavior::kContiguous});
  spec.pre_tokenizers.push_back({.kind = PreTokenizerSpec::kWhitespace});
  spec.pre_tokenizers.push_back({.kind = PreTokenizerSpec::kWhitespaceSplit});
  for (const PrependScheme scheme : {PrependScheme::kFirst, PrependScheme::kAlways, PrependScheme::kNever})
    spec.pre_tokenizers.push_back(
        {.kind = PreTokenizerSpec::kMetaspace, .replacement = "_", .prepend = scheme, .split = true});
  spec.decoders =
      std::vector<DecoderSpec>{{.kind = DecoderSpec::kByteLevel},
                               {.kind = DecoderSpec::kReplace, .pattern = "_", .content = " "},
                               {.kind = DecoderSpec::kByteFallback},
                               {.kind = DecoderSpec::kFuse},
                               {.kind = DecoderSpec::kStrip, .content = " ", .start = 1, .stop = 2},
                               {.kind = DecoderSpec::kMetaspace, .pattern = "_", .prepends = true},
                               {.kind = DecoderSpec::kMetaspace, .pattern = "_"}};
  const auto read = ParseTokenizerJson(WriteTokenizerJson(spec));
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(read->added, spec.added);
  EXPECT_EQ(read->normalizers, spec.normalizers);
  EXPECT_EQ(read->pre_tokenizers, spec.pre_tokenizers);
  EXPECT_EQ(read->decoders, spec.decoders);
  EXPECT_EQ(read->prefix_ids, spec.prefix_ids);
  EXPECT_EQ(read->suffix_ids, spec.suffix_ids);
  EXPECT_EQ(read->model.vocab, spec.model.vocab);
  EXPECT_EQ(read->model.merges, spec.model.merges);
  EXPECT_EQ(read->model.unk_token, "a");
  EXPECT_TRUE(read->model.fuse_unk && read->model.byte_fallback && read->model.ignore_merges);
  TokenizerSpec plain = ByteLevelSpec();
  plain.decoders.reset();
  EXPECT_FALSE(ParseTokenizerJson(WriteTokenizerJson(plain))->decoders.has_value());
  plain.model.unk_token.reset();
  EXPECT_FALSE(ParseTokenizerJson(WriteTokenizerJson(plain))->model.unk_token.has_value());
}

}  // namespace
}  // namespace prefixd
