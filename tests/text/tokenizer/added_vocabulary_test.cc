// Expected values come from tokenizers 0.23.3.
#include "text/tokenizer/added_vocabulary.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/text/tokenizer/parts.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {
namespace {

using testing_support::AddedToken;
using testing_support::TokenizerParts;
using Ids = std::vector<TokenId>;

AddedTokenSpec Token(const std::string& content, bool special = false, bool normalized = false) {
  AddedTokenSpec token;
  token.content = content;
  token.special = special;
  token.normalized = normalized;
  return token;
}

class AddTokensTest : public ::testing::Test {
 protected:
  // Parses the parts and adds the tokens.
  Status Add(const std::vector<AddedTokenSpec>& tokens) {
    auto spec = ParseTokenizerJson(parts_.Json());
    EXPECT_TRUE(spec.ok()) << spec.status().ToString();
    spec_ = *std::move(spec);
    PREFIXD_RETURN_IF_ERROR(AddTokens(tokens, &spec_));
    auto tokenizer = Tokenizer::FromSpec(spec_);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
    tokenizer_ = *std::move(tokenizer);
    return Status::Ok();
  }
  Ids Encode(std::string_view text) { return *tokenizer_->Encode(text, {}); }

  TokenizerParts parts_;  // a vocabulary of 8 tokens
  TokenizerSpec spec_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(AddTokensTest, NewOnesGetTheNextIdsWhateverTheySay) {
  parts_.added_tokens = "[" + AddedToken(8, "<s>") + "]";
  AddedTokenSpec token = Token("<t>");
  token.id = 77;
  ASSERT_TRUE(Add({token, Token("<u>"), Token("")}).ok());
  EXPECT_EQ(Encode("<s><t><u>"), (Ids{8, 9, 10}));
  EXPECT_EQ(tokenizer_->vocab_size(), 11);
}

TEST_F(AddTokensTest, KnownOnesKeepTheirIds) {
  parts_.added_tokens = "[" + AddedToken(8, "<s>") + "]";
  ASSERT_TRUE(Add({Token("abc"), Token("<s>"), Token("<t>")}).ok());
  EXPECT_EQ(Encode("abc<s><t>"), (Ids{4, 8, 9}));
}

TEST_F(AddTokensTest, TheLaterFlagsCount) {
  parts_.added_tokens = "[" + AddedToken(8, "<s>", "lstrip single_word") + "]";
  AddedTokenSpec token = Token("<s>");
  token.rstrip = true;
  ASSERT_TRUE(Add({token}).ok());
  EXPECT_EQ(Encode("a <s> b"), (Ids{0, 6, 8, 1}));
  EXPECT_EQ(Encode("a<s>b"), (Ids{0, 8, 1}));
}

TEST_F(AddTokensTest, SpecialOnesStaySpecial) {
  parts_.added_tokens = "[" + AddedToken(8, "<s>", "special") + "," + AddedToken(9, "<t>") + "]";
  ASSERT_TRUE(Add({Token("<s>", /*special=*/false), Token("<t>", /*special=*/true)}).ok());
  EXPECT_TRUE(tokenizer_->IsSpecial(8));
  EXPECT_TRUE(tokenizer_->IsSpecial(9));
}

TEST_F(AddTokensTest, OnesThatWereNormalizedStayDecodedSo) {
  parts_.normalizer = R"({"type":"Replace","pattern":{"String":"c"},"content":"b"})";
  parts_.added_tokens = "[" + AddedToken(8, "xc", "normalized") + "]";
  ASSERT_TRUE(Add({Token("xc", false, /*normalized=*/false)}).ok());
  EXPECT_EQ(Encode("xcxb"), (Ids{8, 7, 1}));
  EXPECT_EQ(tokenizer_->Decode(Ids{8}, false), "xb");
}

TEST_F(AddTokensTest, TheSameTextTwiceInAFileIsOneToken) {
  parts_.added_tokens = "[" + AddedToken(8, "<s>", "lstrip") + "," + AddedToken(8, "<s>", "rstrip") + "]";
  ASSERT_TRUE(Add({}).ok());
  EXPECT_EQ(Encode("a <s> b"), (Ids{0, 6, 8, 1}));
}

TEST_F(AddTokensTest, IdsOfAFileFollowTheSizeOfTheVocabulary) {
  parts_.vocab = R"({"a":0,"b":1,"c":9})";  // three tokens, so the next id is 3
  parts_.added_tokens = "[" + AddedToken(9, "c") + "," + AddedToken(3, "<s>") + "]";
  ASSERT_TRUE(Add({}).ok());
  EXPECT_EQ(Encode("ac<s>"), (Ids{0, 9, 3}));
  EXPECT_TRUE(Add({Token("<t>")}).ok()) << "after one with the id 9";
  EXPECT_EQ(Encode("<t>"), (Ids{10}));
}

TEST_F(AddTokensTest, AnIdThatIsTakenIsRefused) {
  parts_.vocab = R"({"a":0,"b":1,"c":3})";
  const Status status = Add({Token("<s>")});
  EXPECT_EQ(status.code(), Code::kUnsupported);
  EXPECT_NE(status.message().find("\"<s>\""), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("id would be 3"), std::string::npos) << status.message();
}

TEST_F(AddTokensTest, ATextThatIsTooLongIsRefused) {
  EXPECT_EQ(Add({Token(std::string(kMaxAddedTokenBytes + 1, 'a'))}).code(), Code::kUnsupported);
  EXPECT_TRUE(Add({Token(std::string(kMaxAddedTokenBytes, 'a'))}).ok());
}

}  // namespace
}  // namespace prefixd
