// Chat and completions behind their routes, with a scripted engine and an exchange in memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "daemon/api/response_json.h"
#include "tests/daemon/api/api_fixture.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing_support::ApiTest;
using testing_support::At;
using testing_support::Bytes;
using testing_support::Events;
using testing_support::kAssistantToken;
using testing_support::kBeginToken;
using testing_support::kEndToken;
using testing_support::kUserToken;
using testing_support::Parse;
using testing_support::Text;

constexpr FinishReason kLength = FinishReason::kLength;
constexpr FinishReason kStop = FinishReason::kStop;

TEST_F(ApiTest, FullCompletion) {
  api_.engine.cached_tokens = 2;
  api_.engine.written_tokens = 1;
  const auto exchange = Completion("\"seed\":5");
  ASSERT_EQ(api_.engine.submitted(), 1u);
  EXPECT_THAT(api_.engine.request(0).prompt, ElementsAre(kBeginToken, 'a', 'b', 'c'));
  EXPECT_EQ(api_.engine.request(0).sampling.max_tokens, 16);
  EXPECT_EQ(api_.engine.request(0).sampling.seed, 5u);
  EXPECT_EQ(exchange->answers, 0);
  Generate(*exchange, 0, "Hel");
  Generate(*exchange, 0, "lo", kLength);
  ASSERT_TRUE(exchange->ended);
  EXPECT_EQ(exchange->response.status, 200);
  EXPECT_EQ(exchange->response.content_type, "application/json");
  EXPECT_EQ(exchange->header("x-prefixd-cached-tokens"), "2");
  EXPECT_EQ(exchange->header("x-prefixd-computed-tokens"), "2");
  EXPECT_EQ(exchange->header("x-prefixd-cache-source"), "device=2,host=0,disk=0,shared=0");
  const json::value body = Parse(exchange->body());
  EXPECT_EQ(Text(At(body, "/id")), "cmpl-0123456789abcdef");
  EXPECT_EQ(Text(At(body, "/object")), "text_completion");
  EXPECT_EQ(Text(At(body, "/model")), "org/toy model:1");
  EXPECT_EQ(Text(At(body, "/choices/0/text")), "Hello");
  EXPECT_EQ(Text(At(body, "/choices/0/finish_reason")), "length");
  EXPECT_TRUE(At(body, "/choices/0/logprobs").is_null());
  EXPECT_EQ(At(body, "/usage"), Parse(R"({"prompt_tokens":4,"completion_tokens":5,"total_tokens":9,
    "prompt_cache_hit_tokens":2,"prompt_cache_miss_tokens":2,
    "prompt_tokens_details":{"cached_tokens":2,"cache_write_tokens":1,"audio_tokens":0},
    "completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,)"
                                      R"("rejected_prediction_tokens":0}})"));
}

TEST_F(ApiTest, FullChat) {
  const auto exchange = Chat("");
  std::vector<TokenId> prompt = Bytes("user:hi");
  prompt.insert(prompt.begin(), kUserToken);
  prompt.push_back(kAssistantToken);
  EXPECT_EQ(api_.engine.request(0).prompt, prompt);
  EXPECT_EQ(api_.engine.request(0).sampling.max_tokens, 200 - 9);
  std::vector<TokenId> answer = Bytes("Hi!");
  answer.push_back(kEndToken);
  Generate(*exchange, 0, answer, kStop);
  const json::value body = Parse(exchange->body());
  EXPECT_EQ(Text(At(body, "/id")), "chatcmpl-0123456789abcdef");
  EXPECT_EQ(Text(At(body, "/object")), "chat.completion");
  EXPECT_EQ(Text(At(body, "/model")), "alias");
  EXPECT_EQ(At(body, "/choices/0/message"), Parse(R"({"role":"assistant","content":"Hi!","refusal":null})"));
  EXPECT_TRUE(At(body, "/choices/0/logprobs").is_null());
  EXPECT_EQ(Text(At(body, "/choices/0/finish_reason")), "stop");
  EXPECT_EQ(At(body, "/usage/completion_tokens").as_int64(), 4);
  EXPECT_EQ(Text(At(body, "/system_fingerprint")), "fp_toy");
}

