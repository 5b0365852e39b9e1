// The routes of the admin listener: keys, hosts, methods, and what waits for the engine thread.
#include "daemon/admin/admin_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/daemon/api/api_fixture.h"

namespace prefixd {
namespace {

using testing_support::At;
using testing_support::MemoryExchange;
using testing_support::Parse;
using testing_support::Text;

class AdminRoutesTest : public testing_support::ApiTest {
 protected:
  AdminRoutesTest() {
    context_.api = &api_.context;
    context_.listen = "127.0.0.1:9";
    context_.facts = [] { return AdminFacts{.version = "1", .model = "m", .block_tokens = 16}; };
    context_.rates = [](const EngineStats&) { return Rates(); };
    context_.past = [] { return std::vector<PastRates>(); };
    context_.view = [this] { return view_.get(); };
    context_.drain = [this] { ++drains_; };
    context_.counters = &counters_;
    context_.streams = &streams_;
  }
  std::shared_ptr<MemoryExchange> Get(const std::string& path, std::string query = "",
                                      HttpHeaders headers = {{"host", "127.0.0.1:9"}},
                                      std::string method = "GET") {
    Router router;
    AddAdminRoutes(&router, &context_);
    auto exchange = std::make_shared<MemoryExchange>(HttpRequest{.method = std::move(method),
                                                                 .path = path,
                                                                 .query = std::move(query),
                                                                 .headers = std::move(headers),
                                                                 .body = ""},
                                                     api_.budget.get());
    HandleAdminRequest(router, context_, exchange);
    exchange->RunJobs();
    return exchange;
  }

  // A page's own request for an action; `changed` replaces headers, and an empty value removes one.
  std::shared_ptr<MemoryExchange> Act(const std::string& path, const HttpHeaders& changed = {}) {
    HttpHeaders headers = {{"host", "127.0.0.1:9"},
                           {"origin", "http://127.0.0.1:9"},
                           {"content-type", "application/json"},
                           {"x-prefixd-action", "1"}};
    for (const auto& [name, value] : changed) {
      std::erase_if(headers, [&](const auto& header) { return header.first == name; });
      if (!value.empty()) headers.emplace_back(name, value);
    }
    return Get(path, "", headers, "POST");
  }

