// Calls of tools in chat completions.
#include "tests/daemon/api/api_fixture.h"
#include "text/output/tool_format.h"

namespace prefixd::testing_support {
namespace {

constexpr const char* kTools =
    R"("tools":[{"type":"function","function":{"name":"now"}},)"
    R"({"type":"function","function":{"name":"get_weather","description":"Wetter für é",)"
    R"("parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}])";
constexpr const char* kCall =
    "I look.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\":  \"Paris\"}}\n</tool_call>";
constexpr const char* kNow = "\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";

std::string With(const std::string& more) { return kTools + (more.empty() ? "" : "," + more); }

class ToolsTest : public ApiTest {
 protected:
  ToolsTest() { SetFormat("hermes"); }
  void SetFormat(std::string_view name) {
    api_.context.tool_format = FindToolFormat(name);
    api_.context.call_writing = WritingOf(*api_.context.tool_format);
  }
  // Whether the request that was submitted last lets the model write the text, and then lets the answer end.
  bool MayWrite(std::string_view text) {
    const auto& constraint = api_.engine.request(api_.engine.submitted() - 1).constraint;
    if (constraint == nullptr) return true;
    grammar::ConstraintState state(constraint);
    for (const TokenId id : Bytes(text)) state.Append(id);
    return state.accepts();
  }
  // The one choice of an answer that generates `text`.
  json::value Choice(const std::string& fields, const std::string& text) {
    const auto exchange = Chat(fields);
    Generate(*exchange, api_.engine.submitted() - 1, text, FinishReason::kStop);
    EXPECT_EQ(exchange->response.status, 200) << exchange->body();
    return At(Parse(exchange->body()), "/choices/0");
  }
  void ExpectRefused(const std::string& fields, const std::string& param) {
    const auto exchange = Chat(fields);
    EXPECT_EQ(exchange->response.status, 400) << fields << " " << exchange->body();
    EXPECT_EQ(Text(At(Parse(exchange->body()), "/error/param")), param) << fields;
  }
};

TEST_F(ToolsTest, ACallIsPartOfTheMessage) {
  const json::value choice = Choice(With(""), kCall + std::string(kNow));
  EXPECT_EQ(At(choice, "/finish_reason"), "tool_calls");
  EXPECT_EQ(At(choice, "/message/content"), "I look.");
  const json::array& calls = At(choice, "/message/tool_calls").as_array();
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(At(calls[0], "/type"), "function");
  EXPECT_EQ(At(calls[0], "/function/name"), "get_weather");
  EXPECT_EQ(At(calls[0], "/function/arguments"), R"({"city":  "Paris"})");  // as the model wrote them
  EXPECT_EQ(At(calls[1], "/function/arguments"), "{}");
  EXPECT_NE(At(calls[0], "/id"), At(calls[1], "/id"));
  EXPECT_EQ(Text(At(calls[0], "/id")).size(), 29u);
}

TEST_F(ToolsTest, WithoutTextTheContentIsNull) {
  EXPECT_TRUE(At(Choice(With(""), kNow), "/message/content").is_null());
}

TEST_F(ToolsTest, WhatIsNoCallIsContent) {
  const std::string malformed = "<tool_call>\n{\"name\": \"now\", \"arguments\": {]}\n</tool_call>";
  for (const std::string& text : {std::string("plain <tool"), malformed}) {
    const json::value choice = Choice(With(""), text);
    EXPECT_EQ(Text(At(choice, "/message/content")), text);
    EXPECT_EQ(At(choice, "/finish_reason"), "stop");
    EXPECT_FALSE(At(choice, "/message").as_object().contains("tool_calls"));
  }
}

