// Requests with more sequences than the engine's queue has places: they run in turn, and others do, too.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/daemon/api/api_fixture.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using testing::HasSubstr;
using testing_support::ApiTest;
using testing_support::At;
using testing_support::Events;
using testing_support::MemoryExchange;
using testing_support::Parse;
using testing_support::Text;

constexpr auto kLength = FinishReason::kLength;

class SubmissionTest : public ApiTest {
 protected:
  SubmissionTest() {
    api_.engine.places = 2;
    api_.context.queue_share = 1;
  }
  // Lets every sequence that was submitted, and those that follow, generate its number as text, and finish.
  void RunAll(const std::vector<MemoryExchange*>& exchanges, size_t from = 0) {
    for (size_t i = from; i < api_.engine.submitted(); ++i) {
      api_.engine.Generate(i, std::to_string(i), kLength);
      for (int round = 0; round < 2; ++round) {  // a job may post one to the exchange before
        for (MemoryExchange* exchange : exchanges) exchange->RunJobs();
      }
    }
  }
  std::vector<std::string> Texts(const MemoryExchange& exchange) {
    std::vector<std::string> texts;
    const json::value body = Parse(exchange.body());
    for (const json::value& choice : At(body, "/choices").as_array())
      texts.push_back(Text(At(choice, "/text")));
    return texts;
  }
};

