// What the checks before a handler take from headers: codings of the body.
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

}  // namespace
}  // namespace prefixd
