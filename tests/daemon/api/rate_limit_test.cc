// The limits of a tenant: requests and tokens a minute, what is refused, and what the headers say.
#include "daemon/api/rate_limit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/daemon/api/api_fixture.h"

namespace prefixd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing_support::ApiTest;
using testing_support::At;
using testing_support::Parse;
using testing_support::Text;

TEST(GoDurations, AreThoseThatClientsOfOpenAiRead) {
  EXPECT_EQ(GoDuration(0), "0ms");
  EXPECT_EQ(GoDuration(0.0111), "12ms");
  EXPECT_EQ(GoDuration(0.9995), "1s");
  EXPECT_EQ(GoDuration(8.64), "8.64s");
  EXPECT_EQ(GoDuration(360), "6m0s");
  EXPECT_EQ(GoDuration(3661.007), "1h1m1.007s");
}

TEST(RateLimits, FillInAMinuteAndAnswersMayExceedThem) {
  RateLimit rates;
  rates.SetLimits({.requests_per_minute = 2, .tokens_per_minute = 60});
  EXPECT_FALSE(rates.TakeRequest(100));
  EXPECT_FALSE(rates.TakeRequest(100));
  const auto refused = rates.TakeRequest(100);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status, 429);
  EXPECT_EQ(refused->retry_after, 30);
  EXPECT_THAT(refused->message, HasSubstr("2 requests a minute"));
  EXPECT_TRUE(rates.TakeRequest(129));
  EXPECT_FALSE(rates.TakeRequest(130));
  EXPECT_EQ(rates.requests(), 3);

  EXPECT_FALSE(rates.TakePrompt(50, 130));
  rates.AddTokens(40, 130);  // an answer: 30 above the limit
  EXPECT_EQ(rates.TakePrompt(10, 130)->retry_after, 40);
  EXPECT_FALSE(rates.TakePrompt(10, 170));
  rates.AddTokens(-10, 170);
  EXPECT_EQ(rates.tokens(), 90);
  EXPECT_THAT(
      rates.Headers(170),
      ElementsAre(Pair("x-ratelimit-limit-requests", "2"), Pair("x-ratelimit-remaining-requests", "1"),
                  Pair("x-ratelimit-reset-requests", "20s"), Pair("x-ratelimit-limit-tokens", "60"),
                  Pair("x-ratelimit-remaining-tokens", "10"), Pair("x-ratelimit-reset-tokens", "50s")));
  // A prompt above the limit needs all of it, and waits for it.
  EXPECT_TRUE(rates.TakePrompt(600, 219));
  EXPECT_FALSE(rates.TakePrompt(600, 220));
  EXPECT_EQ(rates.TakePrompt(1, 220)->retry_after, 60);
  // What was taken stays taken; without a limit it counts only.
  rates.SetLimits({.tokens_per_minute = 1200});
  EXPECT_FALSE(rates.TakePrompt(600, 220));
  EXPECT_TRUE(rates.TakePrompt(1, 220));
  rates.SetLimits({});
  EXPECT_FALSE(rates.TakePrompt(1 << 20, 220));
  EXPECT_TRUE(rates.Headers(220).empty());
  EXPECT_EQ(rates.tokens(), 90 + 600 + 600 + (1 << 20));
}

