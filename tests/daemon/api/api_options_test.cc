// Options that affect the whole response: several candidates, log probabilities of the prompt, echo,
// truncation, worker threads and logs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/log.h"
#include "daemon/api/choice_ranking.h"
#include "daemon/http/server.h"
#include "tests/daemon/api/api_fixture.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing_support::ApiTest;
using testing_support::At;
using testing_support::Events;
using testing_support::Parse;
using testing_support::Text;

constexpr FinishReason kLength = FinishReason::kLength;

TEST(ChoiceRankingTest, OrdersByMeanThenByIndex) {
  const ChoiceScore scores[] = {{-4, 2}, {-1, 1}, {-30, 30}, {-1.5, 1}, {0, 0}, {std::nan(""), 3}};
  EXPECT_THAT(BestChoices(scores, 6), ElementsAre(4, 1, 2, 3, 0, 5));
  EXPECT_THAT(BestChoices(scores, 2), ElementsAre(4, 1));
  EXPECT_THAT(BestChoices(scores, 9).size(), 6u);
}

// The scripted log probability of a token is -0.1 * (id % 7 + 1): 'b' (98) has the highest, 'a' (97) the
// lowest.
TEST_F(ApiTest, BestOfReturnsTheLikeliestAndCountsAll) {
  const auto exchange =
      api_.Post("/v1/completions", R"({"prompt":[[1,2],[3,4,5]],"n":2,"best_of":3,"seed":4})");
  ASSERT_EQ(api_.engine.submitted(), 6u);
  EXPECT_EQ(api_.engine.request(0).sampling.logprobs, 0)
      << "needed for ranking, although the request does not ask for them";
  EXPECT_EQ(api_.engine.request(0).sampling.seed, 4u);
  const char* said[] = {"aaa", "bb", "ab", "a", "a", "bbbb"};
  for (size_t i = 0; i < 6; ++i) Generate(*exchange, i, std::string(said[i]), kLength);
  const json::value body = Parse(exchange->body());
  ASSERT_EQ(At(body, "/choices").as_array().size(), 4u);
  EXPECT_EQ(Text(At(body, "/choices/0/text")), "bb");
  EXPECT_EQ(Text(At(body, "/choices/1/text")), "ab");
  EXPECT_EQ(Text(At(body, "/choices/2/text")), "bbbb");
  EXPECT_EQ(Text(At(body, "/choices/3/text")), "a");
  EXPECT_EQ(At(body, "/choices/3/index").as_int64(), 3);
  EXPECT_TRUE(At(body, "/choices/0/logprobs").is_null());
  EXPECT_EQ(At(body, "/usage/prompt_tokens").as_int64(), 5);
  EXPECT_EQ(At(body, "/usage/completion_tokens").as_int64(), 3 + 2 + 2 + 1 + 1 + 4);
}

TEST_F(ApiTest, ChoicesKeepTheirOrderWhenAllAreReturned) {
  const auto exchange = Completion("\"n\":2,\"best_of\":2");
  Generate(*exchange, 0, "a", kLength);
  Generate(*exchange, 1, "b", kLength);
  EXPECT_EQ(Text(At(Parse(exchange->body()), "/choices/0/text")), "a");
  EXPECT_EQ(api_.engine.request(0).sampling.logprobs, -1);
}

TEST_F(ApiTest, StopStringsAndEndTokensApplyToCandidatesToo) {
  const auto exchange = Completion("\"best_of\":2,\"stop\":\"b\"");
  Generate(*exchange, 0, "ab");
  EXPECT_THAT(api_.engine.cancelled, ElementsAre(1));
  Generate(*exchange, 1, "cb");
  const json::value body = Parse(exchange->body());
  EXPECT_EQ(Text(At(body, "/choices/0/text")), "c") << "'c' is likelier than 'a'";
  EXPECT_EQ(Text(At(body, "/choices/0/stop_reason")), "b");
}

