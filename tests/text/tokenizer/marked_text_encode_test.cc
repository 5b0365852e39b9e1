// Control tokens in text from a request are plain text; everything else is encoded as without marks.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <random>

#include "tests/support/shared_data.h"
#include "tests/text/tokenizer/parts.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using testing_support::AddedToken;
using testing_support::ReadFileOrDie;
using testing_support::SharedDir;
using testing_support::TokenizerParts;
using Ids = std::vector<TokenId>;

std::unique_ptr<Tokenizer> Make(const std::string& text) {
  auto tokenizer = Tokenizer::FromJson(text);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  return tokenizer.ok() ? std::move(tokenizer).value() : nullptr;
}

// "own[input]own": the text in brackets is marked.
MarkedText Marked(std::string_view text) {
  MarkedText marked;
  for (bool input = false; !text.empty(); input = !input) {
    const size_t end = std::min(text.find(input ? ']' : '['), text.size());
    if (input) {
      marked.AppendInput(text.substr(0, end));
    } else {
      marked += text.substr(0, end);
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return marked;
}

Ids Encode(const Tokenizer& tokenizer, const MarkedText& text, Tokenizer::EncodeOptions options = {}) {
  const auto ids = tokenizer.Encode(text, options);
  EXPECT_TRUE(ids.ok()) << ids.status().ToString();
  return ids.ok() ? *ids : Ids{};
}

// The vocabulary of TokenizerParts has a 0, b 1, c 2, space 6, x 7, and drops other characters.
TEST(MarkedEncode, ControlTokensAreFoundInOwnTextOnly) {
  TokenizerParts parts;
  parts.added_tokens = "[" + AddedToken(8, "<s>", "special") + "," + AddedToken(9, "<t>") + "]";
  const auto tokenizer = Make(parts.Json());
  EXPECT_EQ(Encode(*tokenizer, Marked("<s>a[<s>]b<s>")), (Ids{8, 0, 1, 8}))
      << "what is left of the token is plain text";
  EXPECT_EQ(Encode(*tokenizer, Marked("<t>[<t>]")), (Ids{9, 9})) << "a token that is no control token";
  EXPECT_EQ(Encode(*tokenizer, Marked("<[s]>a")), (Ids{0}));
  EXPECT_EQ(Encode(*tokenizer, Marked("[<]s>a")), (Ids{0}));
  EXPECT_EQ(Encode(*tokenizer, Marked("<s[>]a")), (Ids{0}));
  EXPECT_EQ(Encode(*tokenizer, Marked("[a<]<s>[s>b]")), (Ids{0, 8, 1})) << "a token beside marks";
  EXPECT_EQ(Encode(*tokenizer, Marked("<s>[a]"), {.parse_special = false}), (Ids{0}));
}

TEST(MarkedEncode, TokensThatAreSpelledLikeControlTokensAreNotFoundEither) {
  TokenizerParts parts;
  parts.added_tokens = "[" + AddedToken(8, "<|a|>") + "," +
                       AddedToken(9,
                                  "<\xEF\xBD\x9C"
                                  "b\xEF\xBD\x9C>") +
                       "," + AddedToken(10, "<|>") + "," + AddedToken(11, "<a>") + "]";
  const auto tokenizer = Make(parts.Json());
  EXPECT_EQ(Encode(*tokenizer, Marked("<|a|>[<|a|>]")), (Ids{8, 0}));
  EXPECT_EQ(Encode(*tokenizer, Marked("<\xEF\xBD\x9C"
                                      "b\xEF\xBD\x9C>[<\xEF\xBD\x9C"
                                      "b\xEF\xBD\x9C>]")),
            (Ids{9, 1}));
  EXPECT_EQ(Encode(*tokenizer, Marked("[<|><a>]")), (Ids{10, 11}));
}

TEST(MarkedEncode, ATokenThatReachesIntoTheRequestDoesNotHideAShorterOne) {
  TokenizerParts parts;
  parts.added_tokens = "[" + AddedToken(8, "<s>", "special") + "," + AddedToken(9, "<s>ab", "special") + "]";
  const auto tokenizer = Make(parts.Json());
  EXPECT_EQ(Encode(*tokenizer, Marked("<s>ab")), (Ids{9}));
  EXPECT_EQ(Encode(*tokenizer, Marked("<s>[ab]")), (Ids{8, 0, 1}));
  EXPECT_EQ(Encode(*tokenizer, Marked("<s>a[b]")), (Ids{8, 0, 1}));
}

TEST(MarkedEncode, TokensThatAreSearchedInNormalisedTextFollowTheMarks) {
  for (const char* normalizer :
       {R"({"type":"Replace","pattern":{"String":"c"},"content":"bb"})", R"({"type":"Lowercase"})",
        R"({"type":"NFC"})",
        R"({"type":"Strip","strip_left":true,"strip_right":true})",
        R"({"type":"Sequence","normalizers":[{"type":"Lowercase"},
            {"type":"Replace","pattern":{"Regex":"c+"},"content":"bb"},{"type":"NFKC"}]})"}) {
    TokenizerParts parts;
    parts.normalizer = normalizer;
    parts.added_tokens = "[" + AddedToken(8, "<|a|>", "normalized") + "]";
    const auto tokenizer = Make(parts.Json());
    if (tokenizer == nullptr) continue;
    const Ids found = *tokenizer->Encode("  cc<|a|>a<|a|>cc", {});
    const auto count = [](const Ids& ids) { return std::count(ids.begin(), ids.end(), 8); };
    ASSERT_EQ(count(found), 2) << normalizer;
    EXPECT_EQ(Encode(*tokenizer, Marked("[  cc]<|a|>[a]<|a|>[cc]")), found) << normalizer;
    EXPECT_EQ(count(Encode(*tokenizer, Marked("[  cc<|a|>a]<|a|>[cc]"))), 1) << normalizer;
    EXPECT_EQ(count(Encode(*tokenizer, Marked("  cc<|a|>a[<|a|>]cc"))), 1) << normalizer;
    EXPECT_EQ(count(Encode(*tokenizer, Marked("[  cc<|a|>a<|a|>cc]"))), 0) << normalizer;
  }
  TokenizerParts parts;  // the token is searched as "x<|a|>"
  parts.normalizer = R"({"type":"Prepend","prepend":"x"})";
  parts.added_tokens = "[" + AddedToken(8, "<|a|>", "normalized") + "]";
  const auto tokenizer = Make(parts.Json());
  EXPECT_EQ(Encode(*tokenizer, Marked("<|a|>[x<|a|>]")), (Ids{8, 7, 0}));
  EXPECT_EQ(Encode(*tokenizer, Marked("[<|a|>]x<|a|>")), (Ids{7, 0, 8}));
}

