// Each part of the pipeline around the model, and the files that are refused. Expected values come from
// tokenizers 0.23.3.
#include "text/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include "tests/text/tokenizer/parts.h"
#include "text/tokenizer/byte_level.h"

namespace prefixd {
namespace {

using testing_support::AddedToken;
using testing_support::TokenizerParts;
using Ids = std::vector<TokenId>;

std::unique_ptr<Tokenizer> Make(const TokenizerParts& parts) {
  auto tokenizer = Tokenizer::FromJson(parts.Json());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  return tokenizer.ok() ? std::move(tokenizer).value() : nullptr;
}
Ids Encode(const TokenizerParts& parts, std::string_view text, Tokenizer::EncodeOptions options = {}) {
  const auto tokenizer = Make(parts);
  if (tokenizer == nullptr) return {};
  const auto ids = tokenizer->Encode(text, options);
  EXPECT_TRUE(ids.ok()) << ids.status().ToString();
  return ids.ok() ? *ids : Ids{};
}

TEST(AddedTokens, LeftmostLongest) {
  TokenizerParts parts;
  parts.added_tokens =
      "[" + AddedToken(8, "a<") + "," + AddedToken(9, "a<b>") + "," + AddedToken(10, "<b") + "]";
  EXPECT_EQ(Encode(parts, "xa<b>a<c<b"), (Ids{7, 9, 8, 2, 10}));
}

TEST(AddedTokens, StripFlagsTakeWhiteSpaceWithThem) {
  TokenizerParts parts;
  parts.added_tokens = "[" + AddedToken(8, "<l>", "lstrip") + "," + AddedToken(9, "<r>", "rstrip") + "]";
  EXPECT_EQ(Encode(parts, "a  <l>  b"), (Ids{0, 8, 6, 6, 1}));
  EXPECT_EQ(Encode(parts, "a  <r> \xE3\x80\x80\n b"), (Ids{0, 6, 6, 9, 1}));
  EXPECT_EQ(Encode(parts, "<r>  <l>b"), (Ids{9, 8, 1})) << "what one has taken the next does not take";
}

TEST(AddedTokens, StripFlagsOfTokensThatAreWhiteSpace) {
  TokenizerParts parts;
  parts.added_tokens = "[" + AddedToken(8, "  ", "lstrip rstrip") + "," + AddedToken(3, "ab", "rstrip") +
                       "," + AddedToken(9, " c") + "]";
  EXPECT_EQ(Encode(parts, "a     b"), (Ids{0, 8, 1}));
  EXPECT_EQ(Encode(parts, "ab cb"), (Ids{3, 9, 1}));
}

TEST(AddedTokens, SingleWord) {
  TokenizerParts parts;
  parts.added_tokens = "[" + AddedToken(3, "ab", "single_word") + "]";
  EXPECT_EQ(Encode(parts, "ab ab-ab"), (Ids{3, 6, 3, 3}));
  EXPECT_EQ(Encode(parts, "xab abx"), (Ids{7, 0, 1, 6, 0, 1, 7}));
  EXPECT_EQ(Encode(parts,
                   "ab\xCC\x83 \xE2\x93\x90"
                   "ab"),
            (Ids{0, 1, 6, 0, 1}))
      << "marks and letters in circles";
}

TEST(AddedTokens, NormalizedOnesAreSearchedInNormalisedText) {
  TokenizerParts parts;
  parts.normalizer = R"({"type":"Replace","pattern":{"String":"c"},"content":"b"})";
  parts.added_tokens = "[" + AddedToken(8, "xc", "normalized") + "," + AddedToken(9, "cx") + "]";
  EXPECT_EQ(Encode(parts, "axb"), (Ids{0, 8}));
  EXPECT_EQ(Encode(parts, "cxbx"), (Ids{9, 1, 7}));
}

TEST(AddedTokens, ThatAreSpecialStayTextOnRequest) {
  TokenizerParts parts;
  parts.added_tokens = "[" + AddedToken(8, "a<s>", "special") + "," + AddedToken(9, "s>a") + "]";
  EXPECT_EQ(Encode(parts, "a<s>ab"), (Ids{8, 0, 1}));
  EXPECT_EQ(Encode(parts, "a<s>ab", {.parse_special = false}), (Ids{0, 0, 1})) << "it hides what overlaps it";
  EXPECT_EQ(Encode(parts, "bs>a", {.parse_special = false}), (Ids{1, 9}));
}

TEST(AddedTokens, OfNormalisedTextAreDecodedAsTheyStandThere) {
  TokenizerParts parts;
  parts.normalizer = R"({"type":"Prepend","prepend":"x"})";
  parts.added_tokens =
      "[" + AddedToken(8, "<s>", "normalized special") + "," + AddedToken(9, "<t>", "special") + "]";
  const auto tokenizer = Make(parts);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->Decode(Ids{0, 8, 9}, false), "ax<s><t>");
  EXPECT_EQ(tokenizer->Decode(Ids{0, 8, 9}, true), "ax<s>") << "that is not the name of a special token";
  EXPECT_EQ(tokenizer->TokenToId("<s>"), 8);
}

TEST(AddedTokens, HaveIdsOfTheirOwn) {
  TokenizerParts parts;
  parts.added_tokens = "[" + AddedToken(8, "<p>") + "," + AddedToken(9, "<q>", "special") + "]";
  const auto tokenizer = Make(parts);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(*tokenizer->Encode("a<q>b", {}), (Ids{0, 9, 1}));
  EXPECT_EQ(tokenizer->vocab_size(), 10);
  EXPECT_EQ(tokenizer->TokenToId("<q>"), 9);
  EXPECT_EQ(tokenizer->TokenToId("abc"), 4);
  EXPECT_EQ(tokenizer->TokenToId("nothing"), std::nullopt);
  EXPECT_TRUE(tokenizer->IsSpecial(9));
  EXPECT_FALSE(tokenizer->IsSpecial(0));
  EXPECT_FALSE(tokenizer->IsSpecial(-1));
  EXPECT_EQ(tokenizer->Decode(Ids{0, 9, 15, -1, 99, 1}, false), "a<q>b")
      << "ids without a token are passed over";
  EXPECT_EQ(tokenizer->Decode(Ids{0, 9, 1}, true), "ab");
  EXPECT_EQ(tokenizer->TokenBytes(15), "");
}

TEST(Normalizer, Components) {
  TokenizerParts parts;
  parts.vocab = R"({"a":0,"b":1,"\u2581":2,"\u00e9":3,"x":4})";
  parts.normalizer = R"({"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"\u2581"},)"
                     R"({"type":"Replace","pattern":{"String":" "},"content":"\u2581"}]})";
  EXPECT_EQ(Encode(parts, "a b"), (Ids{2, 0, 2, 1}));
  EXPECT_EQ(Encode(parts, ""), (Ids{}));
  parts.normalizer = R"({"type":"NFC"})";
  EXPECT_EQ(Encode(parts, "e\xCC\x81"), (Ids{3}));
  parts.normalizer = R"({"type":"Replace","pattern":{"Regex":" {2,}"},"content":"x"})";
  EXPECT_EQ(Encode(parts, "a  b"), (Ids{0, 4, 1}));
}