TEST_F(ToolsTest, AStreamSaysTheSame) {
  const std::string text = kCall + std::string(kNow);
  const auto exchange = Chat(With(R"("stream":true,"stream_options":{"include_usage":true})"));
  for (size_t i = 0; i < text.size(); ++i)
    Generate(*exchange, 0, text.substr(i, 1),
             i + 1 == text.size() ? std::optional(FinishReason::kStop) : std::nullopt);
  std::string content;
  std::vector<std::string> names, ids, arguments;
  std::string finish;
  for (const json::value& event : Events(exchange->body())) {
    const json::array& choices = At(event, "/choices").as_array();
    if (choices.empty()) {
      EXPECT_EQ(At(event, "/usage/completion_tokens"), static_cast<int64_t>(text.size()));
      continue;
    }
    const json::object& delta = At(choices[0], "/delta").as_object();
    if (delta.contains("content")) content += Text(delta.at("content"));
    if (!At(choices[0], "/finish_reason").is_null()) {
      finish = Text(At(choices[0], "/finish_reason"));
      EXPECT_TRUE(delta.empty());
    }
    if (!delta.contains("tool_calls")) continue;
    const json::value& call = delta.at("tool_calls").as_array().at(0);
    const auto index = At(call, "/index").as_int64();
    const json::object& function = At(call, "/function").as_object();
    if (function.contains("name")) {
      names.push_back(Text(function.at("name")));
      ids.push_back(Text(At(call, "/id")));
      EXPECT_EQ(At(call, "/type"), "function");
      EXPECT_EQ(Text(function.at("arguments")), "");
      arguments.emplace_back();
    }
    ASSERT_EQ(static_cast<size_t>(index) + 1, names.size());
    arguments.back() += Text(function.at("arguments"));
  }
  EXPECT_EQ(content, "I look.");
  EXPECT_EQ(names, (std::vector<std::string>{"get_weather", "now"}));
  EXPECT_EQ(arguments, (std::vector<std::string>{R"({"city":  "Paris"})", "{}"}));
  EXPECT_EQ(finish, "tool_calls");
  EXPECT_NE(ids[0], ids[1]);
}

TEST_F(ToolsTest, WithoutParallelCallsTheAnswerEndsWithTheFirst) {
  const auto exchange = Chat(With(R"("parallel_tool_calls":false)"));
  const std::string text = kCall + std::string(kNow);
  Generate(*exchange, 0, text);  // the engine has not finished
  ASSERT_EQ(exchange->answers, 1);
  EXPECT_EQ(api_.engine.cancelled.size(), 1u);
  const json::value body = Parse(exchange->body());
  EXPECT_EQ(At(body, "/choices/0/message/tool_calls").as_array().size(), 1u);
  EXPECT_EQ(At(body, "/choices/0/finish_reason"), "tool_calls");
  const size_t used = std::string(kCall).find("}}") + 2;
  EXPECT_EQ(At(body, "/usage/completion_tokens"), static_cast<int64_t>(used));
}

TEST_F(ToolsTest, AnAnswerHasABoundedNumberOfCalls) {
  api_.context.limits.max_tool_calls = 3;
  const auto exchange = Chat(With(""));
  std::string text;
  for (int i = 0; i < 10; ++i) text += kNow;
  Generate(*exchange, 0, text);
  EXPECT_EQ(At(Parse(exchange->body()), "/choices/0/message/tool_calls").as_array().size(), 3u);
}

TEST_F(ToolsTest, ALengthCutsACallToContent) {
  const auto exchange = Chat(With(""));
  Generate(*exchange, 0, std::string(kCall).substr(0, 60), FinishReason::kLength);
  const json::value body = Parse(exchange->body());
  EXPECT_EQ(At(body, "/choices/0/finish_reason"), "length");
  EXPECT_EQ(Text(At(body, "/choices/0/message/content")), std::string(kCall).substr(0, 60));
}

TEST_F(ToolsTest, ChoiceNoneShowsTheToolsAndParsesNothing) {
  const json::value choice = Choice(With(R"("tool_choice":"none")"), kNow);
  EXPECT_EQ(At(choice, "/message/content"), kNow);
  EXPECT_EQ(At(choice, "/finish_reason"), "stop");
  (void)Choice(With(""), "x");
  EXPECT_EQ(api_.engine.request(0).prompt, api_.engine.request(1).prompt);
}

TEST_F(ToolsTest, AllowedToolsRestrictTheCallsAndNotThePrompt) {
  const std::string allowed =
      R"("tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[)"
      R"({"type":"function","function":{"name":"now"}}]}})";
  EXPECT_EQ(At(Choice(With(allowed), kCall), "/finish_reason"), "stop");
  EXPECT_EQ(At(Choice(With(allowed), kNow), "/finish_reason"), "tool_calls");
  (void)Choice(With(""), "x");
  EXPECT_EQ(api_.engine.request(0).prompt, api_.engine.request(2).prompt);
}

TEST_F(ToolsTest, OlderFunctionsGetOlderAnswers) {
  const std::string fields = R"("functions":[{"name":"now","parameters":{"type":"object"}}])";
  const json::value choice = Choice(fields, std::string(kNow) + kNow);
  EXPECT_EQ(At(choice, "/finish_reason"), "function_call");
  EXPECT_EQ(At(choice, "/message/function_call"), Parse(R"({"name":"now","arguments":"{}"})"));
  EXPECT_EQ(At(Choice(fields + R"(,"function_call":"none")", kNow), "/finish_reason"), "stop");
}

