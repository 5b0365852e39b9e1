// Names, ids and special tokens of folders whose files complete or contradict each other. The expected values
// of kFolders come from AutoTokenizer of transformers 5.24.0, with a config.json of the type llama. Version
// 4.57.6 gives the same, except where a comment says so.
#include "engine/special_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <string>
#include <vector>

#include "text/tokenizer/tokenizer.h"

namespace prefixd {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view kTokenizer = R"({
  "version": "1.0", "truncation": null, "padding": PADDING, "normalizer": null,
  "added_tokens": [
    {"id": 7, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
     "special": true},
    {"id": 8, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
     "special": true},
    {"id": 9, "content": "<t>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
     "special": false}],
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
  "post_processor": null,
  "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "ab": 5, "Ġ": 6}, "merges": ["a b"]}})";
constexpr std::string_view kText = "a <s> b</s>a <t> ba<t>b<u> <w>ab <pad>";

// A folder and what it means. The files are tokenizer_config.json, special_tokens_map.json and
// added_tokens.json; "" where there is none.
struct Folder {
  std::string what;
  std::string config, map, added;
  std::string pad_token;  // of the padding in tokenizer.json; "": no padding
  std::string names;      // "bos_token=<s> eos_token=</s>"
  std::vector<TokenId> ids;
  std::vector<TokenId> special;
};

struct Loaded {
  std::unique_ptr<Tokenizer> tokenizer;
  ResolvedTokens tokens;
};

Result<Loaded> Load(const Folder& folder, const std::string& model_type = "llama") {
  std::string json(kTokenizer);
  std::string padding = "null";
  if (!folder.pad_token.empty()) padding = R"({"pad_token": ")" + folder.pad_token + "\"}";
  json.replace(json.find("PADDING"), 7, padding);
  PREFIXD_ASSIGN_OR_RETURN(TokenizerSpec spec, ParseTokenizerJson(json));
  boost::json::object objects[3];
  SpecialTokenFiles files;
  files.model_type = model_type;
  const auto parse = [&](const std::string& text, boost::json::object* object) {
    if (text.empty()) return static_cast<const boost::json::object*>(nullptr);
    *object = boost::json::parse(text).as_object();
    return static_cast<const boost::json::object*>(object);
  };
  files.config = parse(folder.config, &objects[0]);
  files.map = parse(folder.map, &objects[1]);
  files.added = parse(folder.added, &objects[2]);
  Loaded loaded;
  PREFIXD_ASSIGN_OR_RETURN(loaded.tokens, ResolveSpecialTokens(files, &spec));
  PREFIXD_ASSIGN_OR_RETURN(loaded.tokenizer, Tokenizer::FromSpec(spec));
  return loaded;
}

std::string Names(const ResolvedTokens& tokens) {
  std::string names;
  for (const NamedToken& token : tokens.named)
    names += (names.empty() ? "" : " ") + token.name + "=" + token.text;
  return names;
}

