// What the grammars of JSON Schemas match, and which schemas are refused.
#include "grammar/json_schema.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <functional>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "grammar/grammar.h"
#include "grammar/match.h"

namespace prefixd::grammar {
namespace {

Result<Grammar> Compiled(const std::string& schema, bool strict,
                         std::vector<std::string>* ignored = nullptr) {
  Expressions expressions;
  Result<SchemaRead> read = ReadJsonSchema(boost::json::parse(schema), {.strict = strict}, &expressions);
  if (!read.ok()) return read.status();
  if (ignored != nullptr) *ignored = read->ignored;
  return Grammar::Compile(expressions, read->root);
}

bool Matches(const Grammar& grammar, const std::string& text) {
  Matcher matcher(&grammar);
  MatchState state = matcher.Start(), next;
  for (const char c : text) {
    matcher.Advance(state, static_cast<uint8_t>(c), &next);
    std::swap(state, next);
  }
  return state.accepts();
}

struct Case {
  std::string schema;
  std::vector<std::string> valid, invalid;
};

void Check(const std::vector<Case>& cases, bool strict = false) {
  for (const Case& c : cases) {
    const Result<Grammar> grammar = Compiled(c.schema, strict);
    ASSERT_TRUE(grammar.ok()) << c.schema << ": " << grammar.status().ToString();
    for (const std::string& text : c.valid) EXPECT_TRUE(Matches(*grammar, text)) << c.schema << " " << text;
    for (const std::string& text : c.invalid)
      EXPECT_FALSE(Matches(*grammar, text)) << c.schema << " " << text;
  }
}

TEST(JsonSchema, Numbers) {
  Check({
      {R"({"type":"integer"})", {"0", "-7", "123456"}, {"01", "1.0", "-", "", "1e3", " 1", "+1"}},
      {R"({"type":"number"})", {"0", "-7.25", "1e10", "2.5E-3"}, {"01", "1.", ".5", "1e", "1e100"}},
      {R"({"type":"integer","minimum":-5,"maximum":123})",
       {"-5", "-1", "0", "9", "99", "123", "100"},
       {"-6", "124", "1000", "200", "-10", "05"}},
      {R"({"type":"integer","exclusiveMinimum":9,"exclusiveMaximum":101})",
       {"10", "99", "100"},
       {"9", "101", "0", "-50"}},
      {R"({"type":"number","minimum":0.5,"maximum":2})",
       {"0.5", "0.50", "0.75", "1", "2", "2.0", "1.99"},
       {"0.49", "0", "2.01", "2.", "-1", "10"}},
      {R"({"type":"number","maximum":-1.25})", {"-1.25", "-2", "-100.5"}, {"-1.24", "0", "1.25", "-1"}},
      {R"({"type":"number","minimum":1,"exclusiveMinimum":3})", {"3.5", "4"}, {"1", "2", "3", "3.0"}},
      {R"({"type":"integer","multipleOf":7,"minimum":1})", {"7", "14", "700"}, {"0", "1", "15"}},
      {R"({"type":"number","multipleOf":0.25})", {"0.25", "0.5", "-3", "1.75", "0"}, {"0.3", "1.1", "0.125"}},
      {R"({"type":"integer","minimum":0})", {"0", "-0", "5"}, {"-1"}},
  });
}

TEST(JsonSchema, Strings) {
  Check({
      {R"({"type":"string"})",
       {R"("")", R"("a\"b\\\n\u00e4\ud83d\ude00")", "\"\xC3\xA4\xF0\x9F\x98\x80\""},
       {R"("\ud83d")", R"("\x")", "\"\n\"", "\"\xC3\"", "\"\xED\xA0\x80\"", R"("a)"}},
      {R"({"type":"string","minLength":2,"maxLength":3})",
       {R"("ab")", R"("abc")", R"("\n\u0041")", "\"\xC3\xA4\xC3\xA4\""},
       {R"("a")", R"("abcd")", "\"\xC3\xA4\""}},
      {R"({"type":"string","minLength":500,"maxLength":1000})",
       {'"' + std::string(500, 'a') + '"', '"' + std::string(1000, 'a') + '"'},
       {'"' + std::string(499, 'a') + '"', '"' + std::string(1001, 'a') + '"'}},
      {R"({"type":"string","pattern":"^[a-c]+\\d{2}$"})",
       {R"("a12")", R"("abc00")"},
       {R"("12")", R"("a123")"}},
      {R"({"type":"string","pattern":"b"})", {R"("b")", R"("abc")"}, {R"("ac")", R"("")"}},
      {R"({"type":"string","pattern":"^a|z$"})", {R"("ab")", R"("bz")"}, {R"("ba")"}},
      {R"({"type":"string","pattern":"^[^a]$"})",
       {R"("\"")", R"("\n")", R"("b")", R"("\u0001")"},
       {R"("a")", "\"\"\""}},
      {R"({"type":"string","pattern":"^[a-z]*$","minLength":2,"maxLength":4})",
       {R"("ab")", R"("abcd")"},
       {R"("a")", R"("abcde")", R"("a1")"}},
      {R"({"type":"string","format":"date"})",
       {R"("2024-02-28")", R"("1999-12-31")", R"("2020-01-31")", R"("1900-02-28")", R"("2024-02-29")",
        R"("2000-02-29")", R"("0001-01-01")", R"("0010-01-01")"},
       {R"("2024-02-30")", R"("x")", R"("1900-02-29")", R"("2023-02-29")", R"("0000-01-01")",
        R"("0000-02-29")"}},
      {R"({"type":"string","format":"ipv4"})", {R"("0.10.255.1")"}, {R"("256.1.1.1")", R"("1.1.1")"}},
      {R"({"type":"string","format":"uuid"})",
       {R"("123e4567-e89b-12d3-a456-426614174000")"},
       {R"("123e4567e89b12d3a456426614174000")"}},
      {R"({"type":"string","format":"duration"})",
       {R"("P1DT2H")", R"("PT5M")", R"("P3W")"},
       {R"("P")", R"("PT")"}},
  });
}

TEST(JsonSchema, Objects) {
  const std::string optional =
      R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"null"},"c":{"type":"boolean"}},)"
      R"("required":["b"],"additionalProperties":false})";
  Check({
      {optional,
       {R"({"b":null})", R"({"a":1,"b":null})", R"({"a": 1, "b": null, "c": true})",
        "{\"b\":null,\n\"c\":false}"},
       {"{}", R"({"a":1})", R"({"b":null,"a":1})", R"({"b":null,})", R"({,"b":null})", R"({"b":  null})",
        R"({"b":null,"d":1})", R"( {"b":null})"}},
      {R"({"type":"object","properties":{"a":{"type":"integer"},"ab":{"type":"integer"}}})",
       {"{}", R"({"a":1,"b":"x","abc":[1]})", R"({"x":{"y":null}})", R"({"ab":2,"":0})"},
       {R"({"a":"1"})", R"({"x":1,"a":"1"})", R"({"\u0061":"1"})", R"({"ab":"x"})"}},
      {R"({"type":"object","additionalProperties":{"type":"integer"}})",
       {"{}", R"({"x":1,"y":2})"},
       {R"({"x":""})"}},
      {R"({"type":"object","required":["n"]})", {R"({"n":[]})"}, {"{}", R"({"m":1})"}},
      {R"({"properties":{"a":{}}})", {R"({"a":{"b":[1,"x",null]}})"}, {"[]"}},
  });
  Check({{R"({"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]})",
          {R"({"a":1})"},
          {"{}", R"({"a":1,"b":1})"}}},
        /*strict=*/true);
}