constexpr const char* kPlainNow = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
constexpr const char* kPlainWeather =
    "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>";

TEST_F(ToolsTest, RequiredLetsTheModelWriteCallsOnly) {
  const json::value choice = Choice(With(R"("tool_choice":"required")"), kPlainNow);
  EXPECT_EQ(At(choice, "/finish_reason"), "tool_calls");
  EXPECT_EQ(At(choice, "/message/tool_calls/0/function/name"), "now");
  EXPECT_TRUE(MayWrite(kPlainNow));
  EXPECT_TRUE(MayWrite(kPlainWeather));
  EXPECT_TRUE(MayWrite(std::string(kPlainWeather) + "\n" + kPlainNow));
  EXPECT_FALSE(MayWrite("It is sunny."));
  EXPECT_FALSE(MayWrite(kCall));  // text before the call
  // One call is one.
  (void)Choice(With(R"("tool_choice":"required","parallel_tool_calls":false)"), kPlainNow);
  EXPECT_TRUE(MayWrite(kPlainNow));
  EXPECT_FALSE(MayWrite(std::string(kPlainWeather) + "\n" + kPlainNow));
  // What is forced is part of no prompt.
  (void)Choice(With(""), "x");
  EXPECT_EQ(api_.engine.request(0).prompt, api_.engine.request(2).prompt);
}

// Text is free until a call begins, which is then well-formed.
TEST_F(ToolsTest, AutoConstrainsCallsAndNotText) {
  (void)Choice(With(""), "x");
  for (const char* text : {"", "It is <sunny>.", "<tool", "a <tool_call"})
    EXPECT_TRUE(MayWrite(text)) << text;
  EXPECT_TRUE(MayWrite(kPlainNow));
  EXPECT_TRUE(MayWrite("I look.\n" + std::string(kPlainWeather) + "\n" + kPlainNow));
  EXPECT_FALSE(MayWrite("I look: <tool_call>"));
  EXPECT_FALSE(MayWrite("<tool_call>\n{\"name\": \"later\", \"arguments\": {}}\n</tool_call>"));
  EXPECT_FALSE(MayWrite(std::string(kPlainNow) + " Done."));
  (void)Choice(With(R"("tool_choice":"none")"), "x");
  EXPECT_TRUE(MayWrite("<tool_call>"));
  // Schemas that cannot be carried out leave the answer free, unless they are strict.
  const std::string bad = R"("tools":[{"type":"function","function":{"name":"f","parameters":{"type":"x"})";
  (void)Choice(bad + "}}]", "x");
  EXPECT_TRUE(MayWrite("<tool_call>"));
  const auto exchange = Chat(bad + R"(,"strict":true}}])");
  EXPECT_EQ(exchange->response.status, 400);
  EXPECT_EQ(At(Parse(exchange->body()), "/error/code"), "invalid_function_parameters");
}

TEST_F(ToolsTest, AutoConstrainsAnAnswerThatBeginsWithACall) {
  SetFormat("llama3");
  (void)Choice(With(""), "x");
  const std::string now = R"({"name": "now", "parameters": {}})";
  EXPECT_TRUE(MayWrite(now));
  EXPECT_TRUE(MayWrite("<|python_tag|>" + now + "; " + now));
  EXPECT_TRUE(MayWrite(R"({"name": "Bob", "age": 3})"));  // no call
  EXPECT_TRUE(MayWrite("See " + now));
  EXPECT_FALSE(MayWrite(R"({"name": "now", "parameters": 3})"));
}

TEST_F(ToolsTest, AFormatThatTheEngineGivesUpIsNamed) {
  const auto exchange = Chat(R"("response_format":{"type":"json_object"})");
  api_.engine.Fail(0, InvalidArgument("the requested format is too ambiguous"));
  exchange->RunJobs();
  EXPECT_EQ(exchange->response.status, 400);
  const json::value error = At(Parse(exchange->body()), "/error");
  EXPECT_EQ(At(error, "/param"), "response_format");
  EXPECT_EQ(At(error, "/code"), "invalid_grammar");
}