const Folder kFolders[] = {
    {"names of special_tokens_map.json alone",
     R"({"tokenizer_class": "PreTrainedTokenizerFast"})",
     R"({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}})",
     "",
     "",
     "bos_token=<s> eos_token=</s>",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 6, 5, 6, 0, 3},
     {7, 8}},
    {"special_tokens_map.json comes after tokenizer_config.json, null too",
     R"({"bos_token": "</s>", "eos_token": "<s>", "pad_token": "<t>"})",
     R"({"bos_token": "<s>", "eos_token": null})",
     "",
     "",
     "bos_token=<s> pad_token=<t>",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 6, 5, 6, 0, 3},
     {7, 8, 9}},
    {"added_tokens_decoder hides the other two files",
     R"({"bos_token": "</s>", "added_tokens_decoder": {"7": {"normalized": false, "special": true,
          "content": "<s>"}}})",
     R"({"bos_token": "<s>", "eos_token": "<t>"})",
     R"({"<u>": 10})",
     "",
     "bos_token=</s>",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 6, 5, 6, 0, 3},
     {7, 8}},
    {"so does an empty one",
     R"({"added_tokens_decoder": {}})",
     R"({"bos_token": "<s>"})",
     "",
     "",
     "",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 6, 5, 6, 0, 3},
     {7, 8}},
    // 4.57 has eos_token </s> and unk_token <unk>, the defaults of LlamaTokenizerFast.
    {"no tokenizer_config.json",
     "",
     R"({"bos_token": "<s>"})",
     "",
     "",
     "bos_token=<s>",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 6, 5, 6, 0, 3},
     {7, 8}},
    {"an object is a name; flags of a known token come from tokenizer.json",
     R"({"bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": true, "normalized": false,
          "special": true}})",
     "",
     "",
     "",
     "bos_token=<s>",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 6, 5, 6, 0, 3},
     {7, 8}},
    {"a name that is no token yet",
     R"({"pad_token": "<pad>"})",
     "",
     "",
     "",
     "pad_token=<pad>",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 6, 5, 6, 10},
     {7, 8, 10}},
    {"with its flags",
     R"({"tokenizer_class": "PreTrainedTokenizerFast"})",
     R"({"pad_token": {"content": "<pad>", "lstrip": true, "normalized": false, "single_word": false}})",
     "",
     "",
     "pad_token=<pad>",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 6, 5, 10},
     {7, 8, 10}},
    {"a name of the vocabulary becomes an added token",
     R"({"unk_token": "ab"})",
     "",
     "",
     "",
     "unk_token=ab",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 6, 5, 6, 0, 3},
     {5, 7, 8}},
    {"added_tokens_decoder adds tokens and changes flags",
     R"({"added_tokens_decoder": {"10": {"normalized": false, "special": false, "content": "<u>"},
          "9": {"lstrip": true, "normalized": false, "special": false, "content": "<t>"}}})",
     "",
     "",
     "",
     "",
     {0, 6, 7, 6, 1, 8, 0, 9, 6, 1, 0, 9, 1, 10, 6, 5, 6, 0, 3},
     {7, 8}},
    {"ids of known tokens do not change; a new one gets the next",
     R"({"added_tokens_decoder": {"13": {"normalized": false, "special": false, "content": "<u>"},
          "7": {"normalized": false, "special": true, "content": "</s>"}}})",
     "",
     "",
     "",
     "",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 10, 6, 5, 6, 0, 3},
     {7, 8}},
    {"single_word and special",
     R"({"added_tokens_decoder": {"9": {"single_word": true, "normalized": false, "special": true,
          "content": "<t>"}}})",
     "",
     "",
     "",
     "",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 1, 6, 5, 6, 0, 3},
     {7, 8, 9}},
    // 4.57: <w> is special.
    {"added_tokens.json: special are the names, not the list of special_tokens_map.json",
     R"({"tokenizer_class": "PreTrainedTokenizerFast"})",
     R"({"additional_special_tokens": ["<w>"], "eos_token": "<u>"})",
     R"({"<u>": 10, "<w>": 11})",
     "",
     "eos_token=<u>",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 10, 6, 11, 5, 6, 0, 3},
     {7, 8, 10}},
    {"but the list of tokenizer_config.json",
     R"({"additional_special_tokens": ["<w>"]})",
     "",
     R"({"<u>": 10, "<w>": 11})",
     "",
     "",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 10, 6, 11, 5, 6, 0, 3},
     {7, 8, 11}},
    {"additional_special_tokens as text and object",
     R"({"additional_special_tokens": ["<u>", {"__type": "AddedToken", "content": "<w>", "lstrip": true,
          "special": true}]})",
     "",
     "",
     "",
     "",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 10, 11, 5, 6, 0, 3},
     {7, 8, 10, 11}},
    // 4.57 refuses the list.
    {"extra_special_tokens hides additional_special_tokens",
     R"({"additional_special_tokens": ["<u>"], "extra_special_tokens": ["<w>"]})",
     "",
     "",
     "",
     "",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 6, 10, 5, 6, 0, 3},
     {7, 8, 10}},
    {"extra_special_tokens as an object of names",
     R"({"extra_special_tokens": {"image_token": "<u>"}})",
     "",
     "",
     "",
     "image_token=<u>",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 10, 6, 5, 6, 0, 3},
     {7, 8, 10}},
    // 4.57 ignores the key.
    {"a key that ends in _token",
     R"({"image_token": "<u>"})",
     "",
     "",
     "",
     "image_token=<u>",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 10, 6, 5, 6, 0, 3},
     {7, 8, 10}},
    {"the padding token of tokenizer.json",
     R"({"tokenizer_class": "PreTrainedTokenizerFast"})",
     "",
     "",
     "<pad>",
     "pad_token=<pad>",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 6, 5, 6, 10},
     {7, 8, 10}},
    {"not where the key is null",
     R"({"pad_token": null})",
     "",
     "",
     "<pad>",
     "",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 6, 5, 6, 0, 3},
     {7, 8}},
    {"a name is special",
     R"({"eos_token": "<t>"})",
     "",
     "",
     "",
     "eos_token=<t>",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 6, 5, 6, 0, 3},
     {7, 8, 9}},
    {"also where added_tokens_decoder denies it",
     R"({"eos_token": "<t>", "added_tokens_decoder": {"9": {"normalized": false, "special": false,
          "content": "<t>"}}})",
     "",
     "",
     "",
     "eos_token=<t>",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 6, 5, 6, 0, 3},
     {7, 8, 9}},
    {"names of a class",
     R"({"tokenizer_class": "GPT2Tokenizer"})",
     "",
     "",
     "",
     "bos_token=<|endoftext|> eos_token=<|endoftext|> unk_token=<|endoftext|>",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 6, 5, 6, 0, 3},
     {7, 8, 10}},
    {"unless the key is null",
     R"({"tokenizer_class": "Qwen2TokenizerFast", "pad_token": null})",
     "",
     "",
     "",
     "eos_token=<|endoftext|> unk_token=<|endoftext|>",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 6, 5, 6, 0, 3},
     {7, 8, 10}},
    {"two names of one new token",
     R"({"eos_token": "<u>", "pad_token": "<u>"})",
     "",
     "",
     "",
     "eos_token=<u> pad_token=<u>",
     {0, 6, 7, 6, 1, 8, 0, 6, 9, 6, 1, 0, 9, 1, 10, 6, 5, 6, 0, 3},
     {7, 8, 10}},
};