  int drains_ = 0;
  AdminCounters counters_;
  StatusStreams streams_{&api_.clock, &counters_, [this] { return StatusText(context_); }};
  int asked_ = 0;  // turns that the engine thread was asked for
  std::unique_ptr<EngineView> view_ = std::make_unique<EngineView>([this] { ++asked_; }, nullptr);
  AdminContext context_;
};

TEST_F(AdminRoutesTest, OnlyAddressesAndKnownNamesMayAsk) {
  EXPECT_EQ(Get("/admin/requests")->response.status, 200);
  for (const HttpHeaders& headers : {HttpHeaders{}, HttpHeaders{{"host", "attacker.example:9"}}}) {
    for (const char* path : {"/admin/requests", "/admin/ready", "/nowhere"}) {
      const auto refused = Get(path, "", headers);
      EXPECT_EQ(refused->response.status, 403) << path;
      EXPECT_EQ(Text(At(Parse(refused->body()), "/error/code")), "host_not_allowed");
    }
  }
  context_.listen = "unix:/run/admin";
  EXPECT_EQ(Get("/admin/requests", "", {})->response.status, 200);
}

TEST_F(AdminRoutesTest, KeysAreRequiredWhereThereAreSome) {
  api_.context.api_keys = testing_support::PlainKeys({"sk-one"});
  for (const char* path : {"/admin/status", "/admin/requests", "/admin/requests/x"})
    EXPECT_EQ(Get(path)->response.status, 401) << path;
  EXPECT_EQ(Get("/admin/ready")->response.status, 200) << "a health check has no key";
  const HttpHeaders key = {{"host", "[::1]:9"}, {"authorization", "Bearer sk-one"}};
  EXPECT_EQ(Get("/admin/requests", "", key)->response.status, 200);
  context_.listen = "unix:/run/admin";
  EXPECT_EQ(Get("/admin/requests")->response.status, 200) << "the file of the socket has permissions";
}

TEST_F(AdminRoutesTest, DocumentsAreAnsweredToGetAlone) {
  for (const char* method : {"POST", "PUT", "DELETE"}) {
    const auto refused = Get("/admin/status", "", {{"host", "localhost"}}, method);
    EXPECT_EQ(refused->response.status, 405) << method;
    EXPECT_EQ(refused->header("Allow"), "GET, HEAD");
  }
  EXPECT_EQ(Get("/v1/completions")->response.status, 404);
  EXPECT_EQ(Get("/metrics")->response.status, 404);
}

TEST_F(AdminRoutesTest, ThePageNeedsNoKeyAndMayLoadNothingElse) {
  api_.context.api_keys = testing_support::PlainKeys({"sk-one"});
  const auto page = Get("/");
  EXPECT_EQ(page->response.status, 200);
  EXPECT_EQ(page->response.content_type, "text/html; charset=utf-8");
  EXPECT_THAT(page->body(), testing::StartsWith("<!doctype html>"));
  EXPECT_THAT(page->body(), testing::HasSubstr("src=\"page.js\""));
  EXPECT_THAT(page->header("Content-Security-Policy"), testing::HasSubstr("default-src 'none';"));
  EXPECT_EQ(page->header("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(page->header("Referrer-Policy"), "no-referrer");
  EXPECT_EQ(Get("/page.css")->response.content_type, "text/css; charset=utf-8");
  EXPECT_EQ(Get("/page.js")->response.content_type, "text/javascript; charset=utf-8");
  EXPECT_EQ(Get("/", "", {{"host", "attacker.example"}})->response.status, 403);
}

TEST_F(AdminRoutesTest, ReadyIsThatOfTheApiWithASchema) {
  const auto ready = Get("/admin/ready");
  auto expected = Parse(api_.Request("GET", "/ready")->body()).as_object();
  expected["schema"] = kAdminSchema;
  EXPECT_EQ(Parse(ready->body()), boost::json::value(expected));
  EXPECT_EQ(ready->header("Cache-Control"), "no-store");
  api_.state.set_phase(ServerPhase::kDraining);
  EXPECT_EQ(Get("/admin/ready")->response.status, 503);
}

TEST_F(AdminRoutesTest, TheStatusWaitsALittleForTheEngineThread) {
  const auto status = Get("/admin/status");
  EXPECT_EQ(asked_, 1);
  EXPECT_EQ(status->answers, 0) << "the engine thread has not looked yet";
  for (int i = 0; i < 100 && status->answers == 0; ++i) {
    status->AdvanceTime(0.01);
    status->RunJobs();
  }
  ASSERT_EQ(status->answers, 1) << "without an engine thread it answers, too";
  EXPECT_TRUE(At(Parse(status->body()), "/prefixes").is_null());
  view_.reset();
  const auto loading = Get("/admin/status");
  EXPECT_EQ(loading->answers, 1) << "while the model loads there is nobody to wait for";
  EXPECT_EQ(At(Parse(loading->body()), "/schema"), boost::json::value(kAdminSchema));
}

TEST_F(AdminRoutesTest, RequestsThatAreNotKnownAndQueriesThatAreWrong) {
  const auto unknown = Get("/admin/requests/req_9");
  EXPECT_EQ(unknown->response.status, 404);
  EXPECT_EQ(Text(At(Parse(unknown->body()), "/error/code")), "unknown_request");
  EXPECT_EQ(Get("/admin/requests", "limit=100")->response.status, 200);
  for (const char* query : {"limit=0", "limit=101", "limit=", "limit=5x", "limit=-1", "most=5"})
    EXPECT_EQ(Get("/admin/requests", query)->response.status, 400) << query;
}

TEST_F(AdminRoutesTest, ActionsTakeWhatNoPageOfAnotherOriginSends) {
  const std::pair<HttpHeaders, int> refused[] = {
      {{{"x-prefixd-action", ""}}, 403},
      {{{"origin", "http://attacker.example"}}, 403},
      {{{"origin", "null"}}, 403},
      {{{"origin", "http://127.0.0.1:10"}}, 403},
      {{{"origin", "https://127.0.0.1:9"}}, 403},
      {{{"host", "attacker.example"}, {"origin", "http://attacker.example"}}, 403},
      {{{"content-type", ""}}, 415},
      {{{"content-type", "text/plain"}}, 415},
      {{{"content-type", "application/x-www-form-urlencoded"}}, 415}};
  for (const auto& [headers, status] : refused) {
    EXPECT_EQ(Act("/admin/drain", headers)->response.status, status) << headers[0].second;
    EXPECT_EQ(drains_, 0);
  }
  EXPECT_EQ(Get("/admin/drain")->response.status, 405);
  api_.context.api_keys = testing_support::PlainKeys({"sk-one"});
  EXPECT_EQ(Act("/admin/drain")->response.status, 401);
  EXPECT_EQ(drains_, 0);
}

TEST_F(AdminRoutesTest, ADrainBeginsOnce) {
  api_.state.set_phase(ServerPhase::kLoading);
  EXPECT_EQ(Act("/admin/drain")->response.status, 503);
  api_.state.set_phase(ServerPhase::kServing);
  const auto drained = Act("/admin/drain", {{"origin", ""}});
  EXPECT_EQ(drained->response.status, 200);
  EXPECT_THAT(Text(At(Parse(drained->body()), "/done")), testing::HasSubstr("drains"));
  EXPECT_EQ(drains_, 1);
  EXPECT_EQ(Act("/admin/drain")->response.status, 409) << "a second signal would cut requests";
  api_.state.set_phase(ServerPhase::kDraining);
  EXPECT_EQ(Act("/admin/drain")->response.status, 409);
  EXPECT_EQ(drains_, 1);
}

TEST_F(AdminRoutesTest, TheStatusIsAStreamOfAtMostTwoEventsASecond) {
  const auto stream = Get("/admin/events");
  EXPECT_EQ(stream->response.content_type, "text/event-stream");
  const auto events = [&] {
    size_t count = 0;
    for (size_t at = 0; (at = stream->body().find("data: {", at)) != std::string::npos; ++at) ++count;
    return count;
  };
  EXPECT_EQ(events(), 1u);
  EXPECT_THAT(stream->body(), testing::EndsWith("}\n\n"));
  for (int i = 0; i < 100; ++i) {
    api_.clock.Advance(100'000'000);
    stream->AdvanceTime(0.1);
    stream->RunJobs();
  }
  EXPECT_GE(events(), 10u);
  EXPECT_LE(events(), 20u);
  EXPECT_EQ(streams_.open(), 1);
  EXPECT_EQ(asked_, 0) << "a stream makes nobody look through the tree";
  stream->Disconnect();
  stream->AdvanceTime(StatusStreams::kSeconds);
  stream->RunJobs();
  EXPECT_EQ(streams_.open(), 0);
  EXPECT_EQ(counters_.dropped_streams, 0u) << "it left by itself";
}

TEST_F(AdminRoutesTest, StreamsAreFewAndThoseThatAreNotReadAreDropped) {
  std::vector<std::shared_ptr<MemoryExchange>> streams;
  for (int i = 0; i < Limit("admin-streams"); ++i) streams.push_back(Get("/admin/events"));
  const auto refused = Get("/admin/events");
  EXPECT_EQ(refused->response.status, 503);
  EXPECT_EQ(Text(At(Parse(refused->body()), "/error/code")), "too_many_streams");
  streams[0]->room = false;
  streams[0]->AdvanceTime(StatusStreams::kSeconds);
  streams[0]->RunJobs();
  EXPECT_TRUE(streams[0]->ended);
  EXPECT_EQ(counters_.dropped_streams, 1u);
  EXPECT_EQ(streams_.open(), Limit("admin-streams") - 1);
  streams[0] = Get("/admin/events");
  EXPECT_EQ(streams[0]->response.status, 200) << "its place is free";
  for (const auto& stream : streams) {  // a stream and its timer hold each other until it ends
    stream->room = false;
    stream->AdvanceTime(StatusStreams::kSeconds);
    stream->RunJobs();
  }
  EXPECT_EQ(streams_.open(), 0);
}

}  // namespace
}  // namespace prefixd
