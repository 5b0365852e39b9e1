// Every getter of JsonFields with every error, and what the parser refuses.
#include "base/json_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <climits>
#include <cmath>
#include <utility>

#include "base/utf8.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kind = FieldError::Kind;

class JsonFieldsTest : public ::testing::Test {
 protected:
  const boost::json::object object_ = *ParseJsonObject("", R"({
      "null": null, "true": true, "one": 1, "three": 3.0, "half": 0.5, "big": 18446744073709551615,
      "huge": 1e999, "text": "a\"b", "list": [1, 2], "mixed": [1, "x"], "objects": [{"a": 1}, {"a": 2}],
      "object": {"a": "x"}})");
  const JsonFields fields_{object_, "f.json: "};
};

template <typename T>
void ExpectError(const Field<T>& field, Kind kind, const std::string& message) {
  ASSERT_FALSE(field.ok()) << message;
  EXPECT_EQ(field.error().kind, kind) << message;
  EXPECT_EQ(field.missing(), kind == Kind::kMissing) << message;
  EXPECT_EQ(field.error().ToStatus().message(), message);
  EXPECT_EQ(field.error().ToStatus().code(), Code::kInvalidArgument) << message;
}

TEST_F(JsonFieldsTest, GettersReturnValues) {
  EXPECT_TRUE(fields_.Bool("true").value());
  EXPECT_EQ(fields_.Integer("one", 1, 1).value(), 1);
  EXPECT_EQ(fields_.Integer("three", 0, 3, true).value(), 3);
  EXPECT_EQ(fields_.Number("half", 0.5, 0.5).value(), 0.5);
  EXPECT_EQ(fields_.Number("one", 0, 1).value(), 1);
  EXPECT_EQ(fields_.Number("big", 0, 1e20).value(), 0x1p64);
  EXPECT_EQ(fields_.String("text").value(), "a\"b");
  EXPECT_EQ(fields_.Array("list", 2).value()->size(), 2u);
  EXPECT_THAT(fields_.Integers("list", 1, 2, 2).value(), ElementsAre(1, 2));
  EXPECT_EQ(fields_.Object("object").value().String("a").value(), "x");
  EXPECT_EQ(fields_.Objects("objects", 2).value().at(1).Integer("a", 0, 9).value(), 2);
  EXPECT_EQ(fields_.PathOf("a"), "f.json: a");
  EXPECT_EQ(&fields_.object(), &object_);
}

TEST_F(JsonFieldsTest, NullAndAbsentAreMissing) {
  const std::pair<const char*, const char*> keys[] = {{"none", " is missing"}, {"null", " is null"}};
  for (const auto& [key, found] : keys) {
    const std::string start = "f.json: " + std::string(key) + found + " (expected: ";
    ExpectError(fields_.Bool(key), Kind::kMissing, start + "a boolean)");
    ExpectError(fields_.Integer(key, 1, 8), Kind::kMissing, start + "an integer from 1 to 8)");
    ExpectError(fields_.Number(key, 0.5, 1), Kind::kMissing, start + "a number from 0.5 to 1)");
    ExpectError(fields_.String(key), Kind::kMissing, start + "a string)");
    ExpectError(fields_.Array(key), Kind::kMissing, start + "an array)");
    ExpectError(fields_.Integers(key, 0, 1, 1), Kind::kMissing, start + "an array)");
    ExpectError(fields_.Object(key), Kind::kMissing, start + "an object)");
    ExpectError(fields_.Objects(key), Kind::kMissing, start + "an array)");
    EXPECT_EQ(fields_.Find(key), nullptr);
    EXPECT_EQ(fields_.IsNull(key), std::string_view(key) == "null");
  }
  EXPECT_NE(fields_.Find("one"), nullptr);
  EXPECT_FALSE(fields_.IsNull("one"));
}

TEST_F(JsonFieldsTest, WrongTypesAreNotConverted) {
  constexpr Kind kWrong = Kind::kWrongType;
  ExpectError(fields_.Bool("one"), kWrong, "f.json: one is 1 (expected: a boolean)");
  ExpectError(fields_.Integer("text", 0, 1), kWrong,
              R"(f.json: text is "a\"b" (expected: an integer from 0 to 1))");
  ExpectError(fields_.Number("true", 0, 1), kWrong, "f.json: true is true (expected: a number from 0 to 1)");
  ExpectError(fields_.String("half"), kWrong, "f.json: half is 0.5 (expected: a string)");
  ExpectError(fields_.Array("object"), kWrong, R"(f.json: object is {"a":"x"} (expected: an array))");
  ExpectError(fields_.Integers("mixed", 0, 9, 2), kWrong,
              R"(f.json: mixed[1] is "x" (expected: an integer from 0 to 9))");
  ExpectError(fields_.Object("list"), kWrong, "f.json: list is [1,2] (expected: an object)");
  ExpectError(fields_.Objects("list"), kWrong, "f.json: list[0] is 1 (expected: an object)");
}