TEST_F(ApiTest, PromptLogprobsHaveTheFormOfVllm) {
  const json::value expected =
      Parse(R"([null,{"97":{"logprob":-0.125,"rank":1,"decoded_token":"a"},"0":{"logprob":-0.5,"rank":1,)"
            R"("decoded_token":"\u0000"}},
          {"0":{"logprob":-0.25,"rank":2,"decoded_token":"\u0000"}}])");
  const auto completion = api_.Post("/v1/completions", R"({"prompt":[99,97,0],"prompt_logprobs":1,"n":2})");
  EXPECT_EQ(api_.engine.request(0).sampling.prompt_logprobs, 1);
  EXPECT_EQ(api_.engine.request(1).sampling.prompt_logprobs, -1) << "the same for all choices";
  Generate(*completion, 1, "y", kLength);
  Generate(*completion, 0, "x", kLength);
  const json::value body = Parse(completion->body());
  EXPECT_EQ(At(body, "/choices/0/prompt_logprobs"), expected);
  EXPECT_EQ(At(body, "/choices/1/prompt_logprobs"), expected);
  EXPECT_TRUE(At(body, "/choices/0/logprobs").is_null());

  const auto chat = Chat("\"prompt_logprobs\":0");
  Generate(*chat, 2, "x", kLength);
  const json::value answer = Parse(chat->body());
  const json::array& list = At(answer, "/prompt_logprobs").as_array();
  ASSERT_EQ(list.size(), 9u);
  EXPECT_EQ(list[1], Parse(R"({"117":{"logprob":-0.125,"rank":1,"decoded_token":"u"}})"));

  api_.context.limits.max_prompt_logprobs = 3;
  EXPECT_EQ(api_.Post("/v1/completions", R"({"prompt":[1,2],"prompt_logprobs":1})")->response.status, 400);
}

TEST_F(ApiTest, EchoWithLogprobsScoresPromptAndOutput) {
  for (const bool stream : {false, true}) {
    const size_t index = api_.engine.submitted();
    const auto exchange =
        api_.Post("/v1/completions", "{\"prompt\":\"a\xC3\xA9\",\"echo\":true,\"logprobs\":1,\"stream\":" +
                                         std::string(stream ? "true}" : "false}"));
    EXPECT_EQ(api_.engine.request(index).sampling.prompt_logprobs, 1);
    Generate(*exchange, index, "x");
    Generate(*exchange, index, "y", kLength);
    std::string text;
    json::object columns;
    for (const json::value& event :
         stream ? Events(exchange->body()) : std::vector{Parse(exchange->body())}) {
      text += Text(At(event, "/choices/0/text"));
      for (const auto& [name, column] : At(event, "/choices/0/logprobs").as_object()) {
        json::array& all = columns.emplace(name, json::array()).first->value().as_array();
        all.insert(all.end(), column.as_array().begin(), column.as_array().end());
      }
    }
    EXPECT_EQ(text, "a\xC3\xA9xy");
    EXPECT_EQ(columns["tokens"], (json::array{"<|begin|>", "a", "\xEF\xBF\xBD", "\xEF\xBF\xBD", "x", "y"}));
    const json::array& logprobs = columns["token_logprobs"].as_array();
    ASSERT_EQ(logprobs.size(), 6u);
    EXPECT_TRUE(logprobs[0].is_null());
    EXPECT_EQ(logprobs[1].as_double(), -0.125);
    EXPECT_EQ(logprobs[3].as_double(), -0.375);
    EXPECT_EQ(columns["top_logprobs"].as_array().size(), 6u);
    EXPECT_TRUE(columns["top_logprobs"].as_array()[0].is_null());
    EXPECT_EQ(columns["top_logprobs"].as_array()[1], Parse(R"({"\u0000":-0.5,"a":-0.125})"));
    EXPECT_EQ(columns["text_offset"], (json::array{0, 0, 1, 1, 2, 3}));
  }
}

