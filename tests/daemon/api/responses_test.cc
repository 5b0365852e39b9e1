// POST /v1/responses: events and failures of streams, prompts of items, and what is stored.
#include <gmock/gmock.h>

#include <map>

#include "base/json_fields.h"
#include "base/prng.h"
#include "daemon/api/responses/response_store.h"
#include "tests/daemon/api/api_fixture.h"
#include "text/output/tool_format.h"

namespace prefixd::testing_support {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kTools =
    R"("tools":[{"type":"function","name":"get_weather","parameters":{"type":"object"}},)"
    R"({"type":"web_search"},{"type":"custom","name":"patch"}])";
constexpr const char* kAnswer =
    "<think>So.</think>I look.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\":  "
    "\"Paris\"}}\n"
    "</tool_call>";

class ResponsesTest : public ApiTest {
 protected:
  ResponsesTest() {
    static constexpr ReasoningTags kTags{"<think>", "</think>"};
    api_.context.tool_format = FindToolFormat("hermes");
    api_.context.call_writing = WritingOf(*api_.context.tool_format);
    api_.context.reasoning = &kTags;
  }
  std::shared_ptr<MemoryExchange> Create(const std::string& fields, HttpHeaders headers = {}) {
    return api_.Request("POST", "/v1/responses", R"({"model":"alias",)" + fields + "}", std::move(headers));
  }
  json::value Answer(const std::string& fields, const std::string& text, HttpHeaders headers = {}) {
    const auto exchange = Create(fields, std::move(headers));
    Generate(*exchange, api_.engine.submitted() - 1, text, FinishReason::kStop);
    EXPECT_EQ(exchange->response.status, 200) << exchange->body();
    return Parse(exchange->body());
  }
  std::string Prompt() {
    std::string text;
    for (const TokenId id : api_.engine.request(api_.engine.submitted() - 1).prompt)
      text += id > 255 ? "|" : std::string(1, static_cast<char>(id));
    return text;
  }
};

std::vector<json::value> EventsOf(const std::string& stream) {
  std::vector<json::value> events;
  for (size_t at = 0, end; (end = stream.find("\n\n", at)) != std::string::npos; at = end + 2) {
    const std::string event = stream.substr(at, end - at);
    const size_t line = event.find("\ndata: ");
    EXPECT_TRUE(event.starts_with("event: ") && line != std::string::npos) << event;
    if (line == std::string::npos) break;
    events.push_back(Parse(event.substr(line + 7)));
    EXPECT_EQ(event.substr(7, line - 7), Text(At(events.back(), "/type")));
  }
  return events;
}

TEST_F(ResponsesTest, AStreamFinishesEveryItemAndEndsWithTheWholeResponse) {
  const std::string text = kAnswer;
  const auto exchange = Create(std::string(R"("input":"hi","stream":true,)") + kTools);
  for (size_t i = 0; i < text.size(); ++i)
    Generate(*exchange, 0, text.substr(i, 1),
             i + 1 == text.size() ? std::optional(FinishReason::kStop) : std::nullopt);
  EXPECT_TRUE(exchange->ended);
  const std::vector<json::value> events = EventsOf(exchange->body());
  std::vector<std::string> order;
  std::map<int64_t, json::value> done;
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(At(events[i], "/sequence_number"), static_cast<int64_t>(i));
    const std::string type = Text(At(events[i], "/type")).substr(9);
    if (order.empty() || order.back() != type) order.push_back(type);
    if (type == "output_item.done") done[At(events[i], "/output_index").as_int64()] = At(events[i], "/item");
  }
  EXPECT_THAT(order, ElementsAre("created", "in_progress", "output_item.added", "content_part.added",
                                 "reasoning_text.delta", "reasoning_text.done", "content_part.done",
                                 "output_item.done", "output_item.added", "content_part.added",
                                 "output_text.delta", "output_text.done", "content_part.done",
                                 "output_item.done", "output_item.added", "function_call_arguments.delta",
                                 "function_call_arguments.done", "output_item.done", "completed"));
  const json::array& output = At(events.back(), "/response/output").as_array();
  ASSERT_EQ(output.size(), 3u);
  for (size_t i = 0; i < output.size(); ++i) EXPECT_EQ(output[i], done[static_cast<int64_t>(i)]);
  EXPECT_EQ(At(output[0], "/content/0/text"), "So.");
  EXPECT_EQ(At(output[1], "/content/0/text"), "I look.");
  EXPECT_EQ(At(output[2], "/arguments"), R"({"city":  "Paris"})");
  EXPECT_EQ(At(events.back(), "/response/usage/output_tokens"), static_cast<int64_t>(text.size()));
  const auto stored = api_.Request("GET", "/v1/responses/" + Text(At(events.back(), "/response/id")));
  EXPECT_EQ(Parse(stored->body()), At(events.back(), "/response"));
}