TEST_F(JsonFieldsTest, NumbersOutOfRange) {
  constexpr Kind kRange = Kind::kOutOfRange;
  ExpectError(fields_.Integer("one", 2, 8), kRange, "f.json: one is 1 (expected: an integer from 2 to 8)");
  ExpectError(fields_.Integer("one", 2, INT64_MAX), kRange,
              "f.json: one is 1 (expected: an integer of at least 2)");
  ExpectError(fields_.Integer("one", INT64_MIN, 0), kRange,
              "f.json: one is 1 (expected: an integer of at most 0)");
  ExpectError(fields_.Integer("three", 0, 8), kRange,
              "f.json: three is 3.0 (expected: an integer from 0 to 8, without a decimal point)");
  ExpectError(fields_.Integer("half", 0, 8, true), kRange,
              "f.json: half is 0.5 (expected: an integer from 0 to 8)");
  ExpectError(fields_.Integer("big", INT64_MIN, INT64_MAX), kRange,
              "f.json: big is 18446744073709551615 (expected: an integer)");
  ExpectError(fields_.Number("half", 1e-30, 0.25), kRange,
              "f.json: half is 0.5 (expected: a number from 1e-30 to 0.25)");
  ExpectError(fields_.Number("huge", 0, INFINITY), kRange,
              "f.json: huge is inf (expected: a number of at least 0)");
  ExpectError(fields_.Integers("list", 0, 1, 2), kRange,
              "f.json: list[1] is 2 (expected: an integer from 0 to 1)");
  ExpectError(fields_.Integers("list", 0, 9, 1), kRange,
              "f.json: list is [1,2] (expected: an array of at most 1 values)");
  ExpectError(fields_.Objects("objects", 1), kRange,
              R"(f.json: objects is [{"a":1},{"a":2}] (expected: an array of at most 1 values))");
}

TEST_F(JsonFieldsTest, MissingFieldsAreErrorsFallbacksOrNothing) {
  EXPECT_EQ(*fields_.Integer("one", 0, 9).Required(), 1);
  EXPECT_EQ(*fields_.Integer("one", 0, 9).Or(7), 1);
  EXPECT_EQ(*fields_.Integer("one", 0, 9).Optional(), 1);
  EXPECT_EQ(fields_.Integer("none", 0, 9).Required().status().message(),
            "f.json: none is missing (expected: an integer from 0 to 9)");
  EXPECT_EQ(*fields_.Integer("none", 0, 9).Or(7), 7);
  EXPECT_EQ(*fields_.Integer("null", 0, 9).Optional(), std::nullopt);
  EXPECT_FALSE(fields_.Integer("one", 2, 9).Required().ok());
  EXPECT_FALSE(fields_.Integer("one", 2, 9).Or(7).ok());
  EXPECT_FALSE(fields_.Integer("one", 2, 9).Optional().ok());
}

TEST_F(JsonFieldsTest, InnerObjectsKeepPathAndCode) {
  const JsonFields corrupt(object_, "f.json: ", Code::kCorrupt);
  const Status inner = corrupt.Object("object").value().Bool("a").Required().status();
  EXPECT_EQ(inner.message(), R"(f.json: object.a is "x" (expected: a boolean))");
  EXPECT_EQ(inner.code(), Code::kCorrupt);
  const Status element = corrupt.Objects("objects").value().at(1).Bool("a").Required().status();
  EXPECT_EQ(element.message(), "f.json: objects[1].a is 2 (expected: a boolean)");
  EXPECT_EQ(element.code(), Code::kCorrupt);
}

TEST_F(JsonFieldsTest, ErrorsOfTheCallersOwnChecks) {
  EXPECT_EQ(fields_.Wrong("one", "an even number").ToString(),
            "invalid_argument: f.json: one is 1 (expected: an even number)");
  EXPECT_EQ(fields_.WrongElement("list", 1, "odd").ToString(),
            "invalid_argument: f.json: list[1] is 2 (expected: odd)");
  EXPECT_EQ(fields_.Unsupported("one", "2, 3").ToString(),
            "unsupported: f.json: one is 1, which is not supported (supported: 2, 3)");
  EXPECT_EQ(fields_.Unsupported("null").message(), "f.json: null is null, which is not supported");
}

