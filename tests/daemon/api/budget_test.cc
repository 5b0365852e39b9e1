// What the API reserves from the byte budget, and what happens when the budget is full.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/api/long_bodies.h"
#include "daemon/api/response_json.h"
#include "tests/daemon/api/api_fixture.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using testing::HasSubstr;
using testing_support::ApiTest;
using testing_support::At;
using testing_support::Bytes;
using testing_support::kToyVocab;
using testing_support::MemoryExchange;
using testing_support::Parse;
using testing_support::Text;

constexpr auto kLength = FinishReason::kLength;
constexpr auto kCancelled = FinishReason::kCancelled;

class BudgetTest : public ApiTest {
 protected:
  // A budget of 8 MB, of which large reservations can have 7 MB.
  BudgetTest() {
    api_.budget = std::make_unique<ByteBudget>(8'000'000, 1'000'000);
    api_.context.limits.max_logprobs = -1;
    api_.context.context_length = 100'000;
  }
  void ExpectNoRoom(const MemoryExchange& exchange, int status) {
    EXPECT_EQ(exchange.response.status, status) << exchange.body();
    EXPECT_THAT(exchange.body(), HasSubstr("--max-inflight"));
    EXPECT_EQ(exchange.header("Retry-After"), status == 503 ? "1" : "");
  }
};

