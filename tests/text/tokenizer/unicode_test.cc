#include "text/tokenizer/unicode.h"

#include <gtest/gtest.h>

#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/normal_forms.h"

namespace prefixd {
namespace {

TEST(Utf8, RepairsMaximalSubparts) {
  const std::string r(kReplacementCharacter);
  // Unicode standard, tables 3-8 to 3-11.
  EXPECT_EQ(RepairUtf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(RepairUtf8("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(RepairUtf8("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(RepairUtf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");
  EXPECT_EQ(RepairUtf8("\xF0\x9F\x98"), r);
  EXPECT_EQ(RepairUtf8("a\xC3\xA9漢\xF0\x9F\x98\x80"), "a\xC3\xA9漢\xF0\x9F\x98\x80");
}

TEST(Utf8, EveryCodePointRoundTrips) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    AppendUtf8(&text, c);
    ASSERT_EQ(Utf8At(text.data()), c);
    ASSERT_EQ(Utf8Length(text[0]), text.size());
    ASSERT_TRUE(IsValidUtf8(text));
    for (size_t n = 1; n < text.size(); ++n) {
      ASSERT_EQ(FirstUtf8Part(text.substr(0, n)).kind, Utf8Part::kIncomplete);
    }
  }
}

TEST(Nfc, ComposesInCanonicalOrder) {
  EXPECT_EQ(Normalize(NormalForm::kNfc, "e\xCC\x81"), "\xC3\xA9");
  EXPECT_EQ(Normalize(NormalForm::kNfc, "\xE2\x84\xAB"), "\xC3\x85") << "angstrom sign";
  EXPECT_EQ(Normalize(NormalForm::kNfc, "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8"), "\xEA\xB0\x81") << "Hangul";
  EXPECT_EQ(Normalize(NormalForm::kNfc, "q\xCC\x87\xCC\xA3"), "q\xCC\xA3\xCC\x87")
      << "marks are sorted by class";
  EXPECT_EQ(Normalize(NormalForm::kNfc, "\xE1\xBA\x9B\xCC\xA3"), "\xE1\xBA\x9B\xCC\xA3");
  EXPECT_EQ(Normalize(NormalForm::kNfc, "\xE0\xA4\x95\xE0\xA4\xBC"), "\xE0\xA4\x95\xE0\xA4\xBC")
      << "excluded from composition";
  EXPECT_EQ(Normalize(NormalForm::kNfc, std::string_view("a\0b", 3)), std::string_view("a\0b", 3));
}

TEST(Nfc, LongRunsOfMarksAreSorted) {
  std::string marks = "a", low, high;
  for (int i = 0; i < 100000; ++i) {
    marks += "\xCC\x82\xCC\x96";  // classes 230, 220
    low += "\xCC\x96";
    high += "\xCC\x82";
  }
  // a and U+0302 compose; the lower class comes first.
  EXPECT_EQ(Normalize(NormalForm::kNfc, marks), "\xC3\xA2" + low + high.substr(2));
}

TEST(NormalForms, CompatibilityAndDecomposition) {
  EXPECT_EQ(Normalize(NormalForm::kNfd, "\u00e9\uac01"), "e\u0301\u1100\u1161\u11a8");
  EXPECT_EQ(Normalize(NormalForm::kNfkc, "\ufb01\u00b2\u3000e\u0301"), "fi2 \u00e9");
  EXPECT_EQ(Normalize(NormalForm::kNfkd, "\u1e9b\u0323"), "s\u0323\u0307");
}

TEST(NormalForms, KnowNoMarkThatCameAfterUnicode10) {
  EXPECT_EQ(Normalize(NormalForm::kNfc, "a\u0301\u1abf"), "\u00e1\u1abf");
  EXPECT_EQ(Normalize(NormalForm::kNfd, "\u1abf\u0334"), "\u1abf\u0334");
  EXPECT_EQ(Normalize(NormalForm::kNfc, "e\u1abf\u0301"), "e\u1abf\u0301") << "it stands between";
  EXPECT_EQ(Normalize(NormalForm::kNfkc, "\u32ff"), "\u32ff");
}

TEST(LowerCase, LooksAtEveryLetterAlone) {
  EXPECT_EQ(LowerCase("AbC\u0130\u03a3\u1e9e"), "abci\u0307\u03c3\u00df");
  EXPECT_EQ(LowerCase("\U00016ea0\ua7cb"), "\U00016ebb\u0264") << "newer than the library's tables";
}

TEST(WordCharacter, IsUnicodes) {
  for (const char32_t c :
       {U'a', U'_', U'9', U'\u00e9', U'\u0303', U'\u24b6', U'\u203f', U'\u200d', U'\u2167', U'\u0897'}) {
    EXPECT_TRUE(IsWordCharacter(c)) << static_cast<uint32_t>(c);
  }
  for (const char32_t c : {U' ', U'-', U'\u00b2', U'\u00bd', U'\u2028', U'\u20ac'}) {
    EXPECT_FALSE(IsWordCharacter(c)) << static_cast<uint32_t>(c);
  }
}

TEST(ByteLevelAlphabet, SpellsEveryByteOnce) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  const std::string spelled = SpellBytes(all);
  EXPECT_EQ(UnspellBytes(spelled), all);
  EXPECT_EQ(SpellBytes(" \n~"), "ĠĊ~");
  EXPECT_EQ(UnspellBytes("Ġ a"), std::nullopt) << "a space is not in the alphabet";
  EXPECT_EQ(UnspellBytes("\xC5\x84"), std::nullopt) << "U+0144 is one past its end";
}

}  // namespace
}  // namespace prefixd
