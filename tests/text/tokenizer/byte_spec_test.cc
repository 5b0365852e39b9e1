#include "text/tokenizer/byte_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "text/tokenizer/tokenizer.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;

TEST(ByteTokenizerSpec, EveryByteIsAToken) {
  const auto tokenizer = *Tokenizer::FromSpec(ByteTokenizerSpec(300));
  EXPECT_EQ(tokenizer->vocab_size(), 300);
  EXPECT_THAT(*tokenizer->Encode("Hi, t299", {}), ElementsAre('H', 'i', ',', ' ', 't', '2', '9', '9'));
  std::string text;
  for (int c = 1; c < 0x800; ++c) {
    if (c < 0x80) {
      text += static_cast<char>(c);
    } else {
      text += static_cast<char>(0xC0 | (c >> 6));
      text += static_cast<char>(0x80 | (c & 0x3F));
    }
  }
  const std::vector<TokenId> ids = *tokenizer->Encode(text, {});
  ASSERT_EQ(ids.size(), text.size());
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(ids[i], static_cast<unsigned char>(text[i])) << i;
  EXPECT_EQ(tokenizer->Decode(ids, false), text);
}

TEST(ByteTokenizerSpec, OtherIdsAreShown) {
  const auto tokenizer = *Tokenizer::FromSpec(ByteTokenizerSpec(300));
  EXPECT_EQ(tokenizer->Decode(std::vector<TokenId>{'a', 256, 299}, true), "a t256 t299");
}

TEST(ByteTokenizerSpec, PreconditionsAreChecked) {
  EXPECT_DEATH((void)ByteTokenizerSpec(255), "255");
  EXPECT_DEATH((void)ByteTokenizerSpec(kMaxTokenId + 2), std::to_string(kMaxTokenId + 2));
}

}  // namespace
}  // namespace prefixd