TEST_F(SubmissionTest, ChoicesBeyondTheQueueRunInTurn) {
  const auto exchange = Completion("\"n\":8,\"seed\":5");
  EXPECT_EQ(api_.engine.submitted(), 1u);
  EXPECT_EQ(exchange->answers, 0);
  RunAll({exchange.get()});
  EXPECT_EQ(exchange->response.status, 200);
  EXPECT_EQ(Texts(*exchange), (std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6", "7"}));
}

TEST_F(SubmissionTest, EverySequenceIsTheSameAsWithALargeQueue) {
  for (const char* fields :
       {R"("n":8,"seed":5)", R"("best_of":6,"n":2,"seed":9)", R"("n":3,"seed":1,"echo":true,"logprobs":1)"}) {
    std::vector<uint64_t> seeds[2];
    std::vector<int> logprobs[2];
    for (const bool large : {false, true}) {
      api_.engine.places = large ? 1000 : 1;
      api_.context.queue_share = large ? 500 : 0;
      const size_t first = api_.engine.submitted();
      const auto exchange = Completion(fields);
      EXPECT_EQ(api_.engine.submitted() > first + 1, large);
      for (size_t i = first; i < api_.engine.submitted(); ++i) {
        seeds[large].push_back(api_.engine.request(i).sampling.seed);
        logprobs[large].push_back(api_.engine.request(i).sampling.prompt_logprobs);
        Generate(*exchange, i, "x", kLength);
      }
      EXPECT_EQ(exchange->response.status, 200) << fields;
    }
    EXPECT_EQ(seeds[0], seeds[1]) << fields;
    EXPECT_EQ(logprobs[0], logprobs[1]) << fields;
  }
}

TEST_F(SubmissionTest, AThousandPromptsRunInTurn) {
  std::string prompts;
  for (int i = 0; i < 1000; ++i) prompts += (i == 0 ? "[" : ",[") + std::to_string(i % 250) + "]";
  for (const bool stream : {false, true}) {
    const size_t first = api_.engine.submitted();
    const auto exchange = api_.Post("/v1/completions", "{\"prompt\":[" + prompts + "],\"max_tokens\":4" +
                                                           (stream ? ",\"stream\":true}" : "}"));
    for (size_t i = first; i < api_.engine.submitted(); ++i) {
      EXPECT_LE(api_.engine.waiting(), 1u);
      EXPECT_EQ(api_.engine.request(i).prompt.front(), static_cast<TokenId>((i - first) % 250));
      Generate(*exchange, i, "x", kLength);
      EXPECT_EQ(exchange->streaming, stream) << "a stream does not wait for the others";
    }
    EXPECT_EQ(api_.engine.submitted(), first + 1000);
    EXPECT_TRUE(exchange->ended);
    EXPECT_EQ(stream ? Events(exchange->body()).size() / 2 : Texts(*exchange).size(), 1000u);
  }
}

// A request takes one place of two, so that another one finds the second and runs next.
TEST_F(SubmissionTest, OthersGetTurns) {
  const auto large = Completion("\"n\":8");
  Generate(*large, 0, "a");
  ASSERT_EQ(api_.engine.submitted(), 2u) << "the next choice waits";
  const auto other = api_.Post("/v1/completions", R"({"prompt":"z"})");
  ASSERT_EQ(api_.engine.submitted(), 3u);
  EXPECT_EQ(other->answers, 0);
  Generate(*large, 1, "b");
  EXPECT_EQ(api_.engine.submitted(), 4u) << "the request keeps one place";
  EXPECT_EQ(api_.engine.request(2).prompt.back(), 'z');
  Generate(*other, 2, "c", kLength);
  EXPECT_EQ(other->response.status, 200);
  EXPECT_EQ(Completion("")->answers, 0) << "nor is a later one refused";
}

// Others take every place as soon as it is free. The request still gets the next one that is free after it
// has begun to wait, and a new request is refused while it waits.
TEST_F(SubmissionTest, IsNotStarvedByOthers) {
  const auto large = Completion("\"n\":4");
  const auto first = Completion("");
  ASSERT_EQ(api_.engine.waiting(), 2u);
  api_.engine.Generate(0, "a");  // its place is free, and the request does not know it yet
  const auto second = Completion("");
  ASSERT_EQ(api_.engine.waiting(), 2u);
  large->RunJobs();
  EXPECT_EQ(api_.engine.submitted(), 3u) << "the queue is full";
  Generate(*first, 1, "b", kLength);
  large->RunJobs();
  ASSERT_EQ(api_.engine.submitted(), 4u) << "the place of `first` is for the one that waits";
  EXPECT_EQ(Completion("")->response.status, 429);
  Generate(*second, 2, "c", kLength);
  EXPECT_EQ(Completion("")->answers, 0);
}

TEST_F(SubmissionTest, ThoseThatWaitGetPlacesInTurn) {
  api_.engine.places = 1;
  const auto a = Completion("\"n\":3");
  api_.engine.Generate(0, "a");
  const auto b = Completion("\"n\":3");  // 1
  a->RunJobs();                          // waits
  api_.engine.Generate(1, "b");
  b->RunJobs();  // sees that `a` waits, and waits behind it
  a->RunJobs();
  ASSERT_EQ(api_.engine.submitted(), 3u);
  api_.engine.Generate(2, "a");
  a->RunJobs();
  b->RunJobs();
  ASSERT_EQ(api_.engine.submitted(), 4u);
  const auto c = Completion("");
  EXPECT_EQ(c->response.status, 429) << "both wait or have the place";
  RunAll({a.get(), b.get()});
  EXPECT_EQ(api_.engine.submitted(), 6u);
  EXPECT_EQ(a->response.status, 200);
  EXPECT_EQ(b->response.status, 200);
}

TEST_F(SubmissionTest, WithOnePlaceTheChoicesRunOneAfterTheOther) {
  api_.engine.places = 1;
  api_.context.queue_share = 0;
  const auto exchange = Completion("\"n\":3");
  Generate(*exchange, 0, "a");
  EXPECT_EQ(api_.engine.submitted(), 1u) << "the place is for others while it runs";
  Generate(*exchange, 0, "b", kLength);
  EXPECT_EQ(api_.engine.submitted(), 2u);
  RunAll({exchange.get()}, 1);
  EXPECT_EQ(exchange->response.status, 200);
}

TEST_F(SubmissionTest, PromptTokensInTheEngineHaveAShareToo) {
  api_.engine.places = 1000;
  api_.context.queue_share = 500;
  api_.context.token_share = 9;
  const auto exchange = api_.Post("/v1/completions", R"({"prompt":["abc","abc","abc","abcdefghijkl"]})");
  EXPECT_EQ(api_.engine.submitted(), 2u) << "four tokens each, with the BOS";
  Generate(*exchange, 0, "x", kLength);
  EXPECT_EQ(api_.engine.submitted(), 3u);
  Generate(*exchange, 1, "x", kLength);
  EXPECT_EQ(api_.engine.submitted(), 3u);
  Generate(*exchange, 2, "x", kLength);
  EXPECT_EQ(api_.engine.submitted(), 4u) << "one alone may exceed the share";
  Generate(*exchange, 3, "x", kLength);
  EXPECT_EQ(exchange->response.status, 200);
}

TEST_F(SubmissionTest, ADisconnectEndsAllAndFreesThePlaceInTheQueue) {
  const auto gone = Completion("\"n\":8");
  const auto other = Completion("");
  api_.engine.Generate(0, "a", kLength);
  const auto third = Completion("");
  gone->RunJobs();  // it has nothing in the engine and waits
  ASSERT_EQ(api_.engine.submitted(), 3u);
  EXPECT_EQ(Completion("")->response.status, 429);
  gone->Disconnect();
  Generate(*other, 1, "b", kLength);
  gone->RunJobs();
  EXPECT_EQ(api_.engine.submitted(), 3u) << "nothing more of it";
  EXPECT_EQ(Completion("")->answers, 0);
  EXPECT_EQ(gone->answers, 0);
}

TEST_F(SubmissionTest, AFailureEndsAll) {
  const auto exchange = Completion("\"n\":8");
  Generate(*exchange, 0, "a");
  api_.engine.Fail(1, IoError("boom"));
  exchange->RunJobs();
  EXPECT_EQ(exchange->response.status, 500);
  EXPECT_EQ(api_.engine.cancelled, std::vector<RequestId>{1});
  EXPECT_EQ(api_.engine.submitted(), 2u);
  api_.engine.submit_results = {Unavailable("shutting down")};
  const auto drained = Completion("\"n\":2");
  EXPECT_EQ(drained->response.status, 503);
}

TEST_F(SubmissionTest, OnlyAQueueThatOthersFillIsA429) {
  const auto one = Completion(""), two = Completion("");
  const auto refused = Completion("\"n\":8");
  EXPECT_EQ(refused->response.status, 429);
  EXPECT_EQ(refused->header("Retry-After"), "1");
}

TEST_F(SubmissionTest, WhatCanNeverRunIsRefusedWithItsValueAndTheLimit) {
  const struct {
    const char* body;
    const char* param;
    std::vector<const char*> words;
  } kCases[] = {
      {R"({"prompt":"abc","n":17})", "n", {"17", "16"}},
      {R"({"prompt":"abc","max_tokens":500})", "prompt", {"504", "200"}},
      {R"({"prompt":"abc","best_of":21})", "best_of", {"21", "20"}},
      {R"({"prompt":["a","b"],"n":16,"max_tokens":1})", "n", {"2 prompts", "32", "20"}},
  };
  for (const auto& [body, param, words] : kCases) {
    if (std::string_view(param) == "n" && words.size() == 3) api_.context.limits.max_choices = 20;
    const auto exchange = api_.Post("/v1/completions", body);
    EXPECT_EQ(exchange->response.status, 400) << body;
    EXPECT_EQ(Text(At(Parse(exchange->body()), "/error/param")), param);
    for (const char* word : words) EXPECT_THAT(exchange->body(), HasSubstr(word)) << body;
  }
  std::string many;
  for (int i = 0; i < 21; ++i) many += i == 0 ? "\"a\"" : ",\"a\"";
  const auto exchange = api_.Post("/v1/completions", "{\"prompt\":[" + many + "]}");
  EXPECT_EQ(exchange->response.status, 400);
  EXPECT_THAT(exchange->body(), HasSubstr("at most 20 prompts, not 21"));
  EXPECT_EQ(api_.engine.submitted(), 0u);
}

// A request that waits holds its prompts and the state of all its sequences in the account.
TEST_F(SubmissionTest, WhatWaitsIsInTheAccount) {
  const size_t before = api_.budget->held();
  const auto exchange = Completion("\"n\":16");
  EXPECT_EQ(api_.engine.submitted(), 1u);
  EXPECT_GE(api_.budget->held() - before, 16u * 2048);
  RunAll({exchange.get()});
  EXPECT_EQ(exchange->response.status, 200);
}

}  // namespace
}  // namespace prefixd