TEST_F(ApiTest, OffsetsOfAnEchoCountItsSpecialTokens) {
  for (const bool skip : {false, true}) {
    const size_t index = api_.engine.submitted();
    const auto exchange = api_.Post(
        "/v1/completions",
        "{\"prompt\":\"a<|user|>b\",\"echo\":true,\"logprobs\":0,\"max_tokens\":1,\"skip_special_tokens\":" +
            std::string(skip ? "true}" : "false}"));
    Generate(*exchange, index, "x", kLength);
    const json::value body = Parse(exchange->body());
    EXPECT_EQ(Text(At(body, "/choices/0/text")), "a<|user|>bx");
    EXPECT_EQ(At(body, "/choices/0/logprobs/tokens"), (json::array{"<|begin|>", "a", "<|user|>", "b", "x"}));
    EXPECT_EQ(At(body, "/choices/0/logprobs/text_offset"), (json::array{0, 0, 1, 9, 10})) << skip;
  }
}

TEST_F(ApiTest, ScoringOnlyGeneratesNothing) {
  const auto exchange =
      api_.Post("/v1/completions", R"({"prompt":[98,97],"echo":true,"logprobs":0,"max_tokens":0})");
  Generate(*exchange, 0, "", kLength);
  const json::value body = Parse(exchange->body());
  EXPECT_EQ(Text(At(body, "/choices/0/text")), "ba");
  EXPECT_EQ(Text(At(body, "/choices/0/finish_reason")), "length");
  EXPECT_EQ(
      At(body, "/choices/0/logprobs"),
      Parse(R"({"tokens":["b","a"],"token_logprobs":[null,-1.25E-1],"top_logprobs":[null,{"a":-1.25E-1}],)"
            R"("text_offset":[0,1]})"));
}

TEST_F(ApiTest, APromptThatFillsTheContextIsAcceptedForZeroTokens) {
  const std::string ids = [] {
    std::string list = "7";
    for (int i = 1; i < 200; ++i) list += ",7";
    return list;
  }();
  EXPECT_EQ(api_.Post("/v1/completions", "{\"prompt\":[" + ids + "]}")->response.status, 400);
  const auto exchange = api_.Post("/v1/completions", "{\"max_tokens\":0,\"prompt\":[" + ids + "]}");
  Generate(*exchange, 0, "", kLength);
  EXPECT_EQ(exchange->response.status, 200);
  EXPECT_EQ(Text(At(Parse(exchange->body()), "/choices/0/finish_reason")), "length");
}

TEST_F(ApiTest, EchoOfAChatIsTheMessageThatIsContinued) {
  const std::string messages =
      R"("messages":[{"role":"user","content":"a"},{"role":"assistant","content":"Once"}],)"
      R"("continue_final_message":true,"echo":true)";
  const auto whole = api_.Post("/v1/chat/completions", "{" + messages + "}");
  Generate(*whole, 0, " upon", kLength);
  EXPECT_EQ(Text(At(Parse(whole->body()), "/choices/0/message/content")), "Once upon");
  const auto stream = api_.Post("/v1/chat/completions", "{\"stream\":true," + messages + "}");
  Generate(*stream, 1, " upon", kLength);
  std::string text;
  for (const json::value& event : Events(stream->body())) {
    if (const json::value* content = At(event, "/choices/0/delta").as_object().if_contains("content"))
      text += Text(*content);
  }
  EXPECT_EQ(text, "Once upon");
  const auto user = Chat("\"echo\":true");
  EXPECT_EQ(user->response.status, 400) << "only messages of the assistant are continued";
  EXPECT_EQ(Text(At(Parse(user->body()), "/error/param")), "echo");
}

