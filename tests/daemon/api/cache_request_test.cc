// What requests say of the cache, and what the engine is told.
#include "daemon/api/cache_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <string>

#include "tests/daemon/api/api_fixture.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using testing_support::Parse;

TEST(Lifetime, IsMinutesOrHoursUpToADay) {
  EXPECT_EQ(ParseLifetime("5m"), 300);
  EXPECT_EQ(ParseLifetime("1h"), 3600);
  EXPECT_EQ(ParseLifetime("24h"), 86400);
  EXPECT_EQ(ParseLifetime("1440m"), 86400);
  for (const char* wrong :
       {"", "m", "5", "5s", "0m", "-5m", "25h", "1441m", "5mm", " 5m", "99999999999m", "1.5h"})
    EXPECT_EQ(ParseLifetime(wrong), std::nullopt) << wrong;
}

CacheRequest Read(const std::string& body) {
  const json::object object = Parse(body).as_object();
  RequestFields fields(object);
  const CacheRequest request = ReadCacheRequest(fields);
  EXPECT_FALSE(fields.error()) << body;
  return request;
}

TEST(CacheRequest, TheEndOfThePromptIsABreakpointWhenALifetimeIsAskedFor) {
  const PrefixUse use =
      UseOfPrefix(Read(R"({"prompt_cache_options":{"ttl":"1h"}})"), {{10, 0}, {20, 60}}, 50);
  ASSERT_EQ(use.breakpoints.size(), 3u);
  EXPECT_EQ(use.breakpoints[0].seconds, 3600) << "it names none";
  EXPECT_EQ(use.breakpoints[1].seconds, 60);
  EXPECT_EQ(use.breakpoints[2].tokens, 50);
  EXPECT_EQ(use.SecondsAt(0), 3600);
  EXPECT_EQ(use.TokensFor(3600), 50);
  EXPECT_EQ(UseOfPrefix(Read(R"({"prompt_cache_retention":"24h"})"), {}, 50).TokensFor(86400), 50);
  EXPECT_TRUE(UseOfPrefix(Read(R"({"prompt_cache_retention":"in_memory"})"), {}, 50).breakpoints.empty());
}

TEST(CacheRequest, AHintGoesToTheEngineAndAnotherValueIsNamed) {
  EXPECT_EQ(UseOfPrefix(Read(R"({"prefixd_session":"ended"})"), {}, 50).hint, SessionHint::kEnded);
  EXPECT_EQ(UseOfPrefix(Read(R"({"prefixd_session":"one_shot"})"), {}, 50).hint, SessionHint::kOneShot);
  EXPECT_EQ(UseOfPrefix(Read(R"({"prefixd_session":"tool_pending"})"), {}, 50).hint,
            SessionHint::kToolPending);
  EXPECT_EQ(UseOfPrefix(Read(R"({"prefixd_session":null})"), {}, 50).hint, SessionHint::kNone);
  const json::object body = Parse(R"({"prefixd_session":"ENDED"})").as_object();
  RequestFields fields(body);
  ReadCacheRequest(fields);
  ASSERT_TRUE(fields.error());
  EXPECT_EQ(fields.error()->param, "prefixd_session");
  EXPECT_THAT(fields.error()->message, testing::HasSubstr("\"ENDED\""));
}

TEST(CacheRequest, TheLatestFourBreakpointsCount) {
  const std::vector<Breakpoint> all = {{1, 9}, {2, 9}, {3, 9}, {4, 9}, {5, 9}, {6, 9}, {70, 9}};
  PrefixUse use = UseOfPrefix(Read("{}"), all, 50);
  ASSERT_EQ(use.breakpoints.size(), 4u);
  EXPECT_EQ(use.breakpoints.front().tokens, 3) << "70 is behind the end";
  use = UseOfPrefix(Read(R"({"prompt_cache_options":{"ttl":"5m"}})"), all, 50);
  ASSERT_EQ(use.breakpoints.size(), 4u);
  EXPECT_EQ(use.breakpoints.front().tokens, 4);
  EXPECT_EQ(use.breakpoints.back().tokens, 50);
}

TEST(CacheRequest, TheModeExplicitLimitsWhatIsWritten) {
  const CacheRequest request = Read(R"({"prompt_cache_options":{"mode":"explicit","ttl":"1h"}})");
  const PrefixUse use = UseOfPrefix(request, {{10, 0}}, 50);
  EXPECT_EQ(use.write_limit, 10);
  EXPECT_EQ(use.breakpoints.size(), 1u);
  EXPECT_FALSE(UsesNoCache(request, use));
  const PrefixUse none = UseOfPrefix(request, {}, 50);
  EXPECT_EQ(none.write_limit, 0);
  EXPECT_TRUE(UsesNoCache(request, none));
}

using CacheFieldsTest = testing_support::ApiTest;

TEST_F(CacheFieldsTest, AMarkIsAPositionInTheTokensAndNotAPartOfThePrompt) {
  const auto exchange = api_.Post("/v1/chat/completions",
                                  R"({"messages":[{"role":"user","content":[)"
                                  R"({"type":"text","text":"abc","cache_control":{"type":"ephemeral"}},)"
                                  R"({"type":"text","text":"def"}]}]})");
  ASSERT_EQ(api_.engine.submitted(), 1u) << exchange->body();
  const auto plain =
      api_.Post("/v1/chat/completions", R"({"messages":[{"role":"user","content":[)"
                                        R"({"type":"text","text":"abc"},{"type":"text","text":"def"}]}]})");
  const Request& marked = api_.engine.request(0);
  EXPECT_EQ(marked.prompt, api_.engine.request(1).prompt);
  ASSERT_EQ(marked.prefix_use.breakpoints.size(), 1u);
  const int end = marked.prefix_use.breakpoints[0].tokens;
  ASSERT_GT(end, 3);
  EXPECT_EQ(marked.prompt[static_cast<size_t>(end - 1)], 'c');
  EXPECT_EQ(marked.prefix_use.breakpoints[0].seconds, 300);
}

}  // namespace
}  // namespace prefixd