TEST(SpecialTokens, AreThoseOfTransformers) {
  for (const Folder& folder : kFolders) {
    SCOPED_TRACE(folder.what);
    const Result<Loaded> loaded = Load(folder);
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    EXPECT_EQ(Names(loaded->tokens), folder.names);
    EXPECT_EQ(*loaded->tokenizer->Encode(kText, {}), folder.ids);
    std::vector<TokenId> special;
    for (TokenId id = 0; id < loaded->tokenizer->vocab_size(); ++id) {
      if (loaded->tokenizer->IsSpecial(id)) special.push_back(id);
    }
    EXPECT_EQ(special, folder.special);
  }
}

std::vector<std::string> Contradictions(const std::string& config, const std::string& map,
                                        const std::string& added) {
  Folder folder;
  folder.config = config;
  folder.map = map;
  folder.added = added;
  const auto loaded = Load(folder);
  EXPECT_TRUE(loaded.ok()) << loaded.status().message();
  return loaded.ok() ? loaded->tokens.contradictions : std::vector<std::string>{};
}

TEST(SpecialTokens, SayFromWhichFileTheyCome) {
  const auto from = [](const Folder& folder, const std::string& model_type = "llama") {
    const auto loaded = Load(folder, model_type);
    std::string files;
    for (const NamedToken& token : loaded->tokens.named) files += token.name + " " + token.from + "; ";
    return files;
  };
  EXPECT_EQ(from({"", R"({"bos_token": "<s>", "eos_token": "<s>"})", R"({"eos_token": "</s>"})", "", "<t>"}),
            "bos_token tokenizer_config.json; eos_token special_tokens_map.json; "
            "pad_token the padding of tokenizer.json; ");
  EXPECT_EQ(from({}, "qwen3"),
            "eos_token the default of Qwen2Tokenizer; unk_token the default of Qwen2Tokenizer; "
            "pad_token the default of Qwen2Tokenizer; ");
  EXPECT_EQ(from({.what = "", .config = R"({"tokenizer_class": "GPT2Tokenizer"})"}, "mistral"), "");
}

TEST(SpecialTokens, FilesThatAgreeAreNoContradiction) {
  EXPECT_THAT(Contradictions("", "", ""), IsEmpty());
  EXPECT_THAT(Contradictions(R"({"bos_token": "<s>", "added_tokens_decoder": {"7": {"content": "<s>",
      "normalized": false, "special": true}}})",
                             R"({"bos_token": {"content": "<s>"}})", R"({"<s>": 7, "<t>": 9})"),
              IsEmpty());
}

TEST(SpecialTokens, ContradictionsNameBothFiles) {
  EXPECT_THAT(Contradictions(R"({"eos_token": "<s>"})", R"({"eos_token": "</s>"})", ""),
              ElementsAre("eos_token is \"<s>\" in tokenizer_config.json, but \"</s>\" of "
                          "special_tokens_map.json counts"));
  EXPECT_THAT(Contradictions(R"({"eos_token": "<s>"})", R"({"eos_token": null})", ""),
              ElementsAre("eos_token is \"<s>\" in tokenizer_config.json, but another file takes it away"));
  EXPECT_THAT(Contradictions(R"({"eos_token": "<s>", "added_tokens_decoder": {}})",
                             R"({"eos_token": "</s>"})", R"({"<x>": 10})"),
              ElementsAre("eos_token is \"</s>\" in special_tokens_map.json, but \"<s>\" of "
                          "tokenizer_config.json counts",
                          "\"<x>\" is an added token in added_tokens.json, which is not read"));
  EXPECT_THAT(
      Contradictions(R"({"added_tokens_decoder": {"12": {"content": "<x>"}}})", "", ""),
      ElementsAre("\"<x>\" has the id 12 in tokenizer_config.json, but 10 counts",
                  "\"<x>\" is not an added token of tokenizer.json; tokenizer_config.json adds it with "
                  "the id 10"));
  EXPECT_THAT(Contradictions(R"({"added_tokens_decoder": {"7": {"content": "<s>", "rstrip": true,
                                 "normalized": false, "special": true}}})",
                             "", ""),
              ElementsAre("\"<s>\" has other flags in tokenizer.json, but rstrip true of "
                          "tokenizer_config.json counts"));
  EXPECT_THAT(
      Contradictions(R"({"additional_special_tokens": ["<s>"], "extra_special_tokens": ["</s>"]})", "", ""),
      ElementsAre(HasSubstr("additional_special_tokens do not count")));
}

