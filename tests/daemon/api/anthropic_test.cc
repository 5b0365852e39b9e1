// POST /v1/messages and /v1/messages/count_tokens: prompts, answers, events and errors.
#include <gmock/gmock.h>

#include <utility>

#include "tests/daemon/api/api_fixture.h"
#include "text/output/tool_format.h"

namespace prefixd::testing_support {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

constexpr const char* kHead = R"({"model":"alias","max_tokens":50,)";
constexpr const char* kHi = R"("messages":[{"role":"user","content":"hi"}])";
constexpr const char* kTools =
    R"("tools":[{"name":"get_weather","description":"d","input_schema":{"type":"object"}},)"
    R"({"type":"web_search_20250305","name":"web_search"}])";
constexpr const char* kCall =
    "I look.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\":  \"Paris\"}}\n</tool_call>";

struct NamedEvent {
  std::string name;
  json::value data;
};

std::vector<NamedEvent> NamedEvents(const std::string& stream) {
  std::vector<NamedEvent> events;
  for (const std::string& event : EventTexts(stream)) {
    if (event.starts_with(':')) continue;
    const size_t line = event.find("\ndata: ");
    EXPECT_TRUE(event.starts_with("event: ") && line != std::string::npos) << event;
    if (line == std::string::npos) break;
    events.push_back({event.substr(7, line - 7), Parse(event.substr(line + 7))});
    EXPECT_EQ(events.back().name, Text(At(events.back().data, "/type")));
  }
  return events;
}

class AnthropicTest : public ApiTest {
 protected:
  std::shared_ptr<MemoryExchange> Messages(const std::string& fields) {
    return api_.Post("/v1/messages", kHead + fields + "}");
  }
  void SetFormat() {
    static constexpr ReasoningTags kTags{"<think>", "</think>"};
    api_.context.tool_format = FindToolFormat("hermes");
    api_.context.call_writing = WritingOf(*api_.context.tool_format);
    api_.context.reasoning = &kTags;
  }
  // The prompt that the engine got last.
  std::string Prompt() {
    std::string text;
    for (const TokenId id : api_.engine.request(api_.engine.submitted() - 1).prompt)
      text += id == kUserToken        ? "<|user|>"
              : id == kAssistantToken ? "<|assistant|>"
                                      : std::string(1, static_cast<char>(id));
    return text;
  }
  std::string PromptOf(const std::string& fields) {
    const auto exchange = Messages(fields);
    EXPECT_EQ(exchange->answers, 0) << exchange->body();
    return exchange->answers == 0 ? Prompt() : "";
  }
  std::string ErrorOf(const std::string& fields) {
    const auto exchange = Messages(fields);
    EXPECT_EQ(exchange->response.status, 400) << fields << " " << exchange->body();
    EXPECT_EQ(At(Parse(exchange->body()), "/error/type"), "invalid_request_error");
    return Text(At(Parse(exchange->body()), "/error/message"));
  }
};

TEST_F(AnthropicTest, AnAnswerIsAMessageOfBlocks) {
  SetFormat();
  api_.engine.cached_tokens = 3;
  api_.engine.written_tokens = 2;
  const auto exchange = Messages(std::string(kHi) + "," + kTools);
  Generate(*exchange, 0, "<think>So.</think>" + std::string(kCall), FinishReason::kStop);
  const json::value body = Parse(exchange->body());
  EXPECT_EQ(At(body, "/type"), "message");
  EXPECT_EQ(At(body, "/role"), "assistant");
  EXPECT_EQ(At(body, "/id"), "msg_0123456789abcdef");
  EXPECT_EQ(At(body, "/model"), "alias");
  EXPECT_EQ(At(body, "/stop_reason"), "tool_use");
  EXPECT_TRUE(At(body, "/stop_sequence").is_null());
  EXPECT_EQ(At(body, "/content").as_array().size(), 3u);
  EXPECT_EQ(At(body, "/content/0"), Parse(R"({"type":"thinking","thinking":"So.","signature":""})"));
  EXPECT_EQ(At(body, "/content/1"), Parse(R"({"type":"text","text":"I look.","citations":null})"));
  EXPECT_EQ(At(body, "/content/2/name"), "get_weather");
  EXPECT_EQ(At(body, "/content/2/input"), Parse(R"({"city":"Paris"})"));
  EXPECT_THAT(exchange->body(), HasSubstr(R"("input":{"city":  "Paris"})")) << "as the model wrote it";
  const int64_t prompt = static_cast<int64_t>(api_.engine.request(0).prompt.size());
  EXPECT_EQ(At(body, "/usage/input_tokens"), prompt - 5);
  EXPECT_EQ(At(body, "/usage/cache_read_input_tokens"), 3);
  EXPECT_EQ(At(body, "/usage/cache_creation_input_tokens"), 2);
  EXPECT_EQ(At(body, "/usage/cache_creation/ephemeral_5m_input_tokens"), 2);
}

TEST_F(AnthropicTest, AStreamHasTheSameBlocksAsEvents) {
  SetFormat();
  const std::string text = "<think>So.</think>" + std::string(kCall);
  const auto exchange = Messages(std::string(kHi) + R"(,"stream":true,)" + kTools);
  for (size_t i = 0; i < text.size(); ++i)
    Generate(*exchange, 0, text.substr(i, 1),
             i + 1 == text.size() ? std::optional(FinishReason::kStop) : std::nullopt);
  EXPECT_TRUE(exchange->ended);
  std::vector<std::string> order;
  std::string thinking, content, arguments;
  for (const auto& [name, data] : NamedEvents(exchange->body())) {
    if (name != "content_block_delta") {
      order.push_back(name);
      continue;
    }
    if (order.back() != name) order.push_back(name);
    const json::object& delta = At(data, "/delta").as_object();
    if (delta.at("type") == "thinking_delta") thinking += Text(delta.at("thinking"));
    if (delta.at("type") == "text_delta") content += Text(delta.at("text"));
    if (delta.at("type") == "input_json_delta") arguments += Text(delta.at("partial_json"));
    EXPECT_EQ(At(data, "/index"), delta.at("type") == "thinking_delta" ? 0
                                  : delta.at("type") == "text_delta"   ? 1
                                                                       : 2);
  }
  EXPECT_THAT(order, ElementsAre("message_start", "content_block_start", "content_block_delta",
                                 "content_block_stop", "content_block_start", "content_block_delta",
                                 "content_block_stop", "content_block_start", "content_block_delta",
                                 "content_block_stop", "message_delta", "message_stop"));
  EXPECT_EQ(thinking, "So.");
  EXPECT_EQ(content, "I look.");
  EXPECT_EQ(arguments, R"({"city":  "Paris"})");
  const std::vector<NamedEvent> events = NamedEvents(exchange->body());
  EXPECT_EQ(At(events.front().data, "/message/content"), json::array());
  const json::value& end = events[events.size() - 2].data;
  EXPECT_EQ(At(end, "/delta/stop_reason"), "tool_use");
  EXPECT_EQ(At(end, "/usage/output_tokens"), static_cast<int64_t>(text.size()));
}

TEST_F(AnthropicTest, ACallThatIsCutHasNoInput) {
  SetFormat();
  const auto exchange = Messages(std::string(kHi) + R"(,"tool_choice":{"type":"any"},)" + kTools);
  Generate(*exchange, 0, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Par",
           FinishReason::kLength);
  const json::value body = Parse(exchange->body());
  EXPECT_EQ(At(body, "/content/0/input"), json::object());
  EXPECT_EQ(At(body, "/stop_reason"), "max_tokens");
}

TEST_F(AnthropicTest, TheReasonOfTheEndIsNamed) {
  const auto reason = [&](const std::string& fields, const std::string& text, FinishReason finish) {
    const auto exchange = Messages(std::string(kHi) + fields);
    Generate(*exchange, api_.engine.submitted() - 1, text, finish);
    const json::value body = Parse(exchange->body());
    const json::value& stop = At(body, "/stop_sequence");
    return Text(At(body, "/stop_reason")) + (stop.is_null() ? "" : " " + Text(stop));
  };
  EXPECT_EQ(reason("", "ab", FinishReason::kStop), "end_turn");
  EXPECT_EQ(reason("", "ab", FinishReason::kLength), "max_tokens");
  EXPECT_EQ(reason(R"(,"stop_sequences":["x","STOP"])", "abSTOPc", FinishReason::kLength),
            "stop_sequence STOP");
  EXPECT_EQ(reason(R"(,"max_tokens":1000)", "ab", FinishReason::kLength), "model_context_window_exceeded");
  EXPECT_EQ(reason(R"(,"max_tokens":0)", "", FinishReason::kLength), "max_tokens");
}

TEST_F(AnthropicTest, BlocksBecomeTheMessagesOfAChat) {
  const auto chat = [&](const std::string& messages) {
    (void)api_.Post("/v1/chat/completions", R"({"messages":[)" + messages + "]}");
    return Prompt();
  };
  const std::string system = R"("system":[{"type":"text","text":"x-anthropic-billing-header: cch=1;"},)"
                             R"({"type":"text","text":"rules","cache_control":{"type":"ephemeral"}}],)";
  EXPECT_EQ(PromptOf(system + kHi),
            chat(R"({"role":"system","content":"rules"},{"role":"user","content":"hi"})"));
  EXPECT_EQ(PromptOf(std::string(R"("system":"rules",)") + kHi),
            chat(R"({"role":"system","content":"rules"},{"role":"user","content":"hi"})"));
  // Blocks of one role are one turn; results come before the text beside them.
  EXPECT_EQ(
      PromptOf(R"("messages":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"text",)"
               R"("text":"b"}]},{"role":"assistant","content":[{"type":"text","text":"c"},)"
               R"({"type":"tool_use","id":"t1","name":"f","input":{"k":1.0}}]},{"role":"user","content":)"
               R"([{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"r"}]},)"
               R"({"type":"text","text":"d"}]},{"role":"system","content":"e"}])"),
      chat(R"({"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},)"
           R"({"role":"assistant","content":"c","tool_calls":[{"id":"t1","type":"function","function":)"
           R"({"name":"f","arguments":"{\"k\":1.0}"}}]},{"role":"tool","tool_call_id":"t1","content":)"
           R"("r"},{"role":"user","content":[{"type":"text","text":"d"},{"type":"text","text":"e"}]})"));
  EXPECT_THAT(PromptOf(R"("messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t",)"
                       R"("is_error":true,"content":"no"}]}])"),
              HasSubstr("tool:Error: no"));
  // What the assistant has begun is continued.
  EXPECT_THAT(PromptOf(R"("messages":[{"role":"user","content":"a"},{"role":"assistant","content":"So"}])"),
              testing::EndsWith("assistant:So"));
}