TEST_F(ApiTest, ChatStream) {
  const auto exchange = Chat("\"stream\":true,\"stream_options\":{\"include_usage\":true}");
  EXPECT_FALSE(exchange->streaming) << "the head waits for the first token";
  Generate(*exchange, 0, "He\xC3");
  ASSERT_TRUE(exchange->streaming);
  EXPECT_EQ(exchange->response.content_type, "text/event-stream; charset=utf-8");
  EXPECT_EQ(exchange->header("Cache-Control"), "no-cache");
  EXPECT_EQ(exchange->header("X-Accel-Buffering"), "no");
  EXPECT_EQ(exchange->header("x-prefixd-cached-tokens"), "0");
  EXPECT_EQ(exchange->header("x-prefixd-computed-tokens"), "9");
  Generate(*exchange, 0, "\xA9");
  Generate(*exchange, 0, "!", kLength);
  ASSERT_TRUE(exchange->ended);
  const auto events = Events(exchange->body());
  ASSERT_EQ(events.size(), 6u);
  EXPECT_EQ(At(events[0], "/choices/0/delta"), Parse(R"({"role":"assistant","content":""})"));
  EXPECT_EQ(At(events[1], "/choices/0/delta"), Parse(R"({"content":"He"})"));
  EXPECT_EQ(At(events[2], "/choices/0/delta"), Parse("{\"content\":\"\xC3\xA9\"}"));
  EXPECT_EQ(At(events[3], "/choices/0/delta"), Parse(R"({"content":"!"})"));
  EXPECT_EQ(At(events[4], "/choices/0/delta"), Parse("{}"));
  EXPECT_EQ(Text(At(events[4], "/choices/0/finish_reason")), "length");
  EXPECT_EQ(At(events[5], "/choices"), json::array());
  EXPECT_EQ(At(events[5], "/usage/completion_tokens").as_int64(), 5);
  for (size_t i = 0; i < events.size(); ++i) {
    for (const char* same : {"/id", "/created", "/model", "/system_fingerprint", "/object"})
      EXPECT_EQ(At(events[i], same), At(events[0], same));
    EXPECT_EQ(At(events[i], "/usage").is_null(), i != 5);
  }
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(At(events[i], "/choices/0/finish_reason").is_null());
  }
}

TEST_F(ApiTest, StreamsHaveUsageOnlyOnRequest) {
  const auto exchange = Completion("\"stream\":true");
  Generate(*exchange, 0, "x", kLength);
  for (const json::value& event : Events(exchange->body())) {
    EXPECT_FALSE(event.as_object().contains("usage"));
    EXPECT_EQ(At(event, "/choices").as_array().size(), 1u);
    EXPECT_EQ(Text(At(event, "/object")), "text_completion");
  }
}

TEST_F(ApiTest, TheHeadIsSentWithoutCacheHeadersAfterTenSecondsAndPingsFollow) {
  const auto exchange = Chat("\"stream\":true");
  exchange->AdvanceTime(9.9);
  EXPECT_FALSE(exchange->streaming);
  exchange->AdvanceTime(0.2);
  ASSERT_TRUE(exchange->streaming);
  EXPECT_EQ(exchange->header("x-prefixd-cached-tokens"), "");
  EXPECT_EQ(exchange->body(), "");
  exchange->AdvanceTime(15);
  exchange->AdvanceTime(15);
  EXPECT_EQ(exchange->body(), ": ping\n\n: ping\n\n");
  Generate(*exchange, 0, "x");
  const std::string before = exchange->body();
  exchange->AdvanceTime(15);
  EXPECT_EQ(exchange->body(), before) << "no ping when events were written";
  exchange->AdvanceTime(15);
  EXPECT_EQ(exchange->body(), before + ": ping\n\n");
  Generate(*exchange, 0, "y", kLength);
  EXPECT_EQ(exchange->answers, 1);
  EXPECT_EQ(Events(exchange->body()).size(), 4u);
  exchange->AdvanceTime(100);
  EXPECT_TRUE(exchange->body().ends_with("[DONE]\n\n"));
}

TEST_F(ApiTest, SeveralChoicesComeInOrderAndCountThePromptOnce) {
  api_.engine.cached_tokens = 4;
  const auto exchange =
      Chat("\"n\":3,\"seed\":9,\"stream\":true,\"stream_options\":{\"include_usage\":true}");
  ASSERT_EQ(api_.engine.submitted(), 3u);
  std::set<uint64_t> seeds;
  for (size_t i = 0; i < 3; ++i) seeds.insert(api_.engine.request(i).sampling.seed);
  EXPECT_EQ(seeds.size(), 3u);
  EXPECT_TRUE(seeds.contains(9));
  Generate(*exchange, 2, "c", kLength);
  EXPECT_FALSE(exchange->streaming) << "the cache figures are those of the first choice";
  Generate(*exchange, 0, "a", kLength);
  Generate(*exchange, 1, "b", kLength);
  const auto events = Events(exchange->body());
  std::vector<int64_t> indices;
  for (const json::value& event : events) {
    if (!At(event, "/choices").as_array().empty())
      indices.push_back(At(event, "/choices/0/index").as_int64());
  }
  EXPECT_THAT(indices, ElementsAre(0, 1, 2, 0, 0, 2, 2, 1, 1)) << "choice 0 comes first";
  EXPECT_EQ(At(events.back(), "/usage/prompt_tokens").as_int64(), 9);
  EXPECT_EQ(At(events.back(), "/usage/completion_tokens").as_int64(), 3);
  EXPECT_EQ(At(events.back(), "/usage/prompt_tokens_details/cached_tokens").as_int64(), 4);
}

