// A text that is encoded in parts, and the places of its control tokens.
#include <gtest/gtest.h>

#include "base/check.h"
#include "tests/text/tokenizer/parts.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {
namespace {

using testing_support::AddedToken;
using testing_support::TokenizerParts;
using Ids = std::vector<TokenId>;

std::unique_ptr<Tokenizer> Make(const TokenizerParts& parts) {
  auto tokenizer = Tokenizer::FromJson(parts.Json());
  PREFIXD_CHECK(tokenizer.ok()) << tokenizer.status().ToString();
  return *std::move(tokenizer);
}

// Starts at the beginning of the input, behind an added token, and within a text.
std::vector<Ids> Starts(const TokenizerParts& parts, const char* text) {
  std::vector<Ids> all;
  for (const TextStart start : {TextStart::kInput, TextStart::kPiece, TextStart::kWithin}) {
    const auto ids = Make(parts)->Encode(text, {.start = start});
    EXPECT_TRUE(ids.ok()) << ids.status().ToString();
    all.push_back(*ids);
  }
  return all;
}

TEST(Encode, NothingIsAddedInFrontOfATextThatGoesOn) {
  TokenizerParts parts;
  parts.added_tokens = "[" + AddedToken(8, "<r>") + "]";
  parts.normalizer = R"({"type":"Prepend","prepend":"x"})";
  EXPECT_EQ(Starts(parts, "a<r>b"), (std::vector<Ids>{{7, 0, 8, 7, 1}, {7, 0, 8, 7, 1}, {0, 8, 7, 1}}));
  EXPECT_EQ(Starts(parts, "<r>b"), (std::vector<Ids>{{8, 7, 1}, {8, 7, 1}, {8, 7, 1}}));
  parts.normalizer = "null";
  parts.pre_tokenizer = R"({"type":"Metaspace","replacement":"x","prepend_scheme":"always"})";
  EXPECT_EQ(Starts(parts, "a<r>b"), (std::vector<Ids>{{7, 0, 8, 7, 1}, {7, 0, 8, 7, 1}, {0, 8, 7, 1}}));
  parts.pre_tokenizer = R"({"type":"Metaspace","replacement":"x","prepend_scheme":"first"})";
  EXPECT_EQ(Starts(parts, "a<r>b"), (std::vector<Ids>{{7, 0, 8, 1}, {0, 8, 1}, {0, 8, 1}}));
  parts.vocab = R"({"a":0,"b":1,"c":2,"ab":3,"abc":4,"bc":5," ":6,"\u0120":7})";
  parts.pre_tokenizer =
      R"({"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true})";
  EXPECT_EQ(Starts(parts, "a<r>b"), (std::vector<Ids>{{7, 0, 8, 7, 1}, {7, 0, 8, 7, 1}, {0, 8, 7, 1}}));
}

TEST(FindControl, HasThePlacesOfTheTokensThatEncodeFinds) {
  TokenizerParts parts;
  parts.added_tokens = "[" + AddedToken(8, "<r>", "special") + "," + AddedToken(3, "ab") + "]";
  const auto tokenizer = Make(parts);
  MarkedText text = MarkedText::Own("ab<r>");
  text.AppendInput("<r>");
  text += "<r>";
  const auto found = tokenizer->FindControl(text);
  ASSERT_TRUE(found && found->size() == 2u) << "not what came from the request";
  EXPECT_EQ(found->at(1).begin, 8u);
  EXPECT_EQ(found->at(1).end, 11u);
  EXPECT_EQ(found->at(1).id, 8);
  EXPECT_FALSE(tokenizer->FindControl(MarkedText::Own("\xFF"))) << "not UTF-8";
  parts.added_tokens = "[" + AddedToken(8, "<r>", "special normalized") + "]";
  EXPECT_FALSE(Make(parts)->FindControl(text)) << "searched in normalised text";
}

}  // namespace
}  // namespace prefixd
