// Compares the scanners with the regex engine and the engine with Oniguruma, and checks the behaviours of
// Split.
#include "text/tokenizer/pretokenizer.h"

#include <gtest/gtest.h>

#include "base/prng.h"
#include "tests/support/rounds.h"
#include "text/tokenizer/unicode.h"

namespace prefixd {
namespace {

std::vector<TextRange> FindAll(const Regex& regex, std::string_view text) {
  std::vector<TextRange> matches;
  const Status status = regex.ForEachMatch(text, [&](const TextRange& match) { matches.push_back(match); });
  EXPECT_TRUE(status.ok()) << status.ToString();
  return matches;
}

std::vector<std::string> Matches(std::string_view pattern, std::string_view text) {
  auto regex = Regex::Create(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status().ToString();
  std::vector<std::string> out;
  if (!regex.ok()) return out;
  for (const TextRange& range : FindAll(*regex, text))
    out.emplace_back(text.substr(range.begin, range.end - range.begin));
  return out;
}
using Strings = std::vector<std::string>;

bool Matches1(const Regex& regex, char32_t point) {
  std::string text;
  AppendUtf8(&text, point);
  return !FindAll(regex, text).empty();
}

TEST(Regex, ClassesAreThoseOfTheScannersForEveryCodePoint) {
  const auto letter = Regex::Create(R"(\p{L})"), number = Regex::Create(R"([\p{N}])"),
             space = Regex::Create(R"(\s)"), other = Regex::Create(R"([^\s\p{L}\p{N}])");
  ASSERT_TRUE(letter.ok() && number.ok() && space.ok() && other.ok());
  for (char32_t c = 0; c < 0x110000; c += testing_support::kSanitized ? 17 : 1) {
    if (c >= 0xD800 && c < 0xE000) continue;
    const Regex& own = ClassOf(c) == CodePointClass::kLetter   ? *letter
                       : ClassOf(c) == CodePointClass::kNumber ? *number
                       : ClassOf(c) == CodePointClass::kSpace  ? *space
                                                               : *other;
    ASSERT_TRUE(Matches1(own, c)) << std::hex << static_cast<uint32_t>(c);
    ASSERT_EQ(Matches1(*other, c), ClassOf(c) == CodePointClass::kOther)
        << std::hex << static_cast<uint32_t>(c);
  }
}

TEST(Regex, MatchesAsOnigurumaDoes) {
  EXPECT_EQ(Matches(R"(\s+)",
                    "a\xC2\x85"
                    "b"),
            (Strings{"\xC2\x85"}))
      << "U+0085 is white space";
  EXPECT_EQ(Matches(R"(\s+)",
                    "a\xE1\xA0\x8E"
                    "b"),
            (Strings{}))
      << "U+180E is not";
  EXPECT_EQ(Matches(R"([^\s])", "\xE1\xA0\x8E \xC2\xA0"), (Strings{"\xE1\xA0\x8E"}));
  EXPECT_EQ(Matches(R"(^a)", "a\na ba"), (Strings{"a", "a"})) << "^ stands at every line";
  EXPECT_EQ(Matches(R"(a$)", "ba\na"), (Strings{"a", "a"}));
  EXPECT_EQ(Matches(R"(.)", "a\n\r"), (Strings{"a", "\r"}));
  EXPECT_EQ(Matches(R"((?i:'s))", "'s 'S '\xC5\xBF"), (Strings{"'s", "'S", "'\xC5\xBF"}))
      << "U+017F folds to s";
  EXPECT_EQ(Matches(R"(\v|\d)", "\x0B\x0C\xD9\xA3"), (Strings{"\x0B", "\xD9\xA3"}));
  EXPECT_EQ(Matches(R"(\P{L}|\p{^L}|\D)", "a1"), (Strings{"a", "1"}));
  EXPECT_EQ(Matches(R"(\u00e9|\x{1F600})", "\xC3\xA9\xF0\x9F\x98\x80"),
            (Strings{"\xC3\xA9", "\xF0\x9F\x98\x80"}));
  EXPECT_EQ(Matches(R"([一-龥]+)", "a漢字b"), (Strings{"漢字"}));
  EXPECT_EQ(Matches(R"(\p{Lo}+)", "\xF0\xB1\x8D\x90"), (Strings{"\xF0\xB1\x8D\x90"}))
      << "U+31350 came with Unicode 15";
  EXPECT_EQ(Matches(R"(\w+)", "a\u00b2b_1 \u00bd-\u24b6"), (Strings{"a\u00b2b_1", "\u00bd", "\u24b6"}));
  EXPECT_EQ(Matches(R"([\w]+)", "a\u00b2b \u00bd-\u24b6"), (Strings{"a", "b", "\u24b6"}))
      << "in a class the numbers of Latin-1 are not of a word";
  EXPECT_EQ(Matches(R"(\W)", "a-\u00b2"), (Strings{"-"}));
  EXPECT_EQ(Matches(R"(\bb\B.)", "ab bc b"), (Strings{"bc"}));
  EXPECT_EQ(Matches(R"(\h+|\p{Han}|\P{^Hiragana})", "Fg0 \U00031350\u3042"),
            (Strings{"F", "0", "\U00031350", "\u3042"}));
  EXPECT_EQ(Matches(R"(b*)", "aabbcab"), (Strings{"", "", "bb", "", "b"}))
      << "an empty match after a match is none";
}

TEST(Regex, RefusesWhatItCannotPromise) {
  for (const char* pattern :
       {R"(\R)",      R"(\X)",     R"(\p{Kawi})",   R"(\p{Alpha})",   "(?m:a.b)", R"([\W])", R"((?i:\w))",
        R"([\b])",    "(?i)a",     "(?<n>a)",       "(a)\\1",         "[[a]b]",   "[a&&b]",  "[[:alpha:]]",
        R"([\P{L}])", "(?i:stra)", "(?i:\xC3\xA9)", R"((?i:\p{Lu}))", "a{,3}",    "a{2}+",   R"(\xe9)",
        R"([\s-z])",  R"([!-\d])", R"(\K)",         R"(\C)",          "[]a]"}) {
    const auto regex = Regex::Create(pattern);
    ASSERT_FALSE(regex.ok()) << pattern;
    EXPECT_EQ(regex.status().code(), Code::kUnsupported) << regex.status().ToString();
    EXPECT_NE(regex.status().message().find(pattern), std::string::npos) << regex.status().message();
  }
  for (const char* pattern : {"(a", "a)", "[a", "a\\", "*a", "\\u12", "\xFF"}) {
    const auto regex = Regex::Create(pattern);
    ASSERT_FALSE(regex.ok()) << pattern;
    EXPECT_EQ(regex.status().code(), Code::kCorrupt) << regex.status().ToString();
  }
}

TEST(Regex, GivesUpOnPatternsThatExplode) {
  const auto regex = Regex::Create("(?:a+)+(?:b|c)");
  ASSERT_TRUE(regex.ok()) << regex.status().ToString();
  const Status status =
      regex->ForEachMatch(std::string(64, 'a'), [](const TextRange&) { FAIL() << "a match"; });
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("(?:a+)+(?:b|c)"), std::string::npos) << status.message();
}

std::string RandomText(Prng& random) {
  static const std::vector<std::string> parts = {"a",
                                                 "s",
                                                 "T",
                                                 "re",
                                                 "LL",
                                                 "'",
                                                 "'",
                                                 "1",
                                                 "23",
                                                 " ",
                                                 " ",
                                                 "  ",
                                                 "\n",
                                                 "\r",
                                                 "\t",
                                                 ".",
                                                 ",!",
                                                 "-",
                                                 "\xC5\xBF",
                                                 "\xC3\xA9",
                                                 "e\xCC\x81",
                                                 "漢",
                                                 "字",
                                                 "\xF0\x9F\x98\x80",
                                                 "\xC2\xA0",
                                                 "\xC2\x85",
                                                 "\xE1\xA0\x8E",
                                                 "\xE3\x80\x80",
                                                 "\xC2\xB2",
                                                 "٣",
                                                 "Ⅷ",
                                                 "\xE0\xA4\x85\xE0\xA5\x8D",
                                                 "\xF0\xB1\x8D\x90",
                                                 "\xE2\x80\x8B",
                                                 std::string(1, '\0'),
                                                 "Ġ",
                                                 "\xE2\x80\xA8"};
  std::string text;
  for (int64_t n = random.Between(0, 24); n > 0; --n) text += parts[random.Below(parts.size())];
  return text;
}

TEST(Scanner, FindsWhatTheRegexFinds) {
  for (const KnownPattern pattern : {KnownPattern::kGpt2, KnownPattern::kLlama3, KnownPattern::kQwen2}) {
    EXPECT_EQ(RecognisePattern(KnownPatternText(pattern)), pattern);
    const auto regex = Regex::Create(KnownPatternText(pattern));
    ASSERT_TRUE(regex.ok()) << regex.status().ToString();
    Prng random(static_cast<uint64_t>(pattern));
    for (int round = 0; round < 20000; ++round) {
      const std::string text = RandomText(random);
      std::vector<TextRange> scanned;
      ScanKnownPattern(pattern, text, {0, text.size()}, &scanned);
      ASSERT_EQ(scanned, FindAll(*regex, text)) << "round " << round << ": " << testing::PrintToString(text);
      size_t end = 0;
      for (const TextRange& range : scanned) {
        ASSERT_EQ(range.begin, end);
        end = range.end;
      }
      ASSERT_EQ(end, text.size());
    }
  }
  EXPECT_EQ(RecognisePattern(R"(\p{N})"), std::nullopt);
}

Strings Pieces(const std::vector<PreTokenizerSpec>& stages, std::string_view text, bool raw_bytes = false) {
  const auto pre_tokenizer = PreTokenizer::Create(stages, raw_bytes);
  EXPECT_TRUE(pre_tokenizer.ok()) << pre_tokenizer.status().ToString();
  PreTokenized out;
  const Status status = pre_tokenizer->Run(text, TextStart::kInput, &out);
  EXPECT_TRUE(status.ok()) << status.ToString();
  Strings pieces;
  for (const TextRange& range : out.pieces) pieces.emplace_back(out.Piece(range));
  return pieces;
}

PreTokenizerSpec SplitBy(TextPattern pattern, SplitBehavior behavior, bool invert = false) {
  return {.kind = PreTokenizerSpec::kSplit,
          .pattern = std::move(pattern),
          .behavior = behavior,
          .invert = invert};
}

// Expectations of the tests below: tokenizers 0.23.3.
TEST(PreTokenizer, BehavioursOfSplit) {
  const TextPattern dash{.is_regex = false, .text = "-"};
  const std::string_view text = "the-final--countdown-";
  using enum SplitBehavior;
  EXPECT_EQ(Pieces({SplitBy(dash, kRemoved)}, text), (Strings{"the", "final", "countdown"}));
  EXPECT_EQ(Pieces({SplitBy(dash, kIsolated)}, text),
            (Strings{"the", "-", "final", "-", "-", "countdown", "-"}));
  EXPECT_EQ(Pieces({SplitBy(dash, kMergedWithPrevious)}, text),
            (Strings{"the-", "final-", "-", "countdown-"}));
  EXPECT_EQ(Pieces({SplitBy(dash, kMergedWithNext)}, text),
            (Strings{"the", "-final", "-", "-countdown", "-"}));
  EXPECT_EQ(Pieces({SplitBy(dash, kContiguous)}, text),
            (Strings{"the", "-", "final", "--", "countdown", "-"}));
  const TextPattern word{.is_regex = true, .text = R"([a-z]+)"};
  EXPECT_EQ(Pieces({SplitBy(word, kRemoved, /*invert=*/true)}, text), (Strings{"the", "final", "countdown"}));
  EXPECT_EQ(Pieces({SplitBy({true, "b*"}, kIsolated)}, "aabbcab"), (Strings{"a", "a", "bb", "c", "a", "b"}));
  EXPECT_EQ(Pieces({SplitBy(dash, kIsolated)}, ""), (Strings{}));
}

TEST(PreTokenizer, Digits) {
  PreTokenizerSpec digits{.kind = PreTokenizerSpec::kDigits};
  EXPECT_EQ(Pieces({digits}, "Hey 123½ you"), (Strings{"Hey ", "123½", " you"}));
  digits.individual_digits = true;
  EXPECT_EQ(Pieces({digits}, "Hey 12½"), (Strings{"Hey ", "1", "2", "½"}));
}

TEST(PreTokenizer, Metaspace) {
  PreTokenizerSpec meta{};
  meta.kind = PreTokenizerSpec::kMetaspace;
  meta.replacement = "\u2581";
  meta.prepend = PrependScheme::kAlways;
  meta.split = true;
  EXPECT_EQ(Pieces({meta}, "Hey  you"), (Strings{"\u2581Hey", "\u2581", "\u2581you"}));
  EXPECT_EQ(Pieces({meta}, " Hey"), (Strings{"\u2581Hey"})) << "a space at the start is the mark";
  EXPECT_EQ(Pieces({SplitBy({false, "-"}, SplitBehavior::kIsolated), meta}, "a-b"),
            (Strings{"\u2581a", "\u2581-", "\u2581b"}));
  meta.prepend = PrependScheme::kFirst;
  EXPECT_EQ(Pieces({SplitBy({false, "-"}, SplitBehavior::kIsolated), meta}, "a-b"),
            (Strings{"\u2581a", "-", "b"}));
  meta.split = false;
  EXPECT_EQ(Pieces({meta}, "Hey you"), (Strings{"\u2581Hey\u2581you"}));
  meta.prepend = PrependScheme::kNever;
  EXPECT_EQ(Pieces({meta}, "Hey you"), (Strings{"Hey\u2581you"}));
}

TEST(PreTokenizer, WordsAndPunctuation) {
  const std::string_view text = "it's  $5,\u00bd\u2014x_y\n";
  EXPECT_EQ(Pieces({{.kind = PreTokenizerSpec::kWhitespace}}, text),
            (Strings{"it", "'", "s", "$", "5", ",\u00bd\u2014", "x_y"}));
  EXPECT_EQ(Pieces({{.kind = PreTokenizerSpec::kWhitespaceSplit}}, text),
            (Strings{"it's", "$5,\u00bd\u2014x_y"}));
  PreTokenizerSpec punctuation{.kind = PreTokenizerSpec::kPunctuation, .behavior = SplitBehavior::kIsolated};
  EXPECT_EQ(Pieces({punctuation}, text),
            (Strings{"it", "'", "s  ", "$", "5", ",", "\u00bd", "\u2014", "x", "_", "y\n"}));
}

TEST(PreTokenizer, ByteLevel) {
  PreTokenizerSpec bytes{.kind = PreTokenizerSpec::kByteLevel, .use_regex = true};
  EXPECT_EQ(Pieces({bytes}, "Hi you\n"), (Strings{"Hi", "Ġyou", "Ċ"}));
  EXPECT_EQ(Pieces({bytes}, "Hi you\n", /*raw_bytes=*/true), (Strings{"Hi", " you", "\n"}));
  bytes.add_prefix_space = true;
  EXPECT_EQ(Pieces({bytes}, "Hi"), (Strings{"ĠHi"}));
  EXPECT_EQ(Pieces({bytes}, " Hi"), (Strings{"ĠHi"}));
  bytes.use_regex = false;
  EXPECT_EQ(Pieces({SplitBy({false, "-"}, SplitBehavior::kIsolated), bytes}, "a- b"),
            (Strings{"Ġa", "Ġ-", "Ġb"}));
  // Later stages see the byte-level alphabet, where byte 0xB2 is a number.
  const PreTokenizerSpec digits{.kind = PreTokenizerSpec::kDigits};
  EXPECT_EQ(Pieces({bytes, digits}, "\xC4\xB2"), (Strings{"ĠÄ", "²"}));
}

}  // namespace
}  // namespace prefixd