TEST(PostProcessor, TemplateAroundTheText) {
  TokenizerParts parts;
  parts.post_processor =
      R"({"type":"Sequence","processors":[{"type":"ByteLevel","trim_offsets":true},
          {"type":"TemplateProcessing",
          "single":[{"SpecialToken":{"id":"s","type_id":0}},{"Sequence":{"id":"A","type_id":0}},
                    {"SpecialToken":{"id":"e","type_id":0}}],
          "pair":[],
          "special_tokens":{"s":{"id":"s","ids":[7,6],"tokens":["x"," "]},
                            "e":{"id":"e","ids":[5],"tokens":["bc"]}}}]})";
  EXPECT_EQ(Encode(parts, "a"), (Ids{7, 6, 0, 5}));
  EXPECT_EQ(Encode(parts, "a", {.add_special_tokens = false}), (Ids{0}));
}

TEST(PostProcessor, RobertasAroundTheText) {
  TokenizerParts parts;
  parts.post_processor = R"({"type":"RobertaProcessing","sep":["a",0],"cls":["b",1],"trim_offsets":true,)"
                         R"("add_prefix_space":true})";
  EXPECT_EQ(Encode(parts, "c"), (Ids{1, 2, 0}));
}

TEST(Normalizer, OfATextThatGrowsWithoutBoundIsAnError) {
  TokenizerParts parts;
  const std::string replace =
      R"({"type":"Replace","pattern":{"String":"a"},"content":")" + std::string(100, 'a') + "\"}";
  parts.normalizer = R"({"type":"Sequence","normalizers":[)" + replace + "," + replace + "]}";
  const auto tokenizer = Make(parts);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_TRUE(tokenizer->Encode("ab", {}).ok());
  const auto ids = tokenizer->Encode(std::string(100, 'a'), {});
  ASSERT_FALSE(ids.ok());
  EXPECT_EQ(ids.status().code(), Code::kInvalidArgument);
  EXPECT_NE(ids.status().message().find("Replace of \"a\""), std::string::npos) << ids.status().ToString();
}