TEST(SpecialTokens, ManyContradictionsAreCounted) {
  std::string added = "{";
  for (int i = 0; i < 50; ++i)
    added += (i == 0 ? "" : ",") + std::string("\"<x") + std::to_string(i) + ">\":" + std::to_string(10 + i);
  const auto sentences = Contradictions("", "", added + "}");
  EXPECT_EQ(sentences.size(), 21u);
  EXPECT_EQ(sentences.back(), "and 30 more");
}

TEST(SpecialTokens, WhatCannotBeHonouredIsRefusedByName) {
  struct {
    const char *config, *map, *added, *message;
  } const cases[] = {
      {R"({"bos_token": 5})", "", "", "tokenizer_config.json: bos_token"},
      {R"({"bos_token": {"content": 5}})", "", "", "tokenizer_config.json: bos_token.content"},
      {R"({"eos_token": {"content": "<s>", "lstrip": "no"}})", "", "", "eos_token.lstrip"},
      {R"({"extra_special_tokens": "<s>"})", "", "", "tokenizer_config.json: extra_special_tokens"},
      {R"({"extra_special_tokens": {"image_token": 5}})", "", "", "extra_special_tokens.image_token"},
      {R"({"additional_special_tokens": ["<s>", 5]})", "", "", "additional_special_tokens[1]"},
      {R"({"added_tokens_decoder": null})", "", "", "added_tokens_decoder"},
      {R"({"added_tokens_decoder": {"x": {"content": "<s>"}}})", "", "",
       "added_tokens_decoder has the key \"x\" (expected: the id of a token"},
      {R"({"added_tokens_decoder": {"-1": {"content": "<s>"}}})", "", "",
       "added_tokens_decoder has the key \"-1\""},
      {R"({"added_tokens_decoder": {"7": "<s>"}})", "", "", "added_tokens_decoder.7"},
      {R"({"added_tokens_decoder": {"99999999999": {"content": "<s>"}}})", "", "", "99999999999"},
      {R"({"split_special_tokens": true})", "", "", "split_special_tokens"},
      {R"({"fast_tokenizer_files": ["tokenizer.4.0.0.json"]})", "", "", "fast_tokenizer_files"},
      {"", R"({"eos_token": ["<s>"]})", "", "special_tokens_map.json: eos_token"},
      {"", R"({"chat_template": "x"})", "", "special_tokens_map.json: chat_template"},
      {"", R"({"add_bos_token": true})", "", "special_tokens_map.json: add_bos_token"},
      {"", "", R"({"<u>": "10"})", "added_tokens.json: <u>"},
      {"", "", R"({"<u>": -1})", "added_tokens.json: <u>"},
  };
  for (const auto& one : cases) {
    Folder folder;
    folder.config = one.config;
    folder.map = one.map;
    folder.added = one.added;
    const auto loaded = Load(folder);
    ASSERT_FALSE(loaded.ok()) << one.message;
    EXPECT_THAT(loaded.status().message(), HasSubstr(one.message));
  }
}

TEST(SpecialTokens, UnknownKeysAreNotRefused) {
  Folder folder;
  folder.config =
      R"({"future": {"x": 1}, "bos_token": {"content": "<s>", "future": 1}, "add_bos_token": true})";
  folder.map = R"({"future": 1})";
  EXPECT_EQ(Names(Load(folder)->tokens), "bos_token=<s>");
}

TEST(SpecialTokens, AClassThatForgetsTokensOfTokenizerJsonIsNamed) {
  Folder folder;
  folder.config =
      R"({"added_tokens_decoder": {"7": {"content": "<s>", "special": true, "normalized": false}}})";
  const auto loaded = Load(folder, "qwen2");
  EXPECT_THAT(loaded->tokens.contradictions, Contains(HasSubstr("added_tokens_decoder lacks")));
  EXPECT_EQ(*loaded->tokenizer->Encode("<t>", {}), std::vector<TokenId>{9});
}

}  // namespace
}  // namespace prefixd