TEST_F(AnthropicTest, CountTokensIsWhatARequestUses) {
  const std::string fields = std::string(R"("system":"rules",)") + kHi + "," + kTools;
  const auto counted = api_.Post("/v1/messages/count_tokens", R"({"model":"alias",)" + fields + "}");
  EXPECT_EQ(counted->response.status, 200) << counted->body();
  EXPECT_EQ(api_.engine.submitted(), 0u);
  (void)Messages(fields);
  EXPECT_EQ(At(Parse(counted->body()), "/input_tokens"),
            static_cast<int64_t>(api_.engine.request(0).prompt.size()));
}

TEST_F(AnthropicTest, ErrorsNameTheField) {
  const std::pair<const char*, const char*> kCases[] = {
      {R"("messages":[])", "messages"},
      {R"("messages":[{"role":"tool","content":"x"}])", "messages.0.role"},
      {R"("messages":[{"role":"user","content":[{"type":"image"}]}])", "messages.0.content.0"},
      {R"("messages":[{"role":"user","content":[{"type":"tool_result"}]}])",
       "messages.0.content.0.tool_use_id"},
      {R"("messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":1}]}])",
       "messages.0.content.0.input"},
      {R"("messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":)"
       R"({"x":[1e999]}}]}])",
       "messages.0.content.0.input: a number"},
      {R"("messages":[{"role":"user","content":"a"},{"role":"assistant","content":[]}])", "messages.1"},
      {R"("messages":[{"role":"user","content":"a"}],"system":[{"type":"image"}])", "system.0"},
      {R"("messages":[{"role":"user","content":"a"}],"stop_sequences":[""])", "stop_sequences"},
      {R"("messages":[{"role":"user","content":"a"}],"mcp_servers":[{}])", "mcp_servers"},
      {R"("messages":[{"role":"user","content":"a"}],"max_tokens":null)", "max_tokens"},
      {R"("messages":[{"role":"user","content":"a"}],"tools":[{"name":"a b"}])", "tools[0].name"},
      {R"("messages":[{"role":"user","content":"a"}],"tools":[{"name":"f","input_schema":1}])",
       "tools[0].input_schema"},
      {R"("messages":[{"role":"user","content":"a"}],"tool_choice":{"type":"any"})", "tool_choice"},
      {R"("messages":[{"role":"user","content":"a"}],"output_config":{"format":{"type":"xml"}})",
       "output_config.format.type"},
      {R"("messages":[{"role":"user","content":"a"}],"output_config":{"format":{"type":"json_schema"}})",
       "output_config.format.schema"},
  };
  for (const auto& [fields, named] : kCases) EXPECT_THAT(ErrorOf(fields), HasSubstr(named)) << fields;
}

