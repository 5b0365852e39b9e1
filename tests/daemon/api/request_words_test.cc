// The words of errors about requests: the field, the value that it has and what is expected.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/daemon/api/api_fixture.h"
#include "tests/daemon/api/request_fixture.h"

namespace prefixd {
namespace {

using testing::HasSubstr;
using testing_support::ApiTest;
using testing_support::At;
using testing_support::kBeginToken;
using testing_support::Parse;
using testing_support::RequestTest;

struct Words {
  const char* fields;
  const char* words;
};

TEST_F(RequestTest, ErrorsSayFieldValueAndWhatIsExpected) {
  constexpr Words kCases[] = {
      {R"("seed":9223372036854775808)",
       "'seed' must be an integer from -9223372036854775808 to 9223372036854775807, not "
       "9223372036854775808."},
      {R"("seed":-9223372036854775809)",
       "from -9223372036854775808 to 9223372036854775807, not -9.223372036854776e+18."},
      {R"("seed":18446744073709551616)", "to 9223372036854775807, not 1.8446744073709552e+19."},
      {R"("seed":1.5)", "9223372036854775807, not 1.5."},
      {R"("seed":"x")", "9223372036854775807, not a string: \"x\"."},
      {R"("max_tokens":1e30)", "'max_tokens' must be an integer from -1 to 2147483647, not 1e+30."},
      {R"("max_tokens":-2)", "from -1 to 2147483647, not -2."},
      {R"("max_tokens":2.5)", "from -1 to 2147483647, not 2.5."},
      {R"("max_tokens":"5")", "from -1 to 2147483647, not a string: \"5\"."},
      {R"("n":0)", "'n' must be an integer from 1 to 16, not 0."},
      {R"("n":[1])", "'n' must be an integer from 1 to 16, not an array: [1]."},
      {R"("temperature":"hot")", "'temperature' must be a number from 0 to 2, not a string: \"hot\"."},
      {R"("temperature":5)", "'temperature' must be a number from 0 to 2, not 5."},
      {R"("temperature":true)", "from 0 to 2, not a boolean: true."},
      {R"("repetition_penalty":0)", "a number from 0.01 to 100, not 0."},
      {R"("stream":"yes")", "'stream' must be a boolean, not a string: \"yes\"."},
      {R"("stream_options":{"include_usage":1})",
       "'stream_options.include_usage' must be a boolean, not a number: 1"},
      {R"("logit_bias":{"x":1})", "from 0 to 259, written as strings, not \"x\"."},
      {R"("logit_bias":{"260":1})", "not \"260\"."},
      {R"("logit_bias":{"1":"a"})", "must give token 1 a number from -100 to 100, not \"a\"."},
      {R"("logit_bias":{"1":101})", "from -100 to 100, not 101."},
      {R"("logit_bias":[1])", "'logit_bias' must be an object, not an array: [1]."},
      {R"("stop":5)", "'stop' must be a string or an array of strings, not 5."},
      {R"("stop":["a",null])", "a string or an array of strings, not [\"a\",null]."},
      {R"("stop_token_ids":[-1])", "from 0 to 259, not -1."},
      {R"("stop_token_ids":["a"])", "from 0 to 259, not \"a\"."},
      {R"("prompt":5)", "an array of token ids, or an array of such arrays; it is or contains 5."},
      {R"("prompt":["a",1])", "it is or contains 1."},
      {R"("prompt":[[1.5]])", "it is or contains 1.5."},
      {R"("prompt":[260])", "contains the token id 260; ids of this model range from 0 to 259"},
  };
  for (const auto& [fields, words] : kCases) {
    const auto parsed = Completion(fields);
    ASSERT_FALSE(parsed.ok()) << fields;
    EXPECT_THAT(parsed.error().message, HasSubstr(words)) << fields;
  }
  std::string stops = "\"stop\":[\"a\"";
  for (int i = 1; i < 1000; ++i) stops += ",\"a\"";
  EXPECT_THAT(Completion(stops + "]").error().message, HasSubstr("at most 16 strings, not 1000."));
  std::string prompts = "\"prompt\":[\"a\"";
  for (int i = 1; i < 3000; ++i) prompts += ",\"a\"";
  EXPECT_THAT(Completion(prompts + "]").error().message, HasSubstr("at most 2048 prompts, not 3000."));
}

TEST_F(RequestTest, ErrorsOfMessagesSayWhatIsThere) {
  constexpr Words kCases[] = {
      {R"([5])", "A message must be an object with role and content, not 5."},
      {R"(["hi"])", "with role and content, not \"hi\"."},
      {R"([{}])", "A message needs a role, such as \"user\"."},
      {R"([{"role":5,"content":"x"}])", "A message needs a role, such as \"user\", not 5."},
      {R"([{"role":"bot","content":"x"}])", "\"bot\" is not a role; roles are"},
      {R"([{"role":"user","content":5}])", "must be a string or an array of parts, not 5."},
      {R"([{"role":"user","content":[5]}])", "must be an object with a type, not 5."},
      {R"([{"role":"user","content":[{}]}])", "needs a type, such as \"text\"."},
      {R"([{"role":"user","content":[{"type":"text"}]}])", "needs the key 'text' with a string."},
      {R"([{"role":"user","content":[{"type":"text","text":7}]}])", "with a string, not 7."},
      {R"([{"role":"user","content":[{"type":"image_url"}]}])",
       "Content parts of type \"image_url\" are not"},
      {R"([{"role":"assistant","tool_calls":5}])", "must be an array, not 5."},
      {R"([{"role":"assistant","tool_calls":[{}]}])", "needs a function with a name, not {}."},
  };
  for (const auto& [messages, words] : kCases) {
    const auto parsed = Chat("", messages);
    ASSERT_FALSE(parsed.ok()) << messages;
    EXPECT_THAT(parsed.error().message, HasSubstr(words)) << messages;
  }
}

TEST(BodyWords, SayWhereAndWhat) {
  const struct {
    std::string body;
    const char* words;
  } cases[] = {
      {"{\"prompt\":\"x\\ud800\"}",
       "The body is not valid JSON at line 1, column 19, before '\"}': a surrogate"},
      {"\xEF\xBB\xBF{}", "it begins with a byte order mark; save it without one."},
      {"{\"temperature\":NaN}", "column 16, before 'NaN}': JSON has no NaN and no Infinity"},
      {"{\"prompt\":\"x\",\n}", "line 2, column 1, before '}': the comma before it is one too many."},
      {"{\"prompt\":\"x", "column 13: it ends inside a string."},
      {"", "it is empty."},
      {"prompt=x", "before 'prompt=x': expected an object"},
  };
  for (const auto& [body, words] : cases)
    EXPECT_THAT(ParseBody(body).error().message, HasSubstr(words)) << body;
}

TEST_F(ApiTest, AnEmptyPromptBeginsWithBos) {
  size_t submitted = 0;
  api_.context.bos = kBeginToken;
  for (const char* prompt : {"\"\"", "[]", "[[]]", "[\"\"]"}) {
    const std::string body = "{\"prompt\":" + std::string(prompt) + ",\"add_special_tokens\":false}";
    api_.Post("/v1/completions", body);
    ASSERT_EQ(api_.engine.submitted(), ++submitted) << prompt;
    EXPECT_EQ(api_.engine.request(submitted - 1).prompt, std::vector{kBeginToken}) << prompt;
  }
  api_.context.bos.reset();
  for (const char* prompt : {"\"\"", "[]", "[[]]", "[\"\"]", "[[],[5]]"}) {
    const auto exchange =
        api_.Post("/v1/completions", "{\"prompt\":" + std::string(prompt) + ",\"add_special_tokens\":false}");
    EXPECT_EQ(exchange->response.status, 400) << prompt;
    EXPECT_THAT(exchange->body(), HasSubstr("the model has no BOS token")) << prompt;
  }
}

// A bug of the daemon, which no request may turn into its end.
TEST(FieldTables, AFieldThatIsReadAgainstItsRowFailsTheRequestAlone) {
  FieldTable table;
  table.Integer("count", 1, 9).Any("any");
  const boost::json::object body = {{"count", 3}, {"any", 1}, {"other", "text"}};
  const auto error = [&](auto read) {
    RequestFields fields(body, table);
    EXPECT_FALSE(read(fields));
    EXPECT_EQ(fields.error()->status, 500);
    EXPECT_EQ(fields.error()->code, "internal_error");
    return fields.error()->message;
  };
  EXPECT_THAT(error([](auto& fields) { return fields.Find("other") != nullptr; }),
              HasSubstr("'other' is read and has no row"));
  EXPECT_THAT(error([](auto& fields) { return fields.String("missing").has_value(); }),
              HasSubstr("'missing' is read and has no row"));
  EXPECT_THAT(error([](auto& fields) { return fields.Bool("count", false); }),
              HasSubstr("'count' is not read as the type of its row"));
  EXPECT_THAT(error([](auto& fields) { return fields.Integer("count", 0, 9).has_value(); }),
              HasSubstr("'count' is read with a range beyond its row's"));
  RequestFields fields(body, table);
  EXPECT_EQ(fields.Integer("count", 2, 9), 3);
  EXPECT_NE(fields.Find("any"), nullptr);
  EXPECT_FALSE(fields.error());
}

}  // namespace
}  // namespace prefixd