TEST(MarkedEncode, AnAccentThatJoinsALetterAcrossABorderKeepsOtherTokens) {
  TokenizerParts parts;
  parts.normalizer = R"({"type":"NFC"})";
  parts.added_tokens = "[" + AddedToken(8, "<|a|>", "normalized") + "]";
  const auto tokenizer = Make(parts.Json());
  const std::string accent = "\xCC\x81";
  EXPECT_EQ(Encode(*tokenizer, Marked("<|a|>xe[" + accent + "<|a|>]x<|a|>")),
            Encode(*tokenizer, Marked("<|a|>[xe" + accent + "<|a|>]x<|a|>")));
}

TEST(MarkedEncode, ABosInTheTextIsNotDoubledOnRequest) {
  PREFIXD_NEED_SHARED("golden/tokenizers/spm");
  for (const char* folder : {"llama3", "spm"}) {
    const auto tokenizer = Make(ReadFileOrDie(SharedDir() / "golden/tokenizers" / folder / "tokenizer.json"));
    const std::string bos = folder == std::string("spm") ? "<s>" : "<|begin_of_text|>";
    const Tokenizer::EncodeOptions once{.prefix_once = true};
    const Ids plain = *tokenizer->Encode("a b", {});
    EXPECT_EQ(*tokenizer->Encode("a b", once), plain) << folder;
    EXPECT_EQ(tokenizer->Encode(bos + "a b", {})->size(), tokenizer->Encode(bos + "a b", once)->size() + 1);
    EXPECT_EQ(tokenizer->Encode(bos + "a b", once)->front(), plain.front());
    EXPECT_EQ(*tokenizer->Encode("", once), Ids{plain.front()});
    EXPECT_EQ(*tokenizer->Encode(bos, once), Ids{plain.front()});
    EXPECT_EQ(*tokenizer->Encode(bos + bos, once), (Ids{plain.front(), plain.front()}));
    EXPECT_EQ(Encode(*tokenizer, MarkedText::Input(bos), once).front(), plain.front())
        << "a BOS that is spelled in a request is text, so that one is added";
    EXPECT_GT(Encode(*tokenizer, MarkedText::Input(bos), once).size(), 2u);
  }
}

// Marks on any part of a text without control tokens change nothing.
TEST(MarkedEncode, TextWithoutControlTokensGivesTheSameIds) {
  PREFIXD_NEED_SHARED("golden/tokenizers/spm");
  std::mt19937 random(7);
  for (const char* folder : {"llama3", "qwen2", "spm"}) {
    const auto path = SharedDir() / "golden/tokenizers" / folder;
    const auto tokenizer = Make(ReadFileOrDie(path / "tokenizer.json"));
    const json::value golden = json::parse(ReadFileOrDie(path / "tokenizer_cases.json"));
    size_t compared = 0;
    for (const json::value& one : golden.at("cases").as_array()) {
      const std::string text(one.at("text").as_string());
      const Ids ids = *tokenizer->Encode(text, {});
      if (ids != *tokenizer->Encode(text, {.parse_special = false})) continue;  // it has special tokens
      for (int i = 0; i < 20; ++i) {
        MarkedText marked;
        for (size_t at = 0; at < text.size();) {
          const size_t size = std::min<size_t>(1 + random() % 9, text.size() - at);
          if (random() % 2 == 0) {
            marked.AppendInput(std::string_view(text).substr(at, size));
          } else {
            marked += std::string_view(text).substr(at, size);
          }
          at += size;
        }
        EXPECT_EQ(Encode(*tokenizer, marked), ids) << folder << " " << text;
        ++compared;
      }
    }
    EXPECT_GT(compared, 200u) << folder;
  }
}

}  // namespace
}  // namespace prefixd
