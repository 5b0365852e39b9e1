// bench/serve without a server: events and answers, the prompts of the workloads, request bodies and
// statistics.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include "bench/serve_load.h"
#include "bench/serve_sse.h"
#include "bench/word_tokenizer.h"

namespace prefixd::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Events(const std::string& stream, size_t piece) {
  std::vector<std::string> events;
  SseReader reader([&](std::string_view data) { events.emplace_back(data); });
  for (size_t at = 0; at < stream.size(); at += piece)
    reader.Append(std::string_view(stream).substr(at, piece));
  reader.Finish();
  return events;
}

TEST(SseReader, GivesTheSameEventsHoweverTheBytesAreCut) {
  const std::string lines =
      "\xEF\xBB\xBF: a comment\ndata: {\"a\": 1}\n\nevent: x\nid: 7\ndata:two\ndata:  "
      "lines\n\n\n\ndata\n\nretry: 1\n\ndata: "
      "[DONE]\n\n";
  for (const std::string end : {"\n", "\r\n", "\r"}) {
    std::string stream;
    for (const char c : lines) stream += c == '\n' ? end : std::string(1, c);
    for (size_t piece = 1; piece <= stream.size(); ++piece) {
      EXPECT_THAT(Events(stream, piece), ElementsAre("{\"a\": 1}", "two\n lines", "", "[DONE]")) << piece;
    }
  }
}

TEST(SseReader, DeliversALastEventWithoutItsEmptyLine) {
  EXPECT_THAT(Events("data: a\n\ndata: [DONE]", 3), ElementsAre("a", "[DONE]"));
  EXPECT_THAT(Events("", 1), ElementsAre());
}

TEST(Answer, CountsOnlyChunksWithText) {
  Answer answer;
  answer.OnData(R"({"choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":null})", 1);
  answer.OnData(R"({"choices":[{"index":0,"delta":{"content":"a"}}]})", 2);
  answer.OnData(R"({"choices":[{"index":0,"delta":{"reasoning_content":"b"}}]})", 3);
  answer.OnData(R"({"choices":[{"index":0,"delta":{},"finish_reason":"length"}]})", 4);
  EXPECT_TRUE(answer.complete());
  answer.OnData(R"({"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2,)"
                R"("prompt_tokens_details":{"cached_tokens":8}}})",
                5);
  answer.OnData("[DONE]", 6);
  EXPECT_EQ(answer.text(), "ab");
  EXPECT_THAT(answer.arrivals(), ElementsAre(2, 3));
  EXPECT_EQ(answer.prompt_tokens(), 10);
  EXPECT_EQ(answer.completion_tokens(), 2);
  EXPECT_EQ(answer.cached_tokens(), 8);
  EXPECT_EQ(answer.error(), "");
}

TEST(Answer, ReadsCompletionsAndServersWithoutUsage) {
  Answer answer;
  answer.OnData(R"({"choices":[{"text":"a","finish_reason":null}]})", 1);
  EXPECT_FALSE(answer.complete());
  answer.OnData("[DONE]", 2);
  EXPECT_TRUE(answer.complete());
  EXPECT_EQ(answer.text(), "a");
  EXPECT_EQ(answer.prompt_tokens(), -1);
  EXPECT_EQ(answer.cached_tokens(), -1);
}

TEST(Answer, ReadsTheCacheOfLlamaCppTimings) {
  Answer answer;
  answer.OnData(R"({"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1},"timings":{"cache_n":7}})",
                1);
  EXPECT_EQ(answer.cached_tokens(), 7);
}

TEST(Answer, KeepsTheFirstError) {
  Answer answer;
  answer.OnData(R"({"error":{"message":"out of memory"}})", 1);
  answer.OnData("nonsense", 2);
  EXPECT_EQ(answer.error(), "out of memory");
  Answer broken;
  broken.OnData("nonsense", 1);
  EXPECT_THAT(broken.error(), HasSubstr("nonsense"));
}

TEST(ErrorMessage, ReadsTheShapesOfSeveralServers) {
  EXPECT_EQ(ErrorMessage(R"({"error":{"message":"a"}})"), "a");
  EXPECT_EQ(ErrorMessage(R"({"error":"b"})"), "b");
  EXPECT_EQ(ErrorMessage(R"({"message":"c"})"), "c");
  EXPECT_EQ(ErrorMessage(R"({"detail":"d"})"), "d");
  EXPECT_EQ(ErrorMessage("<html>"), "<html>");
  EXPECT_EQ(ErrorMessage(std::string(1000, 'x')).size(), 303u);
}

TEST(ServerUrl, StripsWhatClientsAppend) {
  EXPECT_EQ(ServerUrl("http://a:1").value(), "http://a:1");
  EXPECT_EQ(ServerUrl("http://a:1/v1/").value(), "http://a:1");
  EXPECT_EQ(ServerUrl("https://a/x/v1").value(), "https://a/x");
  for (const char* wrong : {"", "a:1", "ftp://a", "http://", "http:///v1"}) {
    EXPECT_THAT(ServerUrl(wrong).status().message(), HasSubstr("'" + std::string(wrong) + "'"));
  }
}