TEST(Encode, ATextThatARegexGivesUpOnIsAnError) {
  TokenizerParts parts;
  parts.pre_tokenizer = R"({"type":"Split","pattern":{"Regex":"(?:a+)+[bc]"},"behavior":"Isolated"})";
  const auto tokenizer = Make(parts);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_TRUE(tokenizer->Encode("aaaab", {}).ok());
  EXPECT_EQ(tokenizer->Encode(std::string(64, 'a'), {}).status().code(), Code::kInvalidArgument);
}

TEST(Encode, BytesThatAreNotUtf8CountAsReplacementCharacters) {
  TokenizerParts parts;
  parts.vocab = R"({"a":0,"\ufffd":1})";
  EXPECT_EQ(Encode(parts,
                   "a\xFF\xE2\x82"
                   "a\xF0\x9F\x98\x80"),
            (Ids{0, 1, 1, 0}));
}

TEST(Encode, LongHostileTextsReturn) {
  TokenizerParts parts;
  std::string vocab;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string_view name = SpellByte(static_cast<unsigned char>(byte));
    vocab += (name == "\"" || name == "\\" ? "\"\\" : "\"") + std::string(name) +
             "\":" + std::to_string(byte) + ",";
  }
  parts.vocab = "{" + vocab + R"("aa":256,"aaaa":257})";
  parts.merges = R"(["a a","aa aa"])";
  parts.normalizer = R"({"type":"NFC"})";
  parts.pre_tokenizer =
      R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true})";
  parts.decoder = parts.pre_tokenizer;
  const auto tokenizer = Make(parts);
  ASSERT_NE(tokenizer, nullptr);
  for (const std::string_view unit :
       {"a", " ", "\n", " \n", "\xF0\x9F\x98\x80", "'", "1", "漢", "\xCC\x96"}) {
    std::string text;
    while (text.size() < (1 << 18)) text += unit;
    const Ids ids = *tokenizer->Encode(text, {});
    EXPECT_EQ(tokenizer->Decode(ids, false), text);
    EXPECT_EQ(ids.size(), unit == "a" ? text.size() / 4 : text.size());
  }
}

TEST(TokenBytes, AreExact) {
  TokenizerParts parts;
  parts.vocab = R"({"\u00c3":0,"\u00a9":1,"\u0120a":2,"<0xC3>":3,"\u2581a":4,"b c":5})";
  parts.decoder = R"({"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true})";
  const auto byte_level = Make(parts);
  ASSERT_NE(byte_level, nullptr);
  EXPECT_EQ(byte_level->TokenBytes(0), "\xC3");
  EXPECT_EQ(byte_level->TokenBytes(2), " a");
  EXPECT_EQ(byte_level->TokenBytes(5), "b c") << "not in the alphabet: itself";
  EXPECT_EQ(byte_level->Decode(Ids{0, 1, 0}, false), "\xC3\xA9\xEF\xBF\xBD");
  parts.decoder =
      R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"\u2581"},"content":" "},)"
      R"({"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]})";
  const auto fallback = Make(parts);
  ASSERT_NE(fallback, nullptr);
  EXPECT_EQ(fallback->TokenBytes(3), "\xC3");
  EXPECT_EQ(fallback->TokenBytes(4), " a") << "what stands at the start of a text is another matter";
  EXPECT_EQ(fallback->Decode(Ids{4, 4}, false), "a a");
}

TEST(Decode, WithoutADecoderSpacesStandBetweenTokens) {
  TokenizerParts parts;
  parts.decoder = "null";
  EXPECT_EQ(Make(parts)->Decode(Ids{0, 1, 99, 2}, false), "a b c");
}

struct Refusal {
  const char* what;
  TokenizerParts parts;
  Code code;
  const char* message;  // a part of the message
};

using P = TokenizerParts;
P With(std::string P::*member, std::string value) {
  P parts;
  parts.*member = std::move(value);
  return parts;
}

P EqualWhenNormalised() {
  P parts;
  parts.normalizer = R"({"type":"Lowercase"})";
  parts.added_tokens =
      "[" + AddedToken(8, "<q>", "normalized") + "," + AddedToken(9, "<Q>", "normalized") + "]";
  return parts;
}