TEST_F(BudgetTest, ABodyThatNeedsMoreThanThereIsIsRefused) {
  std::string body = "{\"prompt\":\"a\",\"x\":[";
  for (int i = 0; i < 100'000; ++i) body += "[0],";
  ExpectNoRoom(*api_.Post("/v1/completions", body + "0]}"), 413);
  EXPECT_EQ(api_.engine.submitted(), 0u);
  EXPECT_EQ(api_.budget->held(), 0u);

  const std::string text = "{\"prompt\":\"" + std::string(400'000, 'a') + "\"}";
  ExpectNoRoom(*api_.Post("/tokenize", text), 413);
  EXPECT_EQ(api_.budget->held(), 0u);
  const auto fits = api_.Post("/tokenize", "{\"prompt\":\"" + std::string(100'000, 'a') + "\"}");
  EXPECT_EQ(At(Parse(fits->body()), "/count").as_int64(), 100'001);
  EXPECT_EQ(api_.budget->held(), 0u);
}

TEST_F(BudgetTest, WhileOthersFillItLargeRequestsWaitAndShortOnesAreAnswered) {
  ByteBudget::Reservation rest(*api_.budget, ByteBudget::Use::kAnswer);
  ASSERT_TRUE(rest.TryGrow(6'999'000));
  const std::string text = "{\"prompt\":\"" + std::string(100'000, 'a') + "\"}";
  ExpectNoRoom(*api_.Post("/tokenize", text), 503);
  const auto exchange = Completion("\"max_tokens\":3");
  Generate(*exchange, 0, "xyz", kLength);
  EXPECT_EQ(Text(At(Parse(exchange->body()), "/choices/0/text")), "xyz");
  EXPECT_EQ(api_.Request("GET", "/health")->response.status, 200);
  EXPECT_EQ(api_.Request("GET", "/metrics")->response.status, 200);
  rest.ShrinkTo(0);
  EXPECT_EQ(api_.Post("/tokenize", text)->response.status, 200);
}

TEST_F(BudgetTest, PromptsAreHeldUntilTheEnd) {
  const auto exchange = api_.Post(
      "/v1/completions", "{\"prompt\":\"" + std::string(10'000, 'a') + "\",\"n\":4,\"max_tokens\":1}");
  EXPECT_GE(api_.budget->held(), 10'000 * sizeof(TokenId) * 5);
  for (size_t i = 0; i < 4; ++i) Generate(*exchange, i, "x", kLength);
  EXPECT_EQ(exchange->response.status, 200);
}

TEST_F(BudgetTest, LogprobsThatCannotFitAreRefusedAtOnce) {
  for (const char* fields : {R"("logprobs":260,"max_tokens":500)", R"("logprobs":20,"max_tokens":90000)"}) {
    const auto refused = Completion(fields);
    EXPECT_EQ(refused->response.status, 400) << refused->body();
    EXPECT_EQ(Text(At(Parse(refused->body()), "/error/param")), "logprobs");
    EXPECT_THAT(refused->body(), HasSubstr("--max-inflight"));
  }
  EXPECT_EQ(Chat(R"("logprobs":true,"top_logprobs":260,"max_tokens":500)")->response.status, 400);
  EXPECT_EQ(api_.engine.submitted(), 0u);
  Completion(R"("logprobs":260,"max_tokens":500,"stream":true)");
  Completion(R"("logprobs":20,"max_tokens":500)");
  Completion(R"("logprobs":260)");
  EXPECT_EQ(api_.engine.submitted(), 3u) << "a stream, few ones, and as many as come";
}

// An answer that is not streamed collects its log probabilities. It ends when they could not be formatted.
TEST_F(BudgetTest, CollectedLogprobsThatOutgrowTheBudgetEndTheRequest) {
  const auto exchange = Chat(R"("logprobs":true,"top_logprobs":260)");
  ASSERT_EQ(api_.engine.submitted(), 1u);
  size_t tokens = 0;
  for (; exchange->answers == 0 && tokens < 10'000; ++tokens) {
    Generate(*exchange, 0, "a");
    ASSERT_LE(api_.budget->held(), api_.budget->limit());
  }
  EXPECT_LE(tokens, 7'000'000 / kLogprobTextBytes / 261 + 1);
  EXPECT_GE(tokens, 7'000'000 / kLogprobTextBytes / 261 / 2);
  ExpectNoRoom(*exchange, 413);
  EXPECT_EQ(api_.engine.cancelled, std::vector<RequestId>{1});
  Generate(*exchange, 0, "late", kCancelled);
  EXPECT_LT(api_.budget->held(), 10'000u) << "only the prompt";

  ByteBudget::Reservation rest(*api_.budget, ByteBudget::Use::kAnswer);
  const auto last = Chat(R"("logprobs":true,"top_logprobs":260)");
  for (size_t i = 2; i < tokens / 2 + 1; ++i) Generate(*last, 1, "a");
  ASSERT_TRUE(rest.TryGrow(6'000'000));
  EXPECT_EQ(last->answers, 0);
  Generate(*last, 1, "a", kLength);
  ExpectNoRoom(*last, 503);
}

// The engine is faster than the io thread: its events wait in the outbox.
TEST_F(BudgetTest, EventsThatWaitForTheIoThreadAreBounded) {
  const auto exchange = Completion(R"("logprobs":260,"stream":true)");
  for (int i = 0; i < 1000; ++i) {
    api_.engine.Generate(0, "abcdefgh");
    ASSERT_LE(api_.budget->held(), api_.budget->limit());
    ASSERT_EQ(exchange->nudges, i) << "all but the first say that a job waits";
  }
  exchange->RunJobs();
  EXPECT_TRUE(exchange->ended);
  ExpectNoRoom(*exchange, 503);
  EXPECT_EQ(api_.engine.cancelled, std::vector<RequestId>{1});
  Generate(*exchange, 0, "", kCancelled);
  EXPECT_LT(api_.budget->held(), 10'000u);
}

TEST_F(BudgetTest, AStreamHoldsNothingThatItHasSent) {
  const auto exchange = Completion(R"("logprobs":260,"stream":true)");
  for (int i = 0; i < 500; ++i) {
    Generate(*exchange, 0, "ab");
    ASSERT_LT(api_.budget->held(), 10'000u) << i;
  }
  Generate(*exchange, 0, "", kLength);
  EXPECT_EQ(testing_support::Events(exchange->body()).size(), 501u);
}

TEST_F(BudgetTest, AStreamThatFindsNoRoomEndsWithAnError) {
  for (const bool text_waits : {false, true}) {
    const size_t first = api_.engine.submitted();
    const auto exchange = Completion(R"("stream":true)");
    Generate(*exchange, first, "abc");
    exchange->room = false;
    if (text_waits) {
      Generate(*exchange, first, "def");
    } else {
      api_.engine.Fail(first, IoError("a fault"));
      exchange->RunJobs();
    }
    EXPECT_TRUE(exchange->ended);
    const auto events = testing_support::Events(exchange->body(), /*done=*/false);
    EXPECT_EQ(Text(At(events.back(), "/error/code")), text_waits ? "overloaded" : "internal_error");
    EXPECT_EQ(api_.engine.cancelled.size(), text_waits ? 1u : 0u);
    if (text_waits) Generate(*exchange, first, "", kCancelled);
  }
}

// Tokens without text wait for text, with their log probabilities.
TEST_F(BudgetTest, TokensWithoutTextAreBounded) {
  const auto exchange = Completion(R"("logprobs":260,"stream":true,"ignore_eos":true)");
  size_t tokens = 0;
  for (; !exchange->ended && tokens < 100'000; ++tokens) {
    Generate(*exchange, 0, std::vector<TokenId>{testing_support::kUserToken});
    ASSERT_LE(api_.budget->held(), api_.budget->limit());
  }
  // A vector that grew by doubling has room for up to twice its elements.
  EXPECT_GE(tokens, 7'000'000 / (2 * kToyVocab * 8 + 500)) << "most of the budget was used";
  EXPECT_LE(tokens, 7'000'000 / (kToyVocab * 8));
  EXPECT_THAT(exchange->body(), HasSubstr("--max-inflight")) << "an event, since the stream has begun";
}

TEST(LongBodiesTest, EscapesAreThoseOfTheJsonLibrary) {
  std::string text;
  for (int c = 0; c < 256; ++c) text.push_back(static_cast<char>(c));
  std::string escaped;
  for (const char c : text.substr(0, 128)) AppendEscaped(std::string_view(&c, 1), &escaped);
  EXPECT_EQ("\"" + escaped + "\"", json::serialize(json::string_view(text.data(), 128)));
  escaped.clear();
  AppendEscaped("caf\xC3\xA9 \xF0\x9F\x98\x80", &escaped);
  EXPECT_EQ(escaped, "caf\xC3\xA9 \xF0\x9F\x98\x80");
}

TEST_F(BudgetTest, LongBodiesEqualShortOnesPutTogether) {
  std::string text;
  for (int i = 0; i < 30'000; ++i) text += static_cast<char>('a' + i % 26);
  const auto pieces =
      Parse(api_.Post("/tokenize", json::serialize(json::object{{"content", text}, {"with_pieces", true}}))
                ->body());
  const auto strings =
      Parse(api_.Post("/tokenize",
                      json::serialize(json::object{
                          {"prompt", text}, {"return_token_strs", true}, {"add_special_tokens", false}}))
                ->body());
  const std::vector<TokenId> ids = Bytes(text);
  ASSERT_EQ(At(pieces, "/tokens").as_array().size(), ids.size());
  EXPECT_EQ(At(strings, "/count").as_int64(), static_cast<int64_t>(ids.size()));
  json::array list;
  for (size_t i = 0; i < ids.size(); ++i) {
    list.emplace_back(ids[i]);
    ASSERT_EQ(At(pieces, "/tokens").as_array()[i],
              (json::object{{"id", ids[i]}, {"piece", text.substr(i, 1)}}));
    ASSERT_EQ(At(strings, "/token_strs").as_array()[i].as_string(), text.substr(i, 1));
  }
  EXPECT_EQ(At(strings, "/tokens"), list);
  const auto decoded =
      Parse(api_.Post("/detokenize", json::serialize(json::object{{"tokens", list}}))->body());
  EXPECT_EQ(decoded, (json::object{{"prompt", text}, {"content", text}}));
  const auto rendered = Parse(
      api_.Post("/apply-template", json::serialize(json::object{
                                       {"messages", {{{"role", "user"}, {"content", text + text + text}}}}}))
          ->body());
  EXPECT_THAT(Text(At(rendered, "/prompt")), HasSubstr(text + text + text));
}

}  // namespace
}  // namespace prefixd