TEST(JsonSchema, ArraysAndChoices) {
  Check({
      {R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})",
       {"[1]", "[1,2,3]", "[1, 2]"},
       {"[]", "[1,2,3,4]", "[1,]", "[\"a\"]"}},
      {R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"null"}],"minItems":1,"items":false})",
       {"[1]", "[1,null]"},
       {"[]", "[null]", "[1,null,2]"}},
      {R"({"type":"array","prefixItems":[{"type":"integer"}],"items":{"type":"null"},"minItems":2})",
       {"[1,null]", "[1,null,null]"},
       {"[1]", "[1,2]"}},
      {R"({"enum":["a\"b",1,null,{"x":[1]}]})", {R"("a\"b")", "1", "null", R"({"x":[1]})"}, {"2", R"("a")"}},
      {R"({"type":"string","enum":["a",1]})", {R"("a")"}, {"1"}},
      {R"({"const":"x"})", {R"("x")"}, {R"("y")"}},
      {R"({"const":"x","enum":["x","y"]})", {R"("x")"}, {R"("y")"}},
      {R"({"type":["string","null"]})", {R"("x")", "null"}, {"1"}},
      {R"({"type":"string","nullable":true})", {R"("x")", "null"}, {"1"}},
      {R"({"anyOf":[{"type":"integer"},{"type":"array","items":{"type":"integer"}}]})",
       {"1", "[1]"},
       {"\"\""}},
      {R"({"type":"integer","oneOf":[{"minimum":5},{"maximum":1}]})", {"5", "0"}, {"3"}},
      {R"({"allOf":[{"type":"integer"}],"minimum":3})", {"3"}, {"2", "\"\""}},
      {"true", {"1", R"({"a":[{"b":null}]})"}, {""}},
  });
}