std::vector<Refusal> RefusedStages() {
  return {
      {"normalizer", With(&P::normalizer, R"({"type":"Precompiled"})"), Code::kUnsupported,
       R"(tokenizer.json: normalizer.type is "Precompiled", which is not supported )"
       R"((supported: Sequence, NFC,)"},
      {"normalizer option", With(&P::normalizer, R"({"type":"NFKC","form":2})"), Code::kUnsupported,
       "normalizer.form is 2, but this key is not supported (supported: type)"},
      {"long content",
       With(&P::normalizer, R"({"type":"Prepend","prepend":")" + std::string(300, 'a') + "\"}"),
       Code::kUnsupported, "normalizer.prepend"},
      {"nested",
       With(&P::pre_tokenizer, R"({"type":"Sequence","pretokenizers":[{"type":"UnicodeScripts"}]})"),
       Code::kUnsupported, R"(pre_tokenizer.pretokenizers[0].type is "UnicodeScripts")"},
      {"two schemes",
       With(&P::pre_tokenizer, R"({"type":"Metaspace","replacement":"_","add_prefix_space":false})"),
       Code::kCorrupt, "prepend_scheme is missing (expected: \"never\""},
      {"replacement", With(&P::pre_tokenizer, R"({"type":"Metaspace","replacement":"ab"})"), Code::kCorrupt,
       "pre_tokenizer.replacement"},
      {"first, rewritten",
       With(&P::pre_tokenizer,
            R"({"type":"Sequence","pretokenizers":[{"type":"Metaspace","replacement":"_"},)"
            R"({"type":"Metaspace","replacement":"_","prepend_scheme":"first"}]})"),
       Code::kUnsupported, "prepend_scheme \"first\" after another"},
      {"growth",
       With(&P::decoder, R"({"type":"Sequence","decoders":[)"
                         R"({"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaaaa"},)"
                         R"({"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaaaa"}]})"),
       Code::kUnsupported, "decoder Replace of \"a\""},
      {"option", With(&P::pre_tokenizer, R"({"type":"Digits","individual_digits":true,"new":3})"),
       Code::kUnsupported, "pre_tokenizer.new is 3"},
      {"behavior", With(&P::pre_tokenizer, R"({"type":"Split","pattern":{"String":"a"},"behavior":"Other"})"),
       Code::kUnsupported, R"(behavior is "Other")"},
      {"regex",
       With(&P::pre_tokenizer, R"({"type":"Split","pattern":{"Regex":"\\R+"},"behavior":"Removed"})"),
       Code::kUnsupported, R"(tokenizer.json: pre_tokenizer Split: regex "\R+")"},
      {"empty pattern",
       With(&P::pre_tokenizer, R"({"type":"Split","pattern":{"String":""},"behavior":"Removed"})"),
       Code::kUnsupported, "pre_tokenizer.pattern"},
      {"empty match", With(&P::normalizer, R"({"type":"Replace","pattern":{"Regex":"a*"},"content":""})"),
       Code::kUnsupported, "empty text"},
      {"group reference",
       With(&P::normalizer, R"({"type":"Replace","pattern":{"Regex":"a"},"content":"$1"})"),
       Code::kUnsupported, "normalizer.content"},
      {"post-processor", With(&P::post_processor, R"({"type":"Other"})"), Code::kUnsupported,
       R"(post_processor.type is "Other")"},
      {"post-processor's ids", With(&P::post_processor, R"({"type":"RobertaProcessing"})"), Code::kCorrupt,
       "post_processor.cls"},
      {"two that add",
       With(&P::post_processor, R"({"type":"Sequence","processors":[{"type":"BertProcessing","sep":["a",0],)"
                                R"("cls":["b",1]},{"type":"BertProcessing","sep":["a",0],"cls":["b",1]}]})"),
       Code::kUnsupported, R"(post_processor.processors[1].type is "BertProcessing")"},
      {"template without text", With(&P::post_processor, R"({"type":"TemplateProcessing","single":[]})"),
       Code::kCorrupt, "post_processor.single"},
      {"decoder", With(&P::decoder, R"({"type":"WordPiece"})"), Code::kUnsupported,
       R"(decoder.type is "WordPiece")"},
      {"decoder order",
       With(&P::decoder, R"({"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"ByteFallback"}]})"),
       Code::kUnsupported, "decoder ByteFallback"},
  };
}