TEST_F(AnthropicTest, AThreadIsRefusedWithTheCodeThatClientsKnow) {
  const auto refused = Messages(std::string(kHi) + R"(,"thread":{"type":"create"})");
  EXPECT_EQ(refused->response.status, 400);
  EXPECT_EQ(At(Parse(refused->body()), "/error/details/error_code"), "thread_unsupported_request");
  EXPECT_EQ(Messages(std::string(kHi) + R"(,"thread":false)")->answers, 0);
}

TEST_F(AnthropicTest, MarkersOfTheCacheAreChecked) {
  const auto block = [](const std::string& ttl) {
    return R"({"type":"text","text":"a","cache_control":{"type":"ephemeral")" + ttl + "}}";
  };
  const auto with = [&](const std::string& blocks) {
    return R"("messages":[{"role":"user","content":[)" + blocks + "]}]";
  };
  const std::string any = block(""), hour = block(R"(,"ttl":"1h")");
  EXPECT_THAT(ErrorOf(with(any + "," + any + "," + any + "," + any + "," + any)), HasSubstr("at most 4"));
  EXPECT_THAT(ErrorOf(with(any + "," + hour)), HasSubstr("before"));
  EXPECT_THAT(ErrorOf(with(R"({"type":"text","text":"","cache_control":{"type":"ephemeral"}})")),
              HasSubstr("empty text"));
  EXPECT_THAT(ErrorOf(with(block(R"(,"ttl":"2h")"))), HasSubstr("ttl"));
  api_.engine.written_tokens = 4;
  const auto exchange = Messages(with(hour + "," + hour));
  Generate(*exchange, 0, "x", FinishReason::kStop);
  EXPECT_EQ(At(Parse(exchange->body()), "/usage/cache_creation/ephemeral_1h_input_tokens"), 4);
}

