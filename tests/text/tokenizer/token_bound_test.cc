// Checks MaxBytesPerToken on random texts, and the tokenizers for which there is no bound.
#include "text/tokenizer/token_bound.h"

#include <gtest/gtest.h>

#include "base/prng.h"
#include "text/tokenizer/byte_level.h"

namespace prefixd {
namespace {

// Byte-level, with a token for every byte and one token of three bytes.
TokenizerSpec ByteLevelSpec() {
  TokenizerSpec spec;
  for (int byte = 0; byte < 256; ++byte)
    spec.model.vocab.emplace_back(SpellByte(static_cast<unsigned char>(byte)), byte);
  spec.model.vocab.emplace_back("the", 256);
  spec.added.push_back({.id = 257, .content = "<|end|>", .special = true});
  spec.pre_tokenizers.push_back({.kind = PreTokenizerSpec::kByteLevel});
  return spec;
}

TEST(TokenizerBoundTest, TheLongestTokenTimesWhatNormalizersTakeAway) {
  TokenizerSpec spec = ByteLevelSpec();
  EXPECT_EQ(MaxBytesPerToken(spec), 7u);
  spec.model.vocab.emplace_back("longer than that", 258);
  EXPECT_EQ(MaxBytesPerToken(spec), 16u);
  spec.normalizers.push_back({.kind = NormalizerSpec::kPrepend, .content = "_"});
  EXPECT_EQ(MaxBytesPerToken(spec), 16u);
  spec.normalizers.push_back(
      {.kind = NormalizerSpec::kReplace, .pattern = {.is_regex = false, .text = "12345"}, .content = "ab"});
  EXPECT_EQ(MaxBytesPerToken(spec), 48u);
  spec.normalizers.push_back({.kind = NormalizerSpec::kNfc});
  EXPECT_EQ(MaxBytesPerToken(spec), 48u * 9);
  spec.normalizers.insert(spec.normalizers.end(), 20, {.kind = NormalizerSpec::kNfkc});
  EXPECT_EQ(MaxBytesPerToken(spec), 0u) << "no use any more";
}

TEST(TokenizerBoundTest, NothingIsPromisedWhereTextMayVanish) {
  const auto changed = [](auto change) {
    TokenizerSpec spec = ByteLevelSpec();
    change(spec);
    return MaxBytesPerToken(spec);
  };
  EXPECT_EQ(changed([](auto& spec) { spec.added[0].rstrip = true; }), 0u);
  EXPECT_EQ(changed([](auto& spec) { spec.added[0].lstrip = true; }), 0u);
  EXPECT_EQ(changed([](auto& spec) { spec.model.vocab.erase(spec.model.vocab.begin() + 7); }), 0u);
  EXPECT_EQ(changed([](auto& spec) { spec.normalizers.push_back({.kind = NormalizerSpec::kStrip}); }), 0u);
  EXPECT_EQ(
      changed([](auto& spec) {
        spec.normalizers.push_back(
            {.kind = NormalizerSpec::kReplace, .pattern = {.is_regex = false, .text = " "}, .content = ""});
      }),
      0u);
  EXPECT_EQ(changed([](auto& spec) {
              spec.pre_tokenizers.insert(spec.pre_tokenizers.begin(),
                                         {.kind = PreTokenizerSpec::kWhitespaceSplit});
            }),
            0u);
  EXPECT_EQ(changed([](auto& spec) {
              spec.pre_tokenizers.insert(spec.pre_tokenizers.begin(), {.kind = PreTokenizerSpec::kSplit,
                                                                       .behavior = SplitBehavior::kRemoved});
            }),
            0u);
}

TEST(TokenizerBoundTest, UnknownTextCountsWhereEachCharacterHasItsToken) {
  TokenizerSpec spec;
  spec.model.vocab = {{"a", 0}, {"<unk>", 1}};
  EXPECT_EQ(MaxBytesPerToken(spec), 0u) << "what is unknown is left out";
  spec.model.unk_token = "<unk>";
  EXPECT_EQ(MaxBytesPerToken(spec), 5u);
  spec.model.fuse_unk = true;
  EXPECT_EQ(MaxBytesPerToken(spec), 0u) << "one token for any number of characters";
  spec.model.byte_fallback = true;
  EXPECT_EQ(MaxBytesPerToken(spec), 0u) << "without the tokens of bytes";
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    spec.model.vocab.emplace_back(name, 2 + byte);
  }
  EXPECT_EQ(MaxBytesPerToken(spec), 6u);
}

}  // namespace
}  // namespace prefixd
