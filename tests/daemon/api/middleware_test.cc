// What the checks before a handler take from headers: codings of the body and ids of requests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/api/middleware.h"
#include "tests/daemon/api/api_fixture.h"

namespace prefixd {
namespace {

using testing::HasSubstr;
using testing_support::ApiTest;
using testing_support::At;
using testing_support::Parse;
using testing_support::Text;

constexpr char kBody[] = R"({"prompt":"abc"})";

TEST_F(ApiTest, CodedBodiesAreRefusedByName) {
  const std::pair<const char*, const char*> kCases[] = {
      {"gzip", "'gzip'"},          {"deflate", "'deflate'"},      {"br", "'br'"},
      {"zstd", "'zstd'"},          {"identity, gzip", "'gzip'"},  {" GZIP ", "'GZIP'"},
      {"gzip,identity", "'gzip'"}, {",,compress,", "'compress'"}, {"identity;q=1", "'identity;q=1'"}};
  for (const auto& [coding, named] : kCases) {
    const auto exchange = api_.Request("POST", "/tokenize", kBody, {{"content-encoding", coding}});
    EXPECT_EQ(exchange->response.status, 415) << coding;
    EXPECT_THAT(exchange->body(), HasSubstr(named));
    EXPECT_THAT(exchange->body(), HasSubstr("'identity'")) << "the remedy";
    EXPECT_EQ(Text(At(Parse(exchange->body()), "/error/code")), "unsupported_media_type");
    EXPECT_EQ(exchange->header("Accept-Encoding"), "identity");
    EXPECT_FALSE(WantsJsonBody(exchange->request(), api_.context)) << "a large body is not read";
  }
  const auto second = api_.Request("POST", "/tokenize", kBody,
                                   {{"content-encoding", "identity"}, {"content-encoding", "br"}});
  EXPECT_EQ(second->response.status, 415);
  for (const char* coding : {"identity", "IDENTITY", "", " ", "identity, identity"}) {
    const auto exchange = api_.Request("POST", "/tokenize", kBody, {{"content-encoding", coding}});
    EXPECT_EQ(exchange->response.status, 200) << coding;
  }
}

TEST_F(ApiTest, TheIdOfARequestIsThatOfItsHeaderOrElseOfItsBody) {
  const auto id_of = [&](const char* body, HttpHeaders headers) {
    return api_.Request("POST", "/tokenize", body, std::move(headers))->request_id();
  };
  constexpr char kOwn[] = "req_0123456789abcdef";  // of the exchange, which does not read the header
  EXPECT_EQ(id_of(kBody, {}), kOwn);
  EXPECT_EQ(id_of(R"({"prompt":"a","request_id":"mine"})", {}), "mine");
  EXPECT_EQ(id_of(R"({"prompt":"a","request_id":"mine"})", {{"x-request-id", "proxy"}}), kOwn);
  EXPECT_EQ(id_of(R"({"prompt":"a","request_id":"mine"})", {{"x-request-id", "not usable"}}), "mine");
  EXPECT_EQ(id_of(R"({"prompt":"a","request_id":null})", {}), kOwn);
  EXPECT_EQ(id_of(R"({"prompt":1,"request_id":"mine"})", {}), "mine") << "errors have it, too";
}

TEST_F(ApiTest, UnusableIdsInABodyAreErrors) {
  const std::string kWrong[] = {"7",
                                "\"\"",
                                "\"a b\"",
                                "\"a\\nb\"",
                                "\"\xC3\xA9\"",
                                "\"a\\u0000b\"",
                                "\"a\\u007f\"",
                                "[\"a\"]",
                                "\"" + std::string(129, 'x') + "\""};
  for (const std::string& wrong : kWrong) {
    const auto exchange = api_.Post("/v1/completions", "{\"prompt\":\"a\",\"request_id\":" + wrong + "}");
    EXPECT_EQ(exchange->response.status, 400) << wrong;
    EXPECT_EQ(Text(At(Parse(exchange->body()), "/error/param")), "request_id") << wrong;
  }
  EXPECT_EQ(api_.engine.submitted(), 0u);
}

TEST_F(ApiTest, TheIdOfACompletionHasTheIdOfTheRequest) {
  for (const auto& [id, expected] : {std::pair("trace_1", "cmpl-trace_1"), std::pair("req_5", "cmpl-5")}) {
    const size_t index = api_.engine.submitted();
    const auto exchange = Completion("\"request_id\":\"" + std::string(id) + "\"");
    Generate(*exchange, index, "x", FinishReason::kLength);
    EXPECT_EQ(Text(At(Parse(exchange->body()), "/id")), expected);
  }
}

}  // namespace
}  // namespace prefixd