std::vector<Refusal> RefusedModels() {
  return {
      {"dropout", With(&P::model_options, R"("dropout":0.1,)"), Code::kUnsupported, "model.dropout"},
      {"unk", With(&P::model_options, R"("unk_token":"<u>",)"), Code::kCorrupt,
       R"(model.unk_token is "<u>")"},
      {"model", With(&P::model_options, R"("type":"Unigram",)"), Code::kUnsupported,
       R"(model.type is "Unigram")"},
      {"merge of nothing", With(&P::merges, R"(["a z"])"), Code::kCorrupt,
       "model.merges[0] is \"a z\" (expected: a pair of tokens that"},
      {"merge of three", With(&P::merges, R"([["a","b"],"a b c"])"), Code::kCorrupt, "model.merges[1]"},
      {"negative id", With(&P::vocab, R"({"a":-1})"), Code::kCorrupt,
       "model.vocab.a is -1 (expected: an integer from 0 to 4194303)"},
      {"huge id", With(&P::vocab, R"({"a":4000000000})"), Code::kCorrupt, "4000000000"},
      {"two tokens of one id", With(&P::vocab, R"({"a":0,"b":0})"), Code::kCorrupt, "\"b\" has the id 0"},
      {"an id of another", With(&P::added_tokens, "[" + AddedToken(1, "<q>") + "]"), Code::kCorrupt,
       "id 1 is \"b\""},
      {"another id", With(&P::added_tokens, "[" + AddedToken(9, "a") + "]"), Code::kCorrupt,
       "\"a\" has the id 0"},
      {"out of place", With(&P::added_tokens, "[" + AddedToken(9, "<q>") + "]"), Code::kUnsupported,
       "added_tokens[0].id is 9, which is not supported (supported: 8, which the place of token \"<q>\""},
      {"equal added tokens", EqualWhenNormalised(), Code::kUnsupported,
       "added token \"<Q>\", which the normalizer makes equal"},
      {"empty added token", With(&P::added_tokens, "[" + AddedToken(9, "") + "]"), Code::kUnsupported,
       "added_tokens[0].content"},
      {"long added token", With(&P::added_tokens, "[" + AddedToken(9, std::string(2000, 'a')) + "]"),
       Code::kUnsupported, "added_tokens[0].content"},
      {"not an object", With(&P::normalizer, "[]"), Code::kCorrupt, "normalizer is []"},
      {"deep", With(&P::normalizer, std::string(1000, '[') + std::string(1000, ']')), Code::kCorrupt,
       "tokenizer.json is not valid JSON"},
  };
}

TEST(Load, RefusesByName) {
  std::vector<Refusal> refusals = RefusedStages();
  for (Refusal& refusal : RefusedModels()) refusals.push_back(std::move(refusal));
  for (const Refusal& refusal : refusals) {
    const auto tokenizer = Tokenizer::FromJson(refusal.parts.Json());
    ASSERT_FALSE(tokenizer.ok()) << refusal.what;
    EXPECT_EQ(tokenizer.status().code(), refusal.code)
        << refusal.what << ": " << tokenizer.status().ToString();
    EXPECT_NE(tokenizer.status().message().find(refusal.message), std::string::npos)
        << refusal.what << ": " << tokenizer.status().ToString();
  }
}

TEST(Load, EveryTruncationAndManyDamagesAreSurvived) {
  TokenizerParts parts;
  parts.added_tokens = "[" + AddedToken(8, "<s>", "special") + "]";
  parts.pre_tokenizer = R"({"type":"Split","pattern":{"Regex":"\\s+"},"behavior":"Isolated","invert":false})";
  const std::string json = parts.Json();
  ASSERT_TRUE(Tokenizer::FromJson(json).ok());
  for (size_t n = 0; n < json.size(); ++n) EXPECT_FALSE(Tokenizer::FromJson(json.substr(0, n)).ok()) << n;
  int loaded = 0;
  for (size_t at = 0; at < json.size(); ++at) {
    for (const char damage : {'\0', '"', '9', '[', '\x80'}) {
      std::string damaged = json;
      damaged[at] = damage;
      const auto tokenizer = Tokenizer::FromJson(damaged);
      if (!tokenizer.ok()) continue;
      ++loaded;
      const auto ids = (*tokenizer)->Encode("a <s> abc", {});
      ASSERT_TRUE(ids.ok());
      for (const TokenId id : *ids) EXPECT_LT(id, (*tokenizer)->vocab_size());
    }
  }
  EXPECT_GT(loaded, 0) << "damage within a string can leave a tokenizer";
}

}  // namespace
}  // namespace prefixd