TEST_F(ApiTest, SeveralPromptsAreChoicesInOrder) {
  api_.engine.cached_tokens = 1;
  const auto exchange = api_.Post("/completions", R"({"prompt":[[1,2],[3,4,5]],"n":2,"max_tokens":1})");
  ASSERT_EQ(api_.engine.submitted(), 4u);
  EXPECT_THAT(api_.engine.request(1).prompt, ElementsAre(1, 2));
  EXPECT_THAT(api_.engine.request(2).prompt, ElementsAre(3, 4, 5));
  EXPECT_EQ(api_.engine.request(0).sampling.seed, api_.engine.request(2).sampling.seed);
  for (size_t i = 4; i-- > 0;) Generate(*exchange, i, std::string(1, static_cast<char>('a' + i)), kLength);
  const json::value body = Parse(exchange->body());
  for (size_t i = 0; i < 4; ++i) {
    const json::value& choice = At(body, "/choices").as_array().at(i);
    EXPECT_EQ(At(choice, "/index").as_int64(), static_cast<int64_t>(i));
    EXPECT_EQ(Text(At(choice, "/text")), std::string(1, static_cast<char>('a' + i)));
  }
  EXPECT_EQ(At(body, "/usage/prompt_tokens").as_int64(), 5);
  EXPECT_EQ(exchange->header("x-prefixd-cached-tokens"), "2");
  EXPECT_EQ(exchange->header("x-prefixd-computed-tokens"), "3");
}

TEST_F(ApiTest, AStopStringEndsTheRequestAndIsNotReturned) {
  for (const bool stream : {false, true}) {
    const size_t index = api_.engine.submitted();
    const auto exchange = Completion(
        std::string("\"stop\":[\"STOP\"],\"stream_options\":{\"include_usage\":true},\"stream\":") +
        (stream ? "true" : "false"));
    for (const char* piece : {"one S", "TO", "x ST", "OP two", " three"})
      Generate(*exchange, index, std::string_view(piece));
    ASSERT_TRUE(exchange->ended);
    EXPECT_EQ(exchange->body().find("STOP"), exchange->body().find("\"STOP\"") + 1) << "only as stop_reason";
    EXPECT_THAT(api_.engine.cancelled, ElementsAre(index + 1));
    std::string text;
    json::value usage;
    if (stream) {
      for (const json::value& event : Events(exchange->body())) {
        if (!At(event, "/usage").is_null()) usage = At(event, "/usage");
        if (!At(event, "/choices").as_array().empty()) text += Text(At(event, "/choices/0/text"));
      }
    } else {
      const json::value body = Parse(exchange->body());
      text = Text(At(body, "/choices/0/text"));
      usage = At(body, "/usage");
      EXPECT_EQ(Text(At(body, "/choices/0/finish_reason")), "stop");
      EXPECT_EQ(Text(At(body, "/choices/0/stop_reason")), "STOP");
    }
    EXPECT_EQ(text, "one STOx ");
    EXPECT_EQ(At(usage, "/completion_tokens").as_int64(), 13);
    api_.engine.Fail(index, Cancelled("as asked"));
    exchange->RunJobs();
    EXPECT_EQ(exchange->answers, 1);
    api_.engine.cancelled.clear();
  }
}