TEST_F(ToolsTest, ANamedFunctionIsCalledOnce) {
  const std::string named =
      R"("tool_choice":{"type":"function","function":{"name":"get_weather"}},"max_tokens":90)";
  const auto exchange = Chat(With(named));
  Generate(*exchange, 0, kPlainWeather);  // the engine has not finished
  const json::value body = Parse(exchange->body());
  EXPECT_EQ(At(body, "/choices/0/finish_reason"), "tool_calls");
  EXPECT_EQ(At(body, "/choices/0/message/tool_calls/0/function/arguments"), R"({"city": "Paris"})");
  EXPECT_TRUE(MayWrite(kPlainWeather));
  EXPECT_FALSE(MayWrite(kPlainNow));
  EXPECT_FALSE(MayWrite(std::string(kPlainWeather) + "\n" + kPlainWeather));
  (void)Choice(With(R"("tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[)"
                    R"({"type":"function","function":{"name":"now"}}]}})"),
               kPlainNow);
  EXPECT_TRUE(MayWrite(kPlainNow));
  EXPECT_FALSE(MayWrite(kPlainWeather));
  const json::value older =
      Choice(R"("functions":[{"name":"now"},{"name":"get"}],"function_call":{"name":"now"})", kPlainNow);
  EXPECT_EQ(At(older, "/finish_reason"), "function_call");
  EXPECT_TRUE(MayWrite(kPlainNow));
  EXPECT_FALSE(MayWrite("<tool_call>\n{\"name\": \"get\", \"arguments\": {}}\n</tool_call>"));
}

// A call that is forced is known to be well-formed, so its arguments are sent as they come.
TEST_F(ToolsTest, AForcedCallIsStreamedAsItIsWritten) {
  const auto exchange = Chat(With(R"("tool_choice":"required","stream":true)"));
  const std::string text = kPlainWeather;
  const size_t half = text.find("ris");
  Generate(*exchange, 0, text.substr(0, half));
  EXPECT_NE(exchange->body().find(R"(\"city\": \"Pa)"), std::string::npos) << exchange->body();
  Generate(*exchange, 0, text.substr(half), FinishReason::kStop);
  std::string arguments, finish;
  for (const json::value& event : Events(exchange->body())) {
    const json::value& choice = At(event, "/choices/0");
    if (!At(choice, "/finish_reason").is_null()) finish = Text(At(choice, "/finish_reason"));
    const json::object& delta = At(choice, "/delta").as_object();
    if (delta.contains("tool_calls")) arguments += Text(At(delta.at("tool_calls"), "/0/function/arguments"));
  }
  EXPECT_EQ(arguments, R"({"city": "Paris"})");
  EXPECT_EQ(finish, "tool_calls");
}

TEST_F(ToolsTest, ReasoningMayComeBeforeAForcedCall) {
  api_.context.reasoning = ReasoningTagsOf("</think>");
  const std::string thought = "<think>\nHm.\n</think>\n\n";
  const json::value choice = Choice(With(R"("tool_choice":"required")"), thought + kPlainNow);
  EXPECT_EQ(At(choice, "/message/reasoning_content"), "Hm.");
  EXPECT_EQ(At(choice, "/message/tool_calls").as_array().size(), 1u);
  EXPECT_TRUE(MayWrite(thought + kPlainNow));
  EXPECT_TRUE(MayWrite(kPlainNow));
  EXPECT_FALSE(MayWrite(thought));
}

TEST_F(ToolsTest, ForcedCallsThatCannotBeWrittenAreRefused) {
  const auto refused = [&](const std::string& fields) {
    const auto exchange = Chat(fields);
    EXPECT_EQ(exchange->response.status, 400) << exchange->body();
    const json::value error = At(Parse(exchange->body()), "/error");
    return Text(At(error, "/param")) + " " + Text(At(error, "/code")) + " " + Text(At(error, "/message"));
  };
  const std::string strict =
      R"("tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object",)"
      R"("properties":{"a":{"not":{}}}}}}],"tool_choice":"required")";
  EXPECT_EQ(refused(strict),
            "tools invalid_function_parameters 'tools': the parameters of 'f': #/properties/a: 'not' is not "
            "supported.");
  EXPECT_EQ(refused(R"("tools":[{"function":{"name":"f","strict":1}}])").substr(0, 37),
            "tools[0].function.strict invalid_type");
  SetFormat("pythonic");
  EXPECT_EQ(refused(R"("tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object",)"
                    R"("properties":{"a b":{}},"required":["a b"]}}}],"tool_choice":"required")"),
            "tools invalid_function_parameters 'tools': the parameters of 'f': 'a b' is no name in Python.");
}

