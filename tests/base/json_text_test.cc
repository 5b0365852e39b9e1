// What ParseJsonObject says about text that is not JSON, and the numbers that it reads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <cstdlib>
#include <string>

#include "base/json_fault.h"
#include "base/json_fields.h"
#include "base/prng.h"
#include "base/utf8.h"

namespace prefixd {
namespace {

std::string Fault(std::string_view text) { return ParseJsonObject("f ", text).status().message(); }

TEST(JsonFault, SaysWhereItIsAndWhatIsExpected) {
  const struct {
    std::string text;
    const char* words;
  } cases[] = {
      {"{\"a\": 1,\n}", "at line 2, column 1, before '}': the comma before it is one too many"},
      {"{\"a\": [1, 2, ]}", "before ']}': the comma before it is one too many"},
      {"{\"a\": NaN}", "column 7, before 'NaN}': JSON has no NaN and no Infinity"},
      {"{\"a\": -Infinity}", "before 'Infinity}': JSON has no NaN and no Infinity"},
      {"{\"a\": True}", "expected true, in small letters"},
      {"{\"a\": None}", "expected null, which JSON has for None"},
      {"{\"a\": undefined}", "expected null or no such key"},
      {"{'a': 1}", "expected double quotes"},
      {"{\"a\": 'b'}", "before \"'b'}\": expected double quotes"},
      {"{\"a\": 'b', \"c\": 1}", "before ''b', \"c\": 1}': expected double quotes"},
      {"{a: 1}", "column 2, before 'a: 1}': expected a key in double quotes, or '}'"},
      {"{\"a\": 1, b: 2}", "expected a key in double quotes"},
      {"{\"a\" 1}", "expected ':' after the key"},
      {"{\"a\": \"b\" \"c\": 1}", "before '\"c\": 1}': expected ',' or '}'"},
      {"{\"a\": 100 1}", "before '1}': expected ',' or '}'"},
      {"{\"a\": [1 2]}", "before '2]}': expected ',' or ']'"},
      {"{\"a\": }", "expected a value"},
      {"{\"a\": 1 // b\n}", "JSON has no comments"},
      {"{\"a\": /* b */ 1}", "JSON has no comments"},
      {"{# b\n}", "JSON has no comments"},
      {"{\"a\": +1}", "a number begins with a digit or '-'"},
      {"{\"a\": .5}", "a number begins with a digit or '-'"},
      {"{\"a\": 01}", "a number must not begin with 0"},
      {"{\"a\": -01}", "a number must not begin with 0"},
      {"{\"a\": \"x\\ud800\"}", "column 15, before '\"}': a surrogate"},
      {"{\"a\": \"x\\udc00\"}", "a surrogate"},
      {"{\"a\": \"\\ud83dx\"}", "a surrogate"},
      {"{\"a\": \"\\d\"}", "a backslash must be written twice"},
      {"{\"a\": \"C:\\Users\"}", "a backslash must be written twice"},
      {"{\"a\": \"b\nc\"}", "line 1, column 9, at the end of the line: a line break or control character"},
      {"{\"a\": \"b\tc\"}", "before '\\u0009c\"}': a line break or control character"},
      {"{\"a\": \"\xFF\"}", "this is not UTF-8"},
      {"{\"a\": \"b", "column 9: it ends inside a string"},
      {"{\"a\": tru", "column 10: it ends too early"},
      {"{\"a\": [1,", "it ends too early"},
      {"{\"a\": 1} x", "before 'x': expected the end: there is more after the object"},
      {"{\"a\": 1}{\"a\": 1}", "there is more after the object"},
      {"prompt=hello", "line 1, column 1, before 'prompt=hello': expected an object, which begins with '{'"},
      {"--boundary", "expected an object"},
      {"", "line 1, column 1: it is empty"},
      {"\r\n", "it is empty"},
      {"\xEF\xBB\xBF{}", "column 1: it begins with a byte order mark; save it without one"},
      {std::string("\xFF\xFE{\0", 4), "it is UTF-16; save it as UTF-8"},
      {std::string("\xFE\xFF\0{", 4), "it is UTF-16; save it as UTF-8"},
      {"<html>", "column 1: it looks like HTML or XML, perhaps an error page"},
      {"{\"a\": " + std::string(40, '[') + std::string(40, ']') + "}", "too deep"},
  };
  for (const auto& [text, words] : cases) EXPECT_THAT(Fault(text), testing::HasSubstr(words)) << text;
}

// Whatever the text is, the words are one line that a terminal and a JSON document can show.
TEST(JsonFault, WordsAreOneLineOfText) {
  Prng random(7);
  constexpr std::string_view kPieces[] = {"{",    "}",       "[",    "]",   ",",    ":",  "\"",
                                          "\\",   "0",       "1e",   " ",   "a",    "\n", "\x1B",
                                          "\xFF", "\\ud83d", "\xC3", "NaN", "\x7F", "'"};
  for (int round = 0; round < 20000; ++round) {
    std::string text = round % 2 == 0 ? "{" : "";
    for (int pieces = static_cast<int>(random.Below(12)); pieces > 0; --pieces)
      text += kPieces[random.Below(std::size(kPieces))];
    const std::string words = DescribeJsonFault(text, random.Below(text.size() + 2), "error");
    ASSERT_TRUE(IsValidUtf8(words)) << text;
    ASSERT_EQ(words.find_first_of(std::string("\0\n\r\t\x1B\x7F", 6)), words.npos) << text;
    ASSERT_LT(words.size(), 260u) << text;
  }
}

TEST(PrintableLine, HasNoControlCharacters) {
  EXPECT_EQ(PrintableLine("a\x1B[2J\n\x7F\t\xFFz\u00fc"),
            "a\\u001b[2J\\u000a\\u007f\\u0009\xEF\xBF\xBDz\u00fc");
  EXPECT_EQ(PrintableLine(std::string_view("\0", 1)), "\\u0000");
}

TEST(JsonNumbers, AreTheNearestDoubles) {
  Prng random(11);
  int wrong_in_boost = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string digits = std::to_string(random.Below(9) + 1);
    for (int i = 0; i < 16; ++i) digits += static_cast<char>('0' + random.Below(10));
    const std::string text = (round % 3 == 0 ? "-0." : "0.") + digits + (round % 5 == 0 ? "e-7" : "");
    const auto object = ParseJsonObject("", "{\"a\": " + text + "}");
    ASSERT_TRUE(object.ok());
    ASSERT_EQ(object->at("a").as_double(), std::strtod(text.c_str(), nullptr)) << text;
    wrong_in_boost += boost::json::parse(text).as_double() != std::strtod(text.c_str(), nullptr) ? 1 : 0;
  }
  EXPECT_GT(wrong_in_boost, 0) << "then JsonBuilder need not read doubles itself";
}

TEST(JsonNumbers, LongIntegersKeepTheirDigitsWhereAsked) {
  constexpr std::string_view kKeys[] = {"kept"};
  const auto object =
      ParseJsonObject("",
                      R"({"kept": {"a": [18446744073709551616, {"b": -123456789012345678901}]},
                                          "c": 18446744073709551616, "inner": {"kept": [1e30, 7, 9.5, "x"]},
                                          "kept2": [18446744073709551616], "kept ": 18446744073709551616})",
                      {.verbatim = kKeys});
  ASSERT_TRUE(object.ok()) << object.status().message();
  const boost::json::array& kept = object->at("kept").at("a").as_array();
  EXPECT_EQ(kept[0].as_string(),
            "\xFF"
            "18446744073709551616");
  EXPECT_EQ(kept[1].at("b").as_string(),
            "\xFF"
            "-123456789012345678901");
  EXPECT_EQ(QuoteJson(kept[0]), "18446744073709551616");
  EXPECT_EQ(object->at("c").as_double(), 18446744073709551616.0);
  EXPECT_EQ(object->at("kept2").as_array()[0].as_double(), 18446744073709551616.0);
  EXPECT_EQ(object->at("inner").at("kept").as_array()[0].as_double(), 1e30);
  EXPECT_EQ(object->at("inner").at("kept").as_array()[1].as_int64(), 7);
  EXPECT_FALSE(ParseJsonObject("",
                               "{\"kept\": [\"\xFF"
                               "1\"]}",
                               {.verbatim = kKeys})
                   .ok());
}

TEST(JsonMessages, OfALongTextQuoteItsBegin) {
  const boost::json::value value(boost::json::string(1 << 20, 'a'));
  EXPECT_EQ(QuoteJson(value).size(), 80u);
}

}  // namespace
}  // namespace prefixd