TEST_F(ApiTest, LogprobsOfAChat) {
  const auto whole = Chat("\"logprobs\":true,\"top_logprobs\":2");
  Generate(*whole, 0, "a\xC3\xA9", kLength);
  const json::value body = Parse(whole->body());
  const json::array& content = At(body, "/choices/0/logprobs/content").as_array();
  ASSERT_EQ(content.size(), 3u);
  EXPECT_EQ(Text(At(content[0], "/token")), "a");
  EXPECT_EQ(Text(At(content[1], "/token")), "\xEF\xBF\xBD");
  EXPECT_EQ(At(content[1], "/bytes"), json::array{0xC3});
  EXPECT_EQ(At(content[2], "/top_logprobs").as_array().size(), 2u);
  EXPECT_EQ(static_cast<float>(At(content[0], "/logprob").as_double()), -0.1f * ('a' % 7 + 1));

  const auto stream = Chat("\"logprobs\":true,\"top_logprobs\":2,\"stream\":true");
  for (const char c : std::string("a\xC3\xA9")) Generate(*stream, 1, std::string(1, c));
  Generate(*stream, 1, "", kLength);
  json::array joined;
  for (const json::value& event : Events(stream->body())) {
    if (At(event, "/choices/0/logprobs").is_null()) continue;
    for (const json::value& entry : At(event, "/choices/0/logprobs/content").as_array())
      joined.push_back(entry);
  }
  EXPECT_EQ(joined, content);
}

TEST_F(ApiTest, LogprobsOfACompletion) {
  const auto exchange = Completion("\"logprobs\":2");
  std::vector<TokenId> ids = Bytes("\xC3\xA9x");
  ids.push_back(1);  // among the likeliest already
  Generate(*exchange, 0, ids, kLength);
  const json::value logprobs = At(Parse(exchange->body()), "/choices/0/logprobs");
  EXPECT_EQ(At(logprobs, "/text_offset"), (json::array{0, 0, 1, 2}));
  EXPECT_EQ(At(logprobs, "/tokens").as_array().size(), 4u);
  EXPECT_EQ(At(logprobs, "/token_logprobs").as_array().size(), 4u);
  EXPECT_EQ(At(logprobs, "/top_logprobs/2").as_object().size(), 3u);
  EXPECT_EQ(At(logprobs, "/top_logprobs/3").as_object().size(), 2u);
}