TEST_F(AnthropicTest, ErrorsBeforeAHandlerHaveTheShapeOfTheRoute) {
  const auto expect = [](const MemoryExchange& exchange, int status, const char* type) {
    const json::value body = Parse(exchange.body());
    EXPECT_EQ(exchange.response.status, status) << exchange.body();
    EXPECT_EQ(At(body, "/type"), "error");
    EXPECT_EQ(At(body, "/error/type"), type);
    EXPECT_FALSE(Text(At(body, "/error/message")).empty());
    EXPECT_EQ(Text(At(body, "/request_id")), exchange.request_id());
  };
  expect(*api_.Post("/v1/messages", "{"), 400, "invalid_request_error");
  expect(*api_.Request("GET", "/v1/messages"), 405, "invalid_request_error");
  expect(*api_.Post("/messages/batches", "{}"), 404, "not_found_error");
  expect(*Messages(std::string(R"("model":"other",)") + kHi), 404, "not_found_error");
  expect(*api_.Request("POST", "/v1/messages", "x", {{"content-type", "text/plain"}}), 415,
         "invalid_request_error");
  api_.engine.submit_results = {ResourceExhausted("the queue is full")};
  const auto full = Messages(kHi);
  expect(*full, 429, "rate_limit_error");
  EXPECT_EQ(full->header("Retry-After"), "1");
  api_.context.api_keys = testing_support::PlainKeys({"sk-test"});
  expect(*Messages(kHi), 401, "authentication_error");
  for (const HttpHeaders& key : {HttpHeaders{{"x-api-key", "sk-test"}, {"anthropic-version", "2023-06-01"}},
                                 HttpHeaders{{"authorization", "Bearer sk-test"}}}) {
    EXPECT_EQ(api_.Request("POST", "/v1/messages", std::string(kHead) + kHi + "}", key)->answers, 0);
  }
  EXPECT_EQ(api_.engine.submitted(), 2u);
  api_.state.set_phase(ServerPhase::kDraining);
  expect(*api_.Request("POST", "/v1/messages", "{}", {{"x-api-key", "sk-test"}}), 503, "overloaded_error");
  EXPECT_TRUE(Parse(api_.Post("/v1/messagesx", "{}")->body()).as_object().contains("error"));
  EXPECT_FALSE(Parse(api_.Post("/v1/messagesx", "{}")->body()).as_object().contains("type"));
}