TEST_F(ApiTest, TruncationKeepsTheEndOfThePrompt) {
  const auto exchange = Completion("\"truncate_prompt_tokens\":2,\"echo\":true");
  EXPECT_THAT(api_.engine.request(0).prompt, ElementsAre('b', 'c'));
  Generate(*exchange, 0, "d", kLength);
  EXPECT_EQ(Text(At(Parse(exchange->body()), "/choices/0/text")), "bcd");
  Chat("\"truncate_prompt_tokens\":3");
  EXPECT_EQ(api_.engine.request(1).prompt.size(), 3u);
  EXPECT_TRUE(api_.engine.request(1).read_cache);
  Completion("\"cache_prompt\":false");
  EXPECT_FALSE(api_.engine.request(2).read_cache);
}

TEST_F(ApiTest, AChoiceOfAStreamWaitsForTheFirst) {
  const auto exchange = Completion("\"n\":2,\"stream\":true,\"echo\":true,\"logprobs\":0");
  Generate(*exchange, 1, "b");
  exchange->AdvanceTime(11);
  ASSERT_TRUE(exchange->streaming);
  EXPECT_EQ(exchange->body(), "") << "the usage of the prompt is not known yet";
  Generate(*exchange, 0, "a", kLength);
  Generate(*exchange, 1, "", kLength);
  const auto events = Events(exchange->body());
  EXPECT_EQ(At(events[0], "/choices/0/index").as_int64(), 0);
  std::string texts[2];
  for (const json::value& event : events)
    texts[At(event, "/choices/0/index").as_int64()] += Text(At(event, "/choices/0/text"));
  EXPECT_EQ(texts[0], "abca");
  EXPECT_EQ(texts[1], "abcb");
}

TEST_F(ApiTest, LargeBodiesAreHandledOnAWorker) {
  EXPECT_EQ(Completion("")->works, 0);
  const auto exchange = Completion("\"user\":\"" + std::string(kSmallBodyBytes, 'x') + "\"");
  EXPECT_EQ(exchange->works, 1);
  EXPECT_EQ(api_.engine.submitted(), 2u);
  EXPECT_EQ(exchange->request().body, "") << "freed after parsing";
  Generate(*exchange, 1, "a", kLength);
  EXPECT_EQ(exchange->response.status, 200);

  HttpRequest request{.method = "POST", .path = "/v1/completions", .query = "", .headers = {}, .body = ""};
  request.body = "{\"prompt\":\"" + std::string(kSmallBodyBytes, 'x') + "\"}";
  const auto refused =
      std::make_shared<testing_support::MemoryExchange>(std::move(request), api_.budget.get());
  refused->workers = false;
  api_.router.Handle(refused);
  EXPECT_EQ(refused->response.status, 503);
  EXPECT_EQ(refused->header("Retry-After"), "1");
}

// Compiling a format may take longer than an io thread may be held.
TEST_F(ApiTest, FormatsOfAnswersAreCompiledOnAWorker) {
  for (const std::string asks : {R"("guided_regex":"a")", R"("structured_outputs":{"regex":"a"})",
                                 R"("response_format":{"type":"text"})", R"("guid\u0065d_regex":"a")",
                                 R"("grammar":"root ::= \"a\"")"}) {
    EXPECT_EQ(Completion(asks)->works, 1) << asks;
  }
}

// Collects the log lines during its lifetime.
class LogCatcher {
 public:
  LogCatcher() {
    SetLogLevel(LogLevel::kDebug);
    SetLogSink([this](LogLevel, std::string_view message, std::initializer_list<LogField> fields) {
      std::map<std::string, std::string>& line = lines.emplace_back();
      line["message"] = message;
      for (const LogField& field : fields) line[std::string(field.key)] = field.value;
    });
  }
  ~LogCatcher() {
    SetLogSink([](LogLevel, std::string_view, std::initializer_list<LogField>) {});
    SetLogLevel(LogLevel::kInfo);
  }
  std::vector<std::map<std::string, std::string>> lines;
};