TEST_F(ToolsTest, WrongFieldsAreRefusedByName) {
  ExpectRefused(R"("tools":{})", "tools");
  ExpectRefused(R"("tools":[1])", "tools[0]");
  ExpectRefused(R"("tools":[{"type":"function"}])", "tools[0].function.name");
  ExpectRefused(R"("tools":[{"type":"function","function":{"name":"a b"}}])", "tools[0].function.name");
  ExpectRefused(R"("tools":[{"type":"function","function":{"name":")" + std::string(65, 'a') + "\"}}]",
                "tools[0].function.name");
  ExpectRefused(R"("tools":[{"function":{"name":"a","parameters":[]}}])", "tools[0].function.parameters");
  ExpectRefused(R"("tools":[{"function":{"name":"a"}},{"function":{"name":"a"}}])", "tools[1].function.name");
  ExpectRefused(R"("tools":[{"type":"custom","custom":{"name":"a"}}])", "tools[0]");
  ExpectRefused(With(R"("tool_choice":"sometimes")"), "tool_choice");
  ExpectRefused(With(R"("tool_choice":{"type":"function","function":{"name":"later"}})"), "tool_choice");
  ExpectRefused(With(R"("tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto"}})"),
                "tool_choice.allowed_tools.tools");
  ExpectRefused(R"("tool_choice":"required")", "tool_choice");
  ExpectRefused(With(R"("parallel_tool_calls":1)"), "parallel_tool_calls");
  std::string many;
  for (int i = 0; i < 1025; ++i)
    many += (i == 0 ? "" : ",") + std::string(R"({"function":{"name":"f)") + std::to_string(i) + "\"}}";
  ExpectRefused("\"tools\":[" + many + "]", "tools");
}

TEST_F(ToolsTest, ReasoningIsSplitOff) {
  api_.context.reasoning = ReasoningTagsOf("</think>");
  const json::value choice = Choice("", "<think>\nHm.\n</think>\n\nYes.");
  EXPECT_EQ(At(choice, "/message/reasoning_content"), "Hm.");
  EXPECT_EQ(At(choice, "/message/content"), "Yes.");
}

TEST_F(ToolsTest, TokensOfReasoningAreCountedOnEveryRoute) {
  api_.context.reasoning = ReasoningTagsOf("</think>");
  const std::string text = "<think>Hm.</think>Yes.";
  const auto usage = [&](const char* path, const std::string& body) {
    const auto exchange = api_.Post(path, body);
    Generate(*exchange, api_.engine.submitted() - 1, text, FinishReason::kStop);
    return At(Parse(exchange->body()), "/usage");
  };
  // A token of the fixture is a byte. The tag is open after its last one, and until the last one of the end.
  constexpr int kReasoning = 1 + 3 + 7;
  const std::string messages = R"("messages":[{"role":"user","content":"hi"}])";
  EXPECT_EQ(
      At(usage("/v1/chat/completions", "{" + messages + "}"), "/completion_tokens_details/reasoning_tokens"),
      kReasoning);
  EXPECT_EQ(At(usage("/v1/responses", R"({"input":"hi"})"), "/output_tokens_details/reasoning_tokens"),
            kReasoning);
  EXPECT_EQ(At(usage("/v1/messages", R"({"max_tokens":99,)" + messages + "}"),
               "/output_tokens_details/thinking_tokens"),
            kReasoning);
  EXPECT_EQ(At(usage("/v1/completions", R"({"prompt":"hi"})"), "/completion_tokens_details/reasoning_tokens"),
            0);
}

TEST_F(ToolsTest, ToolsThatAreLeftOutAreCounted) {
  Choice(R"("tools":[{"type":"web_search"},{"type":"function","function":{"name":"f"}}])", "x");
  EXPECT_EQ(api_.context.answers->Read().skipped_tools, 1u);
}

TEST_F(ToolsTest, ATemplateWithoutToolsGetsThemAsText) {
  api_.context.tool_format = FindToolFormat("generic");
  const std::string call = R"({"tool_call": {"name": "now", "arguments": {"a": 1}}})";
  const json::value choice = Choice(With(""), call);
  EXPECT_EQ(At(choice, "/finish_reason"), "tool_calls");
  EXPECT_EQ(At(choice, "/message/tool_calls/0/function/arguments"), R"({"a": 1})");
}

}  // namespace
}  // namespace prefixd::testing_support