TEST_F(JsonFieldsTest, AllowOnlyNamesTheUnknownKey) {
  const JsonFields inner = fields_.Object("object").value();
  EXPECT_TRUE(inner.AllowOnly({"b", "a"}).ok());
  EXPECT_EQ(inner.AllowOnly({"b", "", "c"}).ToString(),
            R"(unsupported: f.json: object.a is "x", but this key is not supported (supported: b, c))");
  const boost::json::object empty_key = *ParseJsonObject("", R"({"": 1})");
  EXPECT_FALSE(JsonFields(empty_key).AllowOnly({""}).ok());
}

TEST(JsonParse, RefusesWhatIsNotAnObject) {
  const std::string deep(40, '[');
  const std::pair<std::string, std::string> cases[] = {
      {"", "f is not valid JSON at line 1, column "},
      {"{} {}", "f is not valid JSON at line 1, column "},
      {"{\"a\": NaN}", "f is not valid JSON at line 1, column "},
      {"{\"a\": \"\xc3\"}", "f is not valid JSON at line 1, column "},
      {"{\"a\": " + deep + std::string(40, ']') + "}", "f is not valid JSON at line 1, column "},
      {"[]", "f must be a JSON object, not an array"},
      {"null", "f must be a JSON object, not null"},
      {"true", "f must be a JSON object, not a boolean"},
      {"1", "f must be a JSON object, not a number"},
      {"\"x\"", "f must be a JSON object, not a string"},
      {R"({"a": 1, "b": {"c": [{"d": 1, "d": 2}]}})", "f has the key 'd' twice in one object"},
      {R"({"": 1, "": 2})", "f has the key '' twice in one object"},
      {"", "at line 1, column 1: "},
      {"", "it is empty"},
      {" \n\t", "it is empty"},
      {"<!DOCTYPE html>", "error page"},
      {"\xEF\xBB\xBF{}", "byte order mark"},
      {"{\"a\": 1,\n \"\u00fc\": 2,\n}", "at line 3, column 1, before '}': "},
      {"{\"\u00fc\u00fc\": 1 x}", "at line 1, column 10, before 'x}': "},
      {"{\"a\": \n tru}", "at line 2, column 2, before 'tru}': "},
      {"{\"a\": 1}\n]", "at line 2, column 1, before ']': "},
      {"{\"a\": [1,", "at line 1, column 10: "},
  };
  for (const auto& [text, message] : cases) {
    const Status status = ParseJsonObject("f ", text, {.twice = JsonParseOptions::Twice::kRefuse}).status();
    EXPECT_EQ(status.code(), Code::kCorrupt) << text;
    EXPECT_THAT(status.message(), HasSubstr(message)) << text;
  }
  EXPECT_TRUE(ParseJsonObject("f ", R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 1}]})").ok());
}

TEST(JsonParse, Options) {
  const std::string text = R"({"a": [[1]], "a": [[2]]})";
  const auto last = ParseJsonObject("", text, {.twice = JsonParseOptions::Twice::kLast});
  ASSERT_TRUE(last.ok()) << last.status().message();
  EXPECT_EQ(boost::json::serialize(*last), R"({"a":[[2]]})");
  EXPECT_TRUE(ParseJsonObject("", text, {.max_depth = 3, .twice = JsonParseOptions::Twice::kLast}).ok());
  EXPECT_FALSE(ParseJsonObject("", text, {.max_depth = 2, .twice = JsonParseOptions::Twice::kLast}).ok());
  const Status status = ParseJsonObject("f: ", text, {.max_bytes = 8}).status();
  EXPECT_EQ(status.ToString(), "unsupported: f has 24 bytes, the limit is 8");
}

TEST(JsonMessages, LongValuesAreCutAtACodePoint) {
  const boost::json::value value(boost::json::string(std::string(75, 'a') + "\xC3\xA9\xC3\xA9\xC3\xA9"));
  const std::string text = QuoteJson(value);
  EXPECT_TRUE(IsValidUtf8(text)) << text;
  EXPECT_THAT(text, ::testing::EndsWith("..."));
  EXPECT_LE(text.size(), 84u);
}

TEST(JsonMessages, NumbersAsPeopleWriteThem) {
  const std::pair<double, const char*> cases[] = {{0, "0"},         {-3, "-3"},   {65536, "65536"},
                                                  {1e6, "1000000"}, {0.1, "0.1"}, {1e-6, "1e-06"},
                                                  {1e30, "1e+30"}};
  for (const auto& [number, text] : cases) EXPECT_EQ(NumberText(number), text);
}

}  // namespace
}  // namespace prefixd
