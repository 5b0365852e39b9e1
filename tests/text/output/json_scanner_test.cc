#include "text/output/json_scanner.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <string>

#include "base/prng.h"

namespace prefixd {
namespace {

// Boost's opinion. Its depth limit is another one, so texts here are shallow.
bool BoostParses(const std::string& text) {
  boost::system::error_code error;
  (void)boost::json::parse(text, error);
  return !error;
}

TEST(JsonScanner, AgreesWithAParserOnRandomTexts) {
  constexpr std::string_view kWords[] = {"{",    "}",       "[",     "]",   ",", ":",  "\"", "\"a\"",
                                         "\\",   "\\u00e9", "0",     "1",   "-", ".5", "e3", "E+1",
                                         "true", "null",    "false", "tru", " ", "\n"};
  Prng prng(1);
  int valid = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string text;
    for (uint64_t words = 1 + prng.Below(7); words > 0; --words)
      text += kWords[prng.Below(std::size(kWords))];
    ASSERT_EQ(IsJson(text), BoostParses(text)) << text;
    valid += IsJson(text) ? 1 : 0;
  }
  EXPECT_GT(valid, 1000);
}

TEST(JsonScanner, FindsTheLastByte) {
  const std::string object = R"({"a": [1, {"}": "]\""}, -0.5e+3], "b": {}})";
  JsonScanner scanner;
  for (size_t i = 0; i + 1 < object.size(); ++i)
    ASSERT_EQ(scanner.Push(object[i]), JsonScanner::Result::kMore) << i;
  EXPECT_EQ(scanner.Push(object.back()), JsonScanner::Result::kDone);
}

TEST(JsonScanner, RefusesWhatIsTooDeep) {
  const size_t most = JsonScanner::kMostDepth;
  EXPECT_TRUE(IsJson(std::string(most, '[') + std::string(most, ']')));
  EXPECT_FALSE(IsJson(std::string(most + 1, '[') + std::string(most + 1, ']')));
}

}  // namespace
}  // namespace prefixd