TEST_F(ResponsesTest, AFailureIsToldInBothForms) {
  const auto exchange = Create(R"("input":"hi","stream":true)");
  Generate(*exchange, 0, "ab");
  api_.engine.Fail(0, IoError("broken"));
  exchange->RunJobs();
  const std::vector<json::value> events = EventsOf(exchange->body());
  const json::value& error = events[events.size() - 2];
  EXPECT_EQ(At(error, "/type"), "error");
  EXPECT_EQ(At(error, "/code"), "internal_error");
  EXPECT_EQ(At(error, "/error/message"), At(error, "/message"));
  EXPECT_EQ(At(events.back(), "/type"), "response.failed");
  EXPECT_EQ(At(events.back(), "/response/status"), "failed");
  EXPECT_EQ(api_.context.responses->size(), 0u);
}

TEST_F(ResponsesTest, ItemsBecomeTheMessagesOfAChat) {
  (void)Create(
      R"("instructions":"rules","input":[{"role":"user","content":[{"type":"input_text","text":"a"}]},)"
      R"({"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"r"}]},)"
      R"({"type":"message","role":"assistant","content":[{"type":"output_text","text":"b"}]},)"
      R"({"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},)"
      R"({"type":"function_call_output","call_id":"c1","output":"out"},{"role":"user","content":"d"}])");
  const std::string prompt = Prompt();
  (void)api_.Post("/v1/chat/completions",
                  R"({"messages":[{"role":"system","content":"rules"},{"role":"user","content":"a"},)"
                  R"({"role":"assistant","content":"b","reasoning_content":"r","tool_calls":[{"id":"c1",)"
                  R"("type":"function","function":{"name":"f","arguments":"{}"}}]},)"
                  R"({"role":"tool","tool_call_id":"c1","content":"out"},{"role":"user","content":"d"}]})");
  EXPECT_EQ(prompt, Prompt());
  EXPECT_EQ(prompt, "|system:rules|user:a|assistant:b|tool:out|user:d|");
}

TEST_F(ResponsesTest, AResponseContinuesAnotherOfItsKey) {
  api_.context.api_keys = testing_support::PlainKeys({"one", "two"});
  const HttpHeaders one = {{"authorization", "Bearer one"}}, two = {{"x-api-key", "two"}};
  const json::value first = Answer(R"("input":"a","instructions":"rules")", "b", one);
  const std::string id = Text(At(first, "/id"));
  const std::string next = R"("input":"c","previous_response_id":")" + id + "\"";
  (void)Create(next, one);
  EXPECT_EQ(Prompt(), "|user:a|assistant:b|user:c|");
  const auto refused = Create(next, two);
  EXPECT_EQ(refused->response.status, 400);
  EXPECT_EQ(At(Parse(refused->body()), "/error/code"), "previous_response_not_found");
  for (const char* method : {"GET", "DELETE"}) {
    EXPECT_EQ(api_.Request(method, "/v1/responses/" + id, "", two)->response.status, 404);
    EXPECT_EQ(api_.Request(method, "/v1/responses/" + id)->response.status, 401);
  }
  EXPECT_EQ(api_.Request("GET", "/v1/responses/" + id + "/input_items", "", two)->response.status, 404);
  EXPECT_EQ(api_.Request("DELETE", "/v1/responses/" + id, "", one)->response.status, 200);
  EXPECT_EQ(api_.Request("GET", "/v1/responses/" + id, "", one)->response.status, 404);
}