TEST_F(ApiTest, OneLogLinePerRequest) {
  LogCatcher log;
  api_.engine.cached_tokens = 1;
  api_.engine.queue_seconds = 0.5;
  const auto exchange = Completion("\"n\":2,\"stop\":\"x\"");
  Generate(*exchange, 0, "ax");
  api_.clock.Advance(2'000'000'000);
  Generate(*exchange, 1, "abcde", kLength);
  ASSERT_TRUE(exchange->ended);
  EXPECT_TRUE(log.lines.empty()) << "the first sequence has not ended in the engine";
  api_.engine.Fail(0, Cancelled("as asked"));
  exchange->RunJobs();
  ASSERT_EQ(log.lines.size(), 1u);
  const auto& line = log.lines[0];
  const std::map<std::string, std::string> expected = {{"message", "request"},
                                                       {"request_id", exchange->request_id()},
                                                       {"endpoint", "completions"},
                                                       {"status", "200"},
                                                       {"prompts", "1"},
                                                       {"choices", "2"},
                                                       {"prompt_tokens", "4"},
                                                       {"computed_tokens", "3"},
                                                       {"device_tokens", "1"},
                                                       {"host_tokens", "0"},
                                                       {"disk_tokens", "0"},
                                                       {"shared_tokens", "0"},
                                                       {"generated_tokens", "7"},
                                                       {"finish_reasons", "length:1,stop:1"}};
  for (const auto& [key, value] : expected) EXPECT_EQ(line.at(key), value) << key;
  EXPECT_EQ(std::stod(line.at("queue_seconds")), 0.5);
  EXPECT_EQ(std::stod(line.at("decode_tokens_per_second")), 2.5);
  EXPECT_EQ(std::stod(line.at("duration_seconds")), 2);
}

TEST_F(ApiTest, LogsNeverContainTextOfTheClient) {
  LogCatcher log;
  const std::string canary = "CANARY";
  for (const char* fields :
       {R"("temperature":"CANARY")", R"("stop":["CANARY",""])", R"("model":"CANARY")",
        R"("logit_bias":{"CANARY":1})", R"("suffix":"CANARY")", R"("guided_regex":"(CANARY")",
        R"("guided_json":{"type":"CANARY"})", R"("CANARY":1,"n":0)"}) {
    EXPECT_GE(Completion(fields)->response.status, 400) << fields;
  }
  for (const char* message :
       {R"({"role":"CANARY","content":"x"})", R"({"role":"user","content":[{"type":"CANARY"}]})",
        R"({"role":"user","content":"refuse"},{"role":"user","content":"CANARY"})"}) {
    const auto chat = api_.Post("/v1/chat/completions", "{\"messages\":[" + std::string(message) + "]}");
    EXPECT_EQ(chat->response.status, 400) << message;
  }
  EXPECT_EQ(api_.Post("/v1/completions", "{\"prompt\":\"CANARY")->response.status, 400);
  const size_t refused = log.lines.size();
  EXPECT_EQ(refused, 12u) << "one line for each";
  const auto good =
      api_.Post("/v1/completions", R"({"prompt":"CANARY","user":"CANARY","cache_salt":"CANARY"})");
  Generate(*good, 0, "CANARY", kLength);
  const auto failed = api_.Post("/v1/completions", R"({"prompt":"CANARY"})");
  api_.engine.Fail(1, IoError("boom"));
  failed->RunJobs();
  EXPECT_EQ(good->response.status, 200);
  EXPECT_EQ(failed->response.status, 500);
  EXPECT_GE(log.lines.size(), refused + 2);
  for (const auto& line : log.lines) {
    for (const auto& [key, value] : line)
      EXPECT_EQ(value.find(canary), std::string::npos) << key << "=" << value;
  }
  EXPECT_EQ(log.lines[0].at("param"), "temperature");
  EXPECT_EQ(log.lines[0].at("status"), "400");
}

}  // namespace
}  // namespace prefixd