TEST(RateLimits, AreExactAfterManySmallParts) {
  RateLimit rates;
  rates.SetLimits({.tokens_per_minute = 1'000'000'007});
  for (int i = 0; i < 100'000; ++i) EXPECT_FALSE(rates.TakePrompt(1, 1 + 1e-9 * i));
  EXPECT_EQ(rates.tokens(), 100'000);
  EXPECT_THAT(rates.Headers(2).at(1), Pair("x-ratelimit-remaining-tokens", "1000000007"));
}

class LimitedApiTest : public ApiTest {
 protected:
  LimitedApiTest() {
    ApiKey one = PlainKey("one"), two = PlainKey("two");
    one.tenant = two.tenant = "alice";
    one.limits = two.limits = {.requests_per_minute = 4, .tokens_per_minute = 10};
    keys_ = {one, two, PlainKey("free")};
    api_.context.api_keys = keys_;
  }
  auto Ask(const std::string& key, const std::string& fields = "", const char* path = "/v1/completions") {
    return api_.Request("POST", path, "{\"prompt\":\"abc\"" + fields + "}", {{"x-api-key", key}});
  }
  KeyRing::Taken Alice() { return api_.context.api_keys.taken().at(1); }

  KeyRing::Keys keys_;
};

TEST_F(LimitedApiTest, KeysOfATenantShareItsLimitsAndOthersDoNot) {
  const auto first = Ask("one", R"(,"n":2)");
  EXPECT_EQ(Alice().tokens, 4) << "a prompt counts once, before it is computed";
  Generate(*first, 0, "xy", FinishReason::kLength);
  Generate(*first, 1, "z", FinishReason::kLength);
  EXPECT_EQ(first->response.status, 200);
  EXPECT_EQ(At(Parse(first->body()), "/usage/total_tokens").as_int64(), 7);
  EXPECT_EQ(Alice().tokens, 7);
  EXPECT_EQ(first->header("x-ratelimit-limit-tokens"), "10");
  EXPECT_EQ(first->header("x-ratelimit-remaining-tokens"), "6");
  EXPECT_EQ(first->header("x-ratelimit-remaining-requests"), "3");
  const auto second = Ask("two");
  EXPECT_EQ(second->response.status, 429);
  EXPECT_EQ(Text(At(Parse(second->body()), "/error/code")), "rate_limit_exceeded");
  EXPECT_EQ(second->header("Retry-After"), "6");
  EXPECT_EQ(second->header("x-ratelimit-remaining-tokens"), "3");
  EXPECT_EQ(second->header("x-ratelimit-remaining-requests"), "2");
  const auto other = Ask("free");
  EXPECT_EQ(other->header("x-ratelimit-limit-tokens"), "");
  EXPECT_EQ(api_.engine.submitted(), 3u);
  api_.clock.Advance(6'000'000'000);
  EXPECT_EQ(Ask("two", "", "/v1/tokenize")->response.status, 200);
  EXPECT_EQ(Ask("two")->answers, 0) << "it runs";
  EXPECT_EQ(Alice().requests, 4);
  EXPECT_EQ(api_.context.answers->Read().rate_limited, (std::array<uint64_t, 2>{0, 1}));
}

TEST_F(LimitedApiTest, TheEngineDividesItsStepsByTenantsAndWeights) {
  keys_[0].limits = keys_[1].limits = {.weight = 3};
  api_.context.api_keys = keys_;
  Ask("one");
  Ask("two", R"(,"cache_scope":"public")");
  Ask("free");
  const TenantShare alice = api_.engine.request(0).share;
  EXPECT_EQ(alice.weight, 3);
  EXPECT_EQ(api_.engine.request(1).share.tenant, alice.tenant) << "also where the cache is public";
  EXPECT_EQ(api_.engine.request(2).share.weight, 1);
  EXPECT_NE(api_.engine.request(2).share.tenant, alice.tenant);
  api_.context.api_keys.clear();
  Ask("");
  EXPECT_EQ(api_.engine.request(3).share.tenant, "");
}

TEST_F(LimitedApiTest, RefusedRequestsTakeNothing) {
  api_.engine.submit_results = {ResourceExhausted("the queue is full")};
  EXPECT_EQ(Ask("one")->response.status, 429);
  EXPECT_EQ(Alice().tokens, 0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Ask("one", R"(,"top_p":7)")->response.status, 400);
  const auto refused = Ask("one", R"(,"top_p":7)");
  EXPECT_EQ(refused->response.status, 429) << "before it is read";
  EXPECT_EQ(refused->header("Retry-After"), "15");
  EXPECT_EQ(Alice().requests, 4);
  EXPECT_EQ(api_.context.answers->Read().rate_limited, (std::array<uint64_t, 2>{1, 0}));
}

TEST_F(LimitedApiTest, AReloadKeepsWhatWasTakenAndARequestKeepsItsTenant) {
  const auto stream = Ask("one", R"(,"stream":true)");
  for (ApiKey& key : keys_) key.limits = {.tokens_per_minute = 100};
  api_.context.api_keys = keys_;
  EXPECT_EQ(Ask("two")->header("x-ratelimit-remaining-tokens"), "92");
  EXPECT_EQ(Alice().tokens, 8);
  api_.context.api_keys = {PlainKey("free")};
  Generate(*stream, 0, "x", FinishReason::kLength);
  EXPECT_EQ(stream->header("x-ratelimit-remaining-tokens"), "6");
  EXPECT_EQ(Ask("two")->response.status, 401);
}

}  // namespace
}  // namespace prefixd