TEST_F(AnthropicTest, APromptThatIsTooLongIsNamedAsClientsExpect) {
  const std::string text(300, 'a');
  EXPECT_THAT(ErrorOf(R"("messages":[{"role":"user","content":")" + text + R"("}])"),
              StartsWith("prompt is too long: 307 tokens > 200 maximum"));
  api_.context.max_prompt_bytes = 100;  // known without the ids
  EXPECT_THAT(ErrorOf(R"("messages":[{"role":"user","content":")" + text + R"("}])"),
              StartsWith("prompt is too long: "));
}

TEST_F(AnthropicTest, PingsAndFailuresAreEvents) {
  const auto exchange = Messages(std::string(kHi) + R"(,"stream":true)");
  exchange->AdvanceTime(api_.context.limits.stream_head_seconds + 1);
  EXPECT_TRUE(exchange->streaming);
  exchange->AdvanceTime(2 * api_.context.limits.ping_seconds);
  EXPECT_THAT(exchange->body(), StartsWith(": ping\n\n")) << "no event may precede message_start";
  Generate(*exchange, 0, "ab");
  exchange->AdvanceTime(3 * api_.context.limits.ping_seconds);
  api_.engine.Fail(0, IoError("broken"));
  exchange->RunJobs();
  std::vector<std::string> names;
  for (const auto& [name, data] : NamedEvents(exchange->body()))
    if (names.empty() || names.back() != name) names.push_back(name);
  EXPECT_THAT(names,
              ElementsAre("message_start", "content_block_start", "content_block_delta", "ping", "error"));
  EXPECT_EQ(At(NamedEvents(exchange->body()).back().data, "/error/type"), "api_error");
  EXPECT_TRUE(exchange->ended);
}

}  // namespace
}  // namespace prefixd::testing_support