TEST_F(ApiTest, LogprobsReadBackBitForBit) {
  for (const float value :
       {-0.1f, -1e-30f, -3.4028235e38f, -0.0f, -12.3456789f, std::nextafter(-1.0f, 0.0f)}) {
    const json::value read = Parse(json::serialize(LogprobJson(value)));
    EXPECT_EQ(read.to_number<double>(), static_cast<double>(std::max(value, -9999.0f)));
  }
  for (const float value :
       {-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_EQ(LogprobJson(value).to_number<double>(), -9999.0);
  }
}

TEST_F(ApiTest, TokenIds) {
  const auto completion =
      api_.Post("/v1/completions", R"({"prompt":[7,8],"return_token_ids":true,"echo":true})");
  Generate(*completion, 0, "ab", kLength);
  const json::value body = Parse(completion->body());
  EXPECT_EQ(At(body, "/choices/0/prompt_token_ids"), (json::array{7, 8}));
  EXPECT_EQ(At(body, "/choices/0/token_ids"), (json::array{'a', 'b'}));
  EXPECT_EQ(Text(At(body, "/choices/0/text")),
            "\x07\x08"
            "ab");

  const auto chat = Chat("\"return_token_ids\":true,\"stream\":true");
  Generate(*chat, 1, "a");
  std::vector<TokenId> end = {'b', kEndToken};
  Generate(*chat, 1, end, kStop);
  const auto events = Events(chat->body());
  EXPECT_EQ(At(events[0], "/prompt_token_ids").as_array().size(), 9u);
  json::array ids;
  for (size_t i = 1; i < events.size(); ++i) {
    for (const json::value& id : At(events[i], "/choices/0/token_ids").as_array()) ids.push_back(id);
  }
  EXPECT_EQ(ids, (json::array{'a', 'b', kEndToken}));
}

TEST_F(ApiTest, ZeroTokensOnlyFillTheCache) {
  const auto exchange = Completion("\"max_tokens\":0,\"echo\":true");
  EXPECT_EQ(api_.engine.request(0).sampling.max_tokens, 0);
  Generate(*exchange, 0, "", kLength);
  const json::value body = Parse(exchange->body());
  EXPECT_EQ(Text(At(body, "/choices/0/text")), "abc");
  EXPECT_EQ(At(body, "/usage/completion_tokens").as_int64(), 0);
}

TEST_F(ApiTest, ADisconnectCancelsTheSequences) {
  const auto exchange = Completion("\"n\":2,\"stream\":true");
  Generate(*exchange, 0, "a");
  exchange->Disconnect();
  EXPECT_THAT(api_.engine.cancelled, ElementsAre(1, 2));
  Generate(*exchange, 0, "late");
  api_.engine.Fail(0, Cancelled("gone"));
  api_.engine.Fail(1, Cancelled("gone"));
  exchange->RunJobs();
  EXPECT_EQ(exchange->body().find("late"), std::string::npos);
  EXPECT_EQ(api_.engine.cancelled.size(), 2u);
}

TEST_F(ApiTest, AFullBacklogCancels) {
  const auto exchange = Completion("\"stream\":true");
  Generate(*exchange, 0, "a");
  exchange->accepting = false;
  Generate(*exchange, 0, "b");
  EXPECT_THAT(api_.engine.cancelled, ElementsAre(1));
}

TEST_F(ApiTest, PendingEventsAreDeliveredOnceAndInOrder) {
  const auto exchange = Completion("");
  for (const char* piece : {"a", "b", "c"}) api_.engine.Generate(0, std::string_view(piece));
  api_.engine.Generate(0, std::string_view("d"), kLength);
  exchange->RunJobs();
  EXPECT_EQ(Text(At(Parse(exchange->body()), "/choices/0/text")), "abcd");
}

TEST_F(ApiTest, ErrorsOfTheEngine) {
  const struct {
    Status status;
    int http;
    const char* code;
    const char* retry_after;
  } kCases[] = {{Unavailable("shutting down"), 503, "overloaded", "5"},
                {IoError("secret path"), 500, "internal_error", ""}};
  for (const auto& [status, http, code, retry_after] : kCases) {
    // The second choice is rejected, so the first is cancelled.
    api_.engine.submit_results = {Status::Ok(), status};
    api_.engine.cancelled.clear();
    const auto exchange = Completion("\"n\":2,\"stream\":true");
    EXPECT_EQ(exchange->response.status, http);
    EXPECT_EQ(Text(At(Parse(exchange->body()), "/error/code")), code);
    EXPECT_EQ(exchange->header("Retry-After"), retry_after);
    EXPECT_EQ(exchange->body().find("secret"), std::string::npos);
    EXPECT_EQ(api_.engine.cancelled.size(), 1u);
  }
  api_.engine.submit_results = {ResourceExhausted("the queue of 4 requests is full")};
  const auto exchange = Completion("\"n\":2,\"stream\":true");
  EXPECT_EQ(exchange->response.status, 429);
  EXPECT_EQ(Text(At(Parse(exchange->body()), "/error/code")), "rate_limit_exceeded");
  EXPECT_EQ(exchange->header("Retry-After"), "1");
}

TEST_F(ApiTest, FailuresWhileGenerating) {
  const auto early = Completion("\"stream\":true");
  api_.engine.Fail(0, IoError("boom"));
  early->RunJobs();
  EXPECT_EQ(early->response.status, 500);
  EXPECT_TRUE(early->ended && !early->streaming);

  const auto late = Completion("\"stream\":true,\"stream_options\":{\"include_usage\":true}");
  Generate(*late, 1, "a");
  api_.engine.Fail(1, IoError("boom"));
  late->RunJobs();
  ASSERT_TRUE(late->ended);
  const auto events = Events(late->body(), /*done=*/false);
  EXPECT_EQ(Text(At(events.back(), "/error/type")), "server_error");
  EXPECT_EQ(events.size(), 2u);

  const auto drained = Completion("");
  api_.engine.Fail(2, Cancelled("drained"));
  drained->RunJobs();
  EXPECT_EQ(drained->response.status, 503);
}

TEST_F(ApiTest, InvalidStreamsAreHttpErrors) {
  const auto bad = Chat("\"stream\":true,\"temperature\":9");
  EXPECT_EQ(bad->response.status, 400);
  EXPECT_EQ(Text(At(Parse(bad->body()), "/error/param")), "temperature");
  EXPECT_EQ(api_.engine.submitted(), 0u);
  const auto long_prompt =
      api_.Post("/v1/completions", "{\"prompt\":\"" + std::string(250, 'x') + "\",\"stream\":true}");
  EXPECT_EQ(Text(At(Parse(long_prompt->body()), "/error/code")), "context_length_exceeded");
  EXPECT_THAT(long_prompt->body(), HasSubstr("maximum context length is 200 tokens"));
  const auto refused =
      api_.Post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"refuse"}]})");
  EXPECT_EQ(refused->response.status, 400);
  EXPECT_THAT(refused->body(), HasSubstr("No such talk."));
  const auto empty = api_.Post("/v1/completions", R"({"prompt":"","add_special_tokens":false})");
  EXPECT_EQ(Text(At(Parse(empty->body()), "/error/param")), "prompt");
}

}  // namespace
}  // namespace prefixd
