// The counts of tokens: usage in every form of an answer, the counters behind /metrics, and what a request
// that ends early leaves in them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/daemon/api/api_fixture.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using testing::ElementsAre;
using testing_support::ApiTest;
using testing_support::At;
using testing_support::Events;
using testing_support::kEndToken;
using testing_support::MemoryExchange;
using testing_support::Parse;
using testing_support::Text;

constexpr FinishReason kLength = FinishReason::kLength;
constexpr FinishReason kCancelled = FinishReason::kCancelled;

class AnswerCountsTest : public ApiTest {
 protected:
  static int64_t Completed(const json::value& body) {
    return At(body, "/usage/completion_tokens").as_int64();
  }
  // generated, discarded, unanswered prompt tokens, unanswered generated tokens
  std::vector<uint64_t> Counts() const {
    const AnswerCounts counts = api_.context.answers->Read();
    return {counts.generated, counts.discarded, counts.unanswered_prompt, counts.unanswered_generated};
  }
};

// The tokens of the stop string count: the model has computed them. Later ones do not.
TEST_F(AnswerCountsTest, TokensAfterAStopStringAreDiscarded) {
  const auto whole = Completion("\"stop\":\"can\"");
  Generate(*whole, 0, "I c");
  Generate(*whole, 0, "an sing");  // "can" ends with the fifth token
  EXPECT_EQ(Text(At(Parse(whole->body()), "/choices/0/text")), "I ");
  EXPECT_EQ(Completed(Parse(whole->body())), 5);
  EXPECT_THAT(Counts(), ElementsAre(5, 5, 0, 0));
  Generate(*whole, 0, "x", kCancelled);  // of the step that was in flight
  EXPECT_THAT(Counts(), ElementsAre(5, 6, 0, 0));
}

TEST_F(AnswerCountsTest, TheStopCountsTheSameHoweverItIsFound) {
  for (const char* fields : {"\"stop\":\"cd\"", "\"stop\":[\"x\",\"d\"],\"include_stop_str_in_output\":true",
                             "\"stop_token_ids\":[100]", "\"stop\":\"d\",\"min_tokens\":2"}) {
    const AnswerCounts before = api_.context.answers->Read();
    for (const bool stream : {false, true}) {
      const size_t index = api_.engine.submitted();
      const auto exchange = Completion(
          std::string(fields) +
          (stream ? ",\"stream\":true,\"stream_options\":{\"include_usage\":true}" : ",\"stream\":false"));
      for (const char* token : {"a", "b", "c", "d", "e"}) Generate(*exchange, index, token);
      EXPECT_EQ(Completed(stream ? Events(exchange->body()).back() : Parse(exchange->body())), 4) << fields;
    }
    const AnswerCounts after = api_.context.answers->Read();
    EXPECT_EQ(after.generated - before.generated, 8u) << fields;
    EXPECT_EQ(after.discarded - before.discarded, 2u) << fields;
  }
}

TEST_F(AnswerCountsTest, AllCandidatesAndTheEndTokenCount) {
  const auto exchange = Completion("\"n\":1,\"best_of\":2");
  EXPECT_FALSE(api_.engine.request(0).repeats_prompt);
  EXPECT_TRUE(api_.engine.request(1).repeats_prompt);
  Generate(*exchange, 0, "abc", kLength);
  std::vector<TokenId> ended = testing_support::Bytes("a");
  ended.push_back(kEndToken);
  Generate(*exchange, 1, ended, FinishReason::kStop);
  EXPECT_EQ(Completed(Parse(exchange->body())), 5);
  EXPECT_THAT(Counts(), ElementsAre(5, 0, 0, 0));
}

TEST_F(AnswerCountsTest, EveryPromptCountsOnceAndEveryChoiceGenerates) {
  const auto exchange = api_.Post("/v1/completions", R"({"prompt":[[1,2],[3,4,5]],"n":2,"max_tokens":2})");
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(api_.engine.request(i).repeats_prompt, i % 2 == 1);
    Generate(*exchange, i, "ab", kLength);
  }
  EXPECT_EQ(At(Parse(exchange->body()), "/usage/prompt_tokens").as_int64(), 5);
  EXPECT_EQ(Completed(Parse(exchange->body())), 8);
  EXPECT_THAT(Counts(), ElementsAre(8, 0, 0, 0));
}

TEST_F(AnswerCountsTest, AClientThatLeavesLeavesItsTokensUnanswered) {
  const auto exchange = Completion("\"stream\":true");
  Generate(*exchange, 0, "abc");
  exchange->Disconnect();
  EXPECT_THAT(Counts(), ElementsAre(3, 0, 0, 0)) << "the engine has not ended the request yet";
  Generate(*exchange, 0, "d");
  Generate(*exchange, 0, "", kCancelled);
  EXPECT_THAT(Counts(), ElementsAre(3, 1, 4, 3));
}

TEST_F(AnswerCountsTest, APromptThatWasNotCompleteIsNotUnanswered) {
  const auto exchange = Completion("\"stream\":true");
  exchange->Disconnect();
  api_.engine.Fail(0, Cancelled("the client left"));  // an event without usage
  exchange->RunJobs();
  EXPECT_THAT(Counts(), ElementsAre(0, 0, 0, 0));
}