TEST_F(ResponsesTest, IdsThatClientsChooseReplaceNoResponse) {
  const HttpHeaders chosen = {{"x-request-id", "req_0123456789abcdef"}};
  EXPECT_NE(At(Answer(R"("input":"a")", "b", chosen), "/id"),
            At(Answer(R"("input":"c")", "d", chosen), "/id"));
  EXPECT_EQ(api_.context.responses->size(), 2u);
}

TEST_F(ResponsesTest, NumbersInSchemasAreRepeatedAsNumbers) {
  const json::value body = Answer(R"("input":"a","tools":[{"type":"function","name":"f","parameters":)"
                                  R"({"maximum":123456789012345678901234567890}}])",
                                  "b");
  EXPECT_TRUE(At(body, "/tools/0/parameters/maximum").is_double());
}

TEST_F(ResponsesTest, MembersOfItemsThatNobodyKnowsAreStoredAsTheyAre) {
  const std::string item = R"({"role":"user","content":"a","tools":{"x":[123456789012345678901234567890]}})";
  const json::value first = Answer(R"("input":[)" + item + "]", "b");
  const std::string id = Text(At(first, "/id"));
  const auto items = api_.Request("GET", "/v1/responses/" + id + "/input_items");
  EXPECT_EQ(items->response.status, 200) << items->body();
  EXPECT_EQ(items->body().find(kJsonNumberMark), std::string::npos);
  (void)Create(R"("input":"c","previous_response_id":")" + id + "\"");
  EXPECT_EQ(Prompt(), "|user:a|assistant:b|user:c|");
}

// The store against a model of it: never beyond its bounds, and each owner sees its own.
TEST(ResponseStoreTest, StaysWithinItsBoundsAndKeepsOwnersApart) {
  Prng prng(7);
  ResponseStore store(20'000, 12);
  std::map<std::pair<std::string, std::string>, std::string> put;
  size_t found = 0, kept_most = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::string owner(prng.Below(3), 'o'), id = std::to_string(prng.Below(12));
    const auto key = std::make_pair(owner, id);
    switch (prng.Below(4)) {
      case 0: {
        const std::string text = owner + "/" + std::to_string(i);
        store.Put(owner, id, {text, std::string(prng.Below(prng.Below(40) == 0 ? 30'000 : 3'000), 'x')});
        put[key] = text;
        break;
      }
      case 1:
        if (store.Erase(owner, id)) put.erase(key);
        break;
      default:
        if (const auto stored = store.Find(owner, id)) {
          ++found;
          ASSERT_TRUE(put.contains(key));
          ASSERT_EQ(stored->response, put[key]);
        }
    }
    ASSERT_LE(store.bytes(), 20'000u);
    ASSERT_LE(store.size(), 12u);
    kept_most = std::max(kept_most, store.size());
  }
  EXPECT_GT(found, 1000u);
  EXPECT_GT(kept_most, 8u);
}

TEST(ResponseStoreTest, DropsWhatWasUsedTheLongestAgo) {
  ResponseStore store(1 << 20, 2);
  store.Put("a", "1", {"one", ""});
  store.Put("a", "2", {"two", ""});
  EXPECT_NE(store.Find("a", "1"), nullptr);
  store.Put("a", "3", {"three", ""});
  EXPECT_EQ(store.Find("a", "2"), nullptr);
  EXPECT_NE(store.Find("a", "1"), nullptr);
  // One owner's name and id are not another's, whatever their letters are.
  store.Put("a1", "", {"other", ""});
  EXPECT_EQ(store.Find("a", "1")->response, "one");
}

}  // namespace
}  // namespace prefixd::testing_support