TEST(JsonSchema, References) {
  const std::string tree =
      R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":)"
      R"({"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},)"
      R"("required":["v","next"],"additionalProperties":false}}})";
  Check({
      {tree,
       {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":{"v":3,"next":null}}})"},
       {R"({"v":1})", R"({"v":1,"next":{"v":2}})"}},
      {R"({"type":"array","items":{"$ref":"#"}})", {"[]", "[[],[[]]]"}, {"[1]", "[[]"}},
      {R"({"$ref":"#/definitions/a~1b","definitions":{"a/b":{"type":"null"}}})", {"null"}, {"1"}},
      {R"({"properties":{"x":{"$ref":"#/$defs/s","maxLength":1}},)"
       R"("$defs":{"s":{"type":"string","minLength":1}}})",
       {R"({"x":"a"})"},
       {R"({"x":""})", R"({"x":"ab"})"}},
      {R"({"$ref":"#/$defs/a%20b%25","$defs":{"a b%":{"type":"null"}}})", {"null"}, {"1"}},
      // What both sides require is required.
      {R"({"$ref":"#/$defs/o","required":["b"],"$defs":{"o":{"type":"object","properties":{)"
       R"("a":{"type":"null"},"b":{"type":"null"}},"required":["a"],"additionalProperties":false}}})",
       {R"({"a":null,"b":null})"},
       {R"({"a":null})", R"({"b":null})"}},
      {R"({"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"}},"required":["a"],)"
       R"("additionalProperties":false,"anyOf":[{"required":["b"]}]})",
       {R"({"a":null,"b":null})"},
       {R"({"a":null})"}},
  });
}

TEST(JsonSchema, StrictRefusesKeywordsByNameAndOthersIgnoreThem) {
  for (const std::string keyword : {"not",
                                    "if",
                                    "then",
                                    "else",
                                    "dependentRequired",
                                    "dependentSchemas",
                                    "dependencies",
                                    "patternProperties",
                                    "propertyNames",
                                    "unevaluatedItems",
                                    "unevaluatedProperties",
                                    "contains",
                                    "minContains",
                                    "maxContains",
                                    "minProperties",
                                    "maxProperties",
                                    "uniqueItems",
                                    "$anchor",
                                    "$dynamicRef",
                                    "$dynamicAnchor",
                                    "$recursiveRef",
                                    "contentEncoding"}) {
    const std::string schema =
        R"({"type":"object","properties":{"p":{"type":"null",")" + keyword + R"(":{}}}})";
    const Result<Grammar> strict = Compiled(schema, true);
    ASSERT_FALSE(strict.ok()) << keyword;
    EXPECT_EQ(strict.status().code(), Code::kUnsupported);
    EXPECT_NE(strict.status().message().find("#/properties/p: '" + keyword + "'"), std::string::npos)
        << strict.status().message();
    std::vector<std::string> ignored;
    EXPECT_TRUE(Compiled(schema, false, &ignored).ok());
    EXPECT_EQ(ignored, std::vector<std::string>{"'" + keyword + "'"});
  }
  const std::string kOthers[] = {
      R"({"type":"array"})", R"({"type":"string","format":"uri"})", R"({"allOf":[{"type":"null"},{}]})",
      R"({"type":"array","items":[{}]})", R"x({"type":"string","pattern":"(?=a)"})x",
      // Keywords of two places that the grammar cannot hold together.
      R"({"type":"integer","enum":[1,5],"minimum":3})", R"({"const":"abc","maxLength":2})",
      R"({"$ref":"#/$defs/n","minimum":0,"$defs":{"n":{"type":"integer","minimum":50}}})",
      R"({"$ref":"#/$defs/n","anyOf":[{"type":"null"}],"$defs":{"n":{"anyOf":[true]}}})",
      R"({"type":"object","additionalProperties":false,"anyOf":[{"properties":{"b":{}}}]})",
      R"({"type":"array","items":{"type":"null"},"anyOf":[{"prefixItems":[true]}]})"};
  for (const std::string& schema : kOthers) {
    const Result<Grammar> strict = Compiled(schema, true);
    EXPECT_EQ(strict.ok() ? Code::kOk : strict.status().code(), Code::kUnsupported) << schema;
    EXPECT_TRUE(Compiled(schema, false).ok()) << schema;
  }
}

TEST(JsonSchema, WrongAndHostileSchemasAreRefused) {
  const auto code = [](const std::string& schema) {
    const Result<Grammar> grammar = Compiled(schema, false);
    return grammar.ok() ? Code::kOk : grammar.status().code();
  };
  for (const std::string schema :
       {"5", R"({"type":"x"})", R"({"type":[]})", R"({"$ref":"#/nowhere"})", R"({"$ref":"#"})",
        R"({"anyOf":[]})", R"({"enum":1})", R"({"minLength":-1})", R"x({"type":"string","pattern":"("})x",
        R"({"type":"string","pattern":"a{3,2}"})", R"({"type":"integer","minimum":3,"maximum":2})",
        R"({"enum":[]})", R"({"required":5})", R"({"type":"integer","multipleOf":0})", "false"})
    EXPECT_EQ(code(schema), Code::kInvalidArgument) << schema;
  EXPECT_EQ(code(R"({"$ref":"http://x"})"), Code::kUnsupported);
  // Exponential automata, references that double, counts beyond any use.
  EXPECT_EQ(code(R"({"type":"string","pattern":"(a|b)*a(a|b){30}","maxLength":99})"),
            Code::kResourceExhausted);
  EXPECT_EQ(code(R"({"type":"string","pattern":"^(((a{1000}){1000}){1000})$","maxLength":5})"),
            Code::kResourceExhausted);
  EXPECT_EQ(code(R"({"type":"string","minLength":1e10})"), Code::kResourceExhausted);
  std::string doubling = R"({"$defs":{"d0":{"type":"null"})";
  for (int i = 1; i < 40; ++i) {
    const std::string ref = R"({"$ref":"#/$defs/d)" + std::to_string(i - 1) + R"(","maxLength":1})";
    doubling += R"(,"d)" + std::to_string(i) + R"(":{"properties":{"a":)" + ref + R"(,"b":)" + ref + "}}";
  }
  EXPECT_EQ(code(doubling + R"(},"$ref":"#/$defs/d39"})"), Code::kResourceExhausted);
  std::string many = R"({"properties":{)";
  for (int i = 0; i < 6000; ++i) many += (i > 0 ? "," : "") + ("\"p" + std::to_string(i)) + "\":{}";
  EXPECT_EQ(code(many + "}}"), Code::kResourceExhausted);
}

// Upper bounds beyond what is counted bound nothing, and numbers beyond integers are no undefined casts.
TEST(JsonSchema, TakesNumbersOfAnySize) {
  Check({
      {R"({"type":"string","maxLength":1e300})", {R"("a")"}, {R"(1)"}},
      {R"({"type":"string","maxLength":10000000})", {R"("a")"}, {R"(1)"}},
      {R"({"type":"array","items":{"type":"null"},"maxItems":18446744073709551615})",
       {"[]", "[null]"},
       {"[1]"}},
      {R"({"type":"integer","enum":[1e300,-1e300,1.5,2]})", {"2"}, {"1.5"}},
      {R"({"type":"number","minimum":-1e300,"maximum":1e300})", {"0", "-12.5"}, {"x"}},
      {R"({"type":["string","string","string"],"maxLength":1})", {R"("a")"}, {R"("ab")"}},
  });
}

// What each of many places may cost counts together; equal ones cost once.
TEST(JsonSchema, TakesAsManyPropertiesAsTheLimitSays) {
  std::string properties, names, value;
  for (int i = 0; i < 5000; ++i) {
    const std::string name = "\"p" + std::to_string(i) + "\"", comma = i == 0 ? "" : ",";
    properties += comma + name + R"(:{"type":"string"})";
    names += comma + name;
    value += comma + name + R"(:"x")";
  }
  const Result<Grammar> grammar = Compiled(R"({"type":"object","additionalProperties":false,"properties":{)" +
                                               properties + R"(},"required":[)" + names + "]}",
                                           true);
  ASSERT_TRUE(grammar.ok()) << grammar.status().ToString();
  EXPECT_TRUE(Matches(*grammar, "{" + value + "}"));
  EXPECT_FALSE(Matches(*grammar, R"({"p0":"x"})"));
}

TEST(JsonSchema, CostsOfAllPlacesAreBoundedTogether) {
  const auto code = [](const std::string& schema) {
    const Result<Grammar> grammar = Compiled(schema, false);
    return grammar.ok() ? Code::kOk : grammar.status().code();
  };
  const auto of_many = [](int count, const std::function<std::string(int)>& schema_of) {
    std::string many = R"({"properties":{)";
    for (int i = 0; i < count; ++i)
      many += (i > 0 ? "," : "") + ("\"p" + std::to_string(i)) + "\":" + schema_of(i);
    return many + "}}";
  };
  const auto pattern = [](int length) {
    return R"x({"type":"string","pattern":"^(a|b|cd)+$","maxLength":)x" + std::to_string(length) + "}";
  };
  EXPECT_EQ(code(pattern(1000)), Code::kOk);
  EXPECT_EQ(code(of_many(200, [&](int) { return pattern(1000); })), Code::kOk);
  EXPECT_EQ(code(of_many(200, [&](int i) { return pattern(1000 + i); })), Code::kResourceExhausted);
  EXPECT_EQ(code(of_many(2000,
                         [](int i) {
                           return R"({"type":"integer","multipleOf":)" + std::to_string(i % 900 + 100) +
                                  R"(,"minimum":)" + std::to_string(i) + "}";
                         })),
            Code::kResourceExhausted);
  // A large part beside a choice is copied into each branch.
  std::string branches = "{}";
  for (int i = 0; i < 5000; ++i) branches += ",{}";
  EXPECT_EQ(code(R"({"x-part":")" + std::string(100'000, 'x') + R"(","anyOf":[)" + branches + "]}"),
            Code::kResourceExhausted);
  std::string unknown = R"({"type":"null")";
  for (int i = 0; i < 500; ++i) unknown += ",\"unknown" + std::to_string(i) + "\":1";
  std::vector<std::string> ignored;
  EXPECT_TRUE(Compiled(unknown + "}", false, &ignored).ok());
  EXPECT_EQ(ignored.size(), SchemaLimits().ignored);
}

// A message shows the beginning of a long name, whole characters of it.
TEST(JsonSchema, MessagesAreShort) {
  std::string name(199, 'n');
  for (int i = 0; i < 5000; ++i) name += "\xC3\xA4";
  const Result<Grammar> grammar =
      Compiled(R"({"properties":{")" + name + R"(":{"$ref":"#/)" + name + R"("}}})", false);
  ASSERT_FALSE(grammar.ok());
  EXPECT_LT(grammar.status().message().size(), 600u);
  EXPECT_TRUE(IsValidUtf8(grammar.status().message()));
}

}  // namespace
}  // namespace prefixd::grammar