std::vector<std::string> Words(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

size_t SharedWords(const std::string& a, const std::string& b) {
  const std::vector<std::string> x = Words(a), y = Words(b);
  size_t i = 0;
  while (i < std::min(x.size(), y.size()) && x[i] == y[i]) ++i;
  return i;
}

std::string AllText(const Workload& workload) {
  std::string text;
  for (const Conversation& conversation : workload.conversations) {
    text += conversation.opening + "|";
    for (const std::string& question : conversation.questions) text += question + "|";
  }
  return text;
}

TEST(Workload, IsAFunctionOfItsSeed) {
  for (const std::string& name : WorkloadNames()) {
    EXPECT_EQ(AllText(MakeWorkload(name, {})), AllText(MakeWorkload(name, {})));
    EXPECT_NE(AllText(MakeWorkload(name, {})), AllText(MakeWorkload(name, {.seed = 12})));
  }
}

TEST(Workload, UsesWordsOfTheTokenizer) {
  const std::vector<std::string> list = TwoSyllableWords();
  const std::set<std::string> words(list.begin(), list.end());
  EXPECT_EQ(words.size(), 10000u);
  for (const std::string& word : Words(MakeWorkload("shared", {}).conversations[0].opening)) {
    EXPECT_TRUE(words.contains(word)) << word;
  }
}

TEST(Workload, SharedHasOneOpening) {
  const Workload shared = MakeWorkload("shared", {});
  EXPECT_EQ(shared.requests(), 24);
  EXPECT_EQ(shared.clients, 8);
  std::set<std::string> firsts;
  for (const Conversation& conversation : shared.conversations) {
    EXPECT_EQ(conversation.opening, shared.conversations[0].opening);
    EXPECT_EQ(Words(conversation.opening).size(), 1500u);
    ASSERT_EQ(conversation.questions.size(), 1u);
    EXPECT_EQ(Words(conversation.questions[0]).size(), 100u);
    firsts.insert(Words(conversation.questions[0])[0]);
  }
  EXPECT_EQ(firsts.size(), 24u);
}

TEST(Workload, ColdSharesNotEvenTheFirstWord) {
  const Workload cold = MakeWorkload("cold", {});
  EXPECT_EQ(cold.requests(), 12);
  EXPECT_EQ(cold.clients, 4);
  std::set<std::string> firsts;
  for (const Conversation& conversation : cold.conversations) {
    EXPECT_EQ(Words(conversation.opening).size(), 400u);
    EXPECT_EQ(Words(conversation.questions[0]).size(), 40u);
    firsts.insert(Words(conversation.opening)[0]);
  }
  EXPECT_EQ(firsts.size(), 12u);
}

TEST(Workload, TurnsAreConversationsOfSix) {
  const Workload turns = MakeWorkload("turns", {});
  EXPECT_EQ(turns.conversations.size(), 4u);
  EXPECT_EQ(turns.requests(), 24);
  for (const Conversation& conversation : turns.conversations) {
    ASSERT_EQ(conversation.questions.size(), 6u);
    for (const std::string& question : conversation.questions) EXPECT_EQ(Words(question).size(), 80u);
  }
  const Workload cut = MakeWorkload("turns", {.requests = 8});
  ASSERT_EQ(cut.conversations.size(), 2u);
  EXPECT_EQ(cut.conversations[1].questions.size(), 2u);
}

TEST(Workload, TenantsFollowZipfsLaw) {
  const Workload tenants =
      MakeWorkload("tenants", {.requests = 20000, .prefix_words = 2, .question_words = 1});
  std::map<std::string, int> counts;
  for (const Conversation& conversation : tenants.conversations) ++counts[conversation.opening];
  ASSERT_EQ(counts.size(), 16u);
  std::vector<int> sorted;
  for (const auto& [opening, count] : counts) sorted.push_back(count);
  std::sort(sorted.rbegin(), sorted.rend());
  double harmonic = 0;
  for (int i = 1; i <= 16; ++i) harmonic += 1.0 / i;
  for (const int rank : {1, 2, 4}) EXPECT_NEAR(sorted[rank - 1] * rank, 20000 / harmonic, 400) << rank;
  EXPECT_EQ(MakeWorkload("tenants", {}).requests(), 48);
}

TEST(Workload, OptionsOverrideTheShape) {
  const Workload workload =
      MakeWorkload("shared", {.requests = 5, .clients = 3, .prefix_words = 20, .question_words = 1});
  EXPECT_EQ(workload.requests(), 5);
  EXPECT_EQ(workload.clients, 3);
  EXPECT_EQ(Words(workload.conversations[0].opening).size(), 20u);
  EXPECT_EQ(Words(workload.conversations[0].questions[0]).size(), 1u);
}

TEST(UsedTree, SharesTheNamedLengthsWithEveryOpening) {
  const Workload workload = MakeWorkload("turns", {});
  const Workload used = MakeCacheWarmup(workload, 11);
  EXPECT_EQ(used.conversations.size(), 4 * 6 + 8u);
  size_t unrelated = 0;
  for (const Conversation& conversation : used.conversations) {
    size_t most = 0;
    for (const Conversation& other : workload.conversations) {
      most = std::max(most, SharedWords(conversation.opening, other.opening));
    }
    unrelated += most == 0;
  }
  EXPECT_EQ(unrelated, 8u);
  for (const Conversation& conversation : workload.conversations) {
    std::multiset<size_t> lengths;
    for (const Conversation& other : used.conversations)
      lengths.insert(SharedWords(conversation.opening, other.opening));
    for (const size_t length : {1, 7, 15, 16, 17, 40}) EXPECT_EQ(lengths.count(length), 1u) << length;
  }
}

TEST(PoissonArrivals, HaveTheRateAndComeFromTheSeed) {
  const std::vector<double> times = PoissonArrivals(10000, 50, 3);
  EXPECT_EQ(times, PoissonArrivals(10000, 50, 3));
  EXPECT_NE(times, PoissonArrivals(10000, 50, 4));
  EXPECT_EQ(times[0], 0);
  EXPECT_NEAR(times.back(), 200, 10);
  int in_one_mean = 0;
  for (size_t i = 1; i < times.size(); ++i) in_one_mean += times[i] - times[i - 1] < 1.0 / 50;
  EXPECT_NEAR(in_one_mean, 10000 * (1 - std::exp(-1)), 200);
}

TEST(RequestBody, CarriesTheConversationSoFar) {
  const Conversation conversation = {"system", {"one", "two", "three"}};
  LoadOptions options;
  options.model = "m";
  options.output_tokens = 5;
  const auto chat = boost::json::parse(RequestBody(conversation, 1, {"answer"}, options));
  EXPECT_EQ(chat,
            boost::json::parse(R"({"model":"m","max_tokens":5,"temperature":0,"stream":true,"ignore_eos":true,
      "stream_options":{"include_usage":true},"messages":[{"role":"system","content":"system"},
      {"role":"user","content":"one"},{"role":"assistant","content":"answer"},
      {"role":"user","content":"two"}]})"));
  options.chat = false;
  const auto completion = boost::json::parse(RequestBody(conversation, 1, {"answer"}, options));
  EXPECT_EQ(completion.at("prompt"), "system\none\nanswer\ntwo\n");
  // The prompt of a turn continues the prompt of the turn before and its answer.
  const auto first = boost::json::parse(RequestBody(conversation, 0, {}, options));
  EXPECT_EQ(first.at("prompt"), "system\none\n");
}

TEST(Percentile, InterpolatesBetweenNeighbours) {
  EXPECT_TRUE(std::isnan(Percentile({}, 0.5)));
  EXPECT_EQ(Percentile({3}, 0.95), 3);
  EXPECT_EQ(Percentile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_EQ(Percentile({1, 2, 3, 4, 5}, 1.0), 5);
  EXPECT_DOUBLE_EQ(Percentile({0, 10}, 0.95), 9.5);
}

TEST(Summarize, AddsUpAnsweredRequestsOnly) {
  std::vector<RequestResult> results(3);
  results[0] = {"", "a b c", {0.5, 0.6, 0.8}, 100, 4, 50};
  results[1] = {"", "a", {1.5}, 100, 3, -1};
  results[2] = {"refused", "", {9, 99}, 100, 100, 100};
  const Summary summary = Summarize(results, 2, 4);
  EXPECT_EQ(summary.ok, 2);
  EXPECT_EQ(summary.failed, 1);
  EXPECT_EQ(summary.first_error, "refused");
  EXPECT_EQ(summary.short_answers, 1);
  EXPECT_DOUBLE_EQ(summary.ttft_p50, 1.0);
  EXPECT_DOUBLE_EQ(summary.ttft_p90, 1.4);
  EXPECT_DOUBLE_EQ(summary.ttft_p95, 1.45);
  EXPECT_DOUBLE_EQ(summary.ttft_p99, 1.49);
  EXPECT_DOUBLE_EQ(summary.itl_p50, 0.15);
  EXPECT_DOUBLE_EQ(summary.output_rate, 3.5);
  EXPECT_DOUBLE_EQ(summary.prompt_rate, 100);
  EXPECT_DOUBLE_EQ(summary.cached_share, 0.25);
}

TEST(Summarize, UnknownFiguresAreNotNumbers) {
  std::vector<RequestResult> results(1);
  results[0].arrivals = {0.5, 0.7};
  const Summary summary = Summarize(results, 1, 2);
  EXPECT_EQ(summary.without_usage, 1);
  EXPECT_DOUBLE_EQ(summary.output_rate, 2);
  EXPECT_TRUE(std::isnan(summary.prompt_rate));
  EXPECT_TRUE(std::isnan(summary.cached_share));
  EXPECT_TRUE(std::isnan(Summarize({}, 0, 2).output_rate));
}

}  // namespace
}  // namespace prefixd::bench