TEST_F(AnswerCountsTest, AFailedRequestIsUnanswered) {
  const auto exchange = Completion("\"n\":2");
  Generate(*exchange, 0, "abc", kLength);
  Generate(*exchange, 1, "ab");
  api_.engine.Fail(1, IoError("boom"));
  exchange->RunJobs();
  EXPECT_EQ(exchange->response.status, 500);
  EXPECT_THAT(Counts(), ElementsAre(5, 0, 4, 5)) << "the prompt of both choices counts once";
}

TEST_F(AnswerCountsTest, TokensWithoutRoomAreDiscarded) {
  api_.budget = std::make_unique<ByteBudget>(1 << 20, 16 << 20);
  const auto exchange = Completion("\"logprobs\":20,\"max_tokens\":100");
  ByteBudget::Reservation rest(*api_.budget, ByteBudget::Use::kAnswer);
  for (size_t bytes = 1 << 20; bytes > 0; bytes /= 2) {
    while (rest.TryGrow(bytes)) continue;
  }
  Generate(*exchange, 0, std::string(5000, 'a'), kLength);
  EXPECT_EQ(exchange->response.status, 503);
  EXPECT_THAT(Counts(), ElementsAre(0, 5000, 4, 0));
}

// What any sequence of a prompt writes counts; what the first one read from the cache does not count as well.
TEST_F(AnswerCountsTest, WrittenTokensOfAllChoices) {
  api_.engine.written_tokens = 2;
  const auto exchange = api_.Post("/v1/completions", R"({"prompt":[1,2,3,4,5,6,7],"n":2})");
  Generate(*exchange, 0, "a", kLength);
  api_.engine.written_tokens = 1;
  Generate(*exchange, 1, "a", kLength);
  EXPECT_EQ(At(Parse(exchange->body()), "/usage/prompt_tokens_details/cache_write_tokens").as_int64(), 3);
  api_.engine.cached_tokens = 4;
  api_.engine.written_tokens = 3;
  const auto again = api_.Post("/v1/completions", R"({"prompt":[1,2,3,4,5,6,7],"n":2})");
  for (const size_t index : {2, 3}) Generate(*again, index, "a", kLength);
  EXPECT_EQ(At(Parse(again->body()), "/usage/prompt_tokens_details"),
            Parse(R"({"cached_tokens":4,"cache_write_tokens":3,"audio_tokens":0})"));
}

class ContinuousUsageTest : public AnswerCountsTest {
 protected:
  std::vector<json::value> Stream(const std::string& path, const std::string& fields,
                                  const std::string& options) {
    const size_t index = api_.engine.submitted();
    const std::string prompt = path == "/v1/completions" ? R"("prompt":[[1,2],[3,4,5]])"
                                                         : R"("messages":[{"role":"user","content":"hi"}])";
    const auto exchange =
        api_.Post(path, "{" + prompt + fields + ",\"stream\":true" +
                            (options.empty() ? "" : ",\"stream_options\":" + options) + "}");
    for (size_t i = index; i < api_.engine.submitted(); ++i) {
      Generate(*exchange, i, "ab");
      Generate(*exchange, i, "c", kLength);
    }
    return Events(exchange->body());
  }
};

TEST_F(ContinuousUsageTest, EveryChunkHasTheUsageSoFar) {
  for (const char* path : {"/v1/completions", "/v1/chat/completions"}) {
    for (const char* fields : {"", ",\"n\":2", ",\"logprobs\":null,\"echo\":null"}) {
      for (const bool last : {false, true}) {
        const auto events = Stream(
            path, fields,
            std::string("{\"continuous_usage_stats\":true,\"include_usage\":") + (last ? "true}" : "false}"));
        int64_t before = 0;
        for (const json::value& event : events) {
          ASSERT_TRUE(At(event, "/usage").is_object()) << path << json::serialize(event);
          EXPECT_GE(Completed(event), before);
          before = Completed(event);
        }
        const bool chat = std::string_view(path) == "/v1/chat/completions";
        EXPECT_EQ(Completed(events.front()), chat ? 0 : 2) << "the role comes before the first token";
        EXPECT_EQ(At(events.front(), "/usage/prompt_tokens").as_int64(), chat ? 9 : 5);
        EXPECT_EQ(At(events.back(), "/choices").as_array().empty(), last);
        EXPECT_EQ(before, 3 * (chat ? 1 : 2) * (std::string_view(fields).starts_with(",\"n\"") ? 2 : 1));
      }
    }
  }
}

TEST_F(ContinuousUsageTest, OtherwiseNoChunkHasUsageExceptTheLastOneOnRequest) {
  for (const char* path : {"/v1/completions", "/v1/chat/completions"}) {
    for (const char* options : {"", "{}", "null", R"({"include_usage":false})",
                                R"({"continuous_usage_stats":false})", R"({"include_obfuscation":true})"}) {
      for (const json::value& event : Stream(path, "", options))
        EXPECT_FALSE(event.as_object().contains("usage")) << path << options;
    }
    const auto events = Stream(path, "", R"({"include_usage":true,"continuous_usage_stats":false})");
    for (const json::value& event : events)
      EXPECT_EQ(At(event, "/usage").is_null(), !At(event, "/choices").as_array().empty()) << path;
  }
}

}  // namespace
}  // namespace prefixd
