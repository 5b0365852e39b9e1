// Which origins are listed, and what answers to their pages say.
#include "daemon/http/cors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd {
namespace {

using testing::HasSubstr;

CorsPolicy Policy(std::string_view list) {
  Result<CorsPolicy> policy = CorsPolicy::Parse(list);
  EXPECT_TRUE(policy.ok()) << policy.status().ToString();
  return policy.ok() ? *std::move(policy) : CorsPolicy();
}

std::string Find(const HttpHeaders& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return "";
}

std::string Allowed(const CorsPolicy& policy, std::string_view origin) {
  return Find(policy.ResponseHeaders(origin), "Access-Control-Allow-Origin");
}

TEST(CorsTest, ListedOriginsAreThoseThatBrowsersSend) {
  const struct {
    const char* list;
    const char* origin;
  } kAllowed[] = {{"https://a.example", "https://a.example"},
                  {" https://a.example ,\thttp://b:3000 ", "http://b:3000"},
                  {"HTTPS://A.Example", "https://a.example"},
                  {"https://a.example:443", "https://a.example"},
                  {"http://a:80", "http://a"},
                  {"http://[::1]:8080", "http://[::1]:8080"},
                  {"http://127.0.0.1:5173", "http://127.0.0.1:5173"},
                  {"chrome-extension://abcdef", "chrome-extension://abcdef"},
                  {"tauri://localhost", "tauri://localhost"}};
  for (const auto& [list, origin] : kAllowed) EXPECT_EQ(Allowed(Policy(list), origin), origin) << list;
  const struct {
    const char* list;
    const char* origin;
  } kOthers[] = {{"https://a.example", "http://a.example"},
                 {"https://a.example", "https://a.example.evil"},
                 {"https://a.example", "https://b.a.example"},
                 {"https://a.example", "https://a.example:8443"},
                 {"https://a.example", "null"},
                 {"https://a.example", "https://a.example, https://evil"},
                 {"https://a.example", ""},
                 {"http://a:443", "http://a"},
                 {"", "https://a.example"},
                 {"*", ""}};
  for (const auto& [list, origin] : kOthers) EXPECT_EQ(Allowed(Policy(list), origin), "") << list << origin;
  EXPECT_EQ(Allowed(Policy("*"), "null"), "*");
}

TEST(CorsTest, AnswersVaryUnlessThePolicyIsEmpty) {
  EXPECT_TRUE(Policy(" ").ResponseHeaders("https://a").empty());
  EXPECT_EQ(Find(Policy("https://a").ResponseHeaders("https://b"), "Vary"), "Origin");
  EXPECT_EQ(Find(Policy("https://a").ResponseHeaders(""), "Vary"), "Origin");
  const HttpHeaders headers = Policy("https://a").ResponseHeaders("https://a");
  EXPECT_EQ(Find(headers, "Vary"), "Origin");
  EXPECT_THAT(Find(headers, "Access-Control-Expose-Headers"), HasSubstr("x-request-id"));
  EXPECT_EQ(Find(headers, "Access-Control-Allow-Credentials"), "");
}

TEST(CorsTest, MalformedOriginsAreNamed) {
  for (const char* wrong : {"a.example",
                            "https://",
                            "://a",
                            "https://a/",
                            "https://a?x",
                            "https://a#x",
                            "https://u@a",
                            "https://a:",
                            "https://a:x",
                            "https://a:70000",
                            "https://a:123456",
                            "https://[::1",
                            "https://[]",
                            "https://[x y]",
                            "https://a b",
                            "https://*.a",
                            "https://\xC3\xA4",
                            "null",
                            "**",
                            "https://a;https://b"}) {
    const auto policy = CorsPolicy::Parse(wrong);
    ASSERT_FALSE(policy.ok()) << wrong;
    EXPECT_EQ(policy.status().code(), Code::kInvalidArgument);
    EXPECT_THAT(policy.status().message(), HasSubstr("'" + std::string(wrong) + "' is not an origin"));
  }
  for (const char* wrong : {"*,https://a", "https://a,*", "https://a,", ",https://a", "https://a,,https://b"})
    EXPECT_FALSE(CorsPolicy::Parse(wrong).ok()) << wrong;
}

TEST(CorsTest, Preflight) {
  const CorsPolicy policy = Policy("https://a");
  HttpRequest request{.method = "OPTIONS", .path = "/x", .query = "", .headers = {}, .body = ""};
  request.headers = {{"origin", "https://a"},
                     {"access-control-request-method", "POST"},
                     {"access-control-request-headers", "authorization, x-stainless-os"}};
  const auto answer = policy.PreflightResponse(request);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->status, 204);
  EXPECT_EQ(Find(answer->headers, "Access-Control-Allow-Headers"), "authorization, x-stainless-os");
  EXPECT_THAT(Find(answer->headers, "Access-Control-Allow-Methods"), HasSubstr("POST"));
  EXPECT_EQ(Find(answer->headers, "Access-Control-Max-Age"), "86400");
  EXPECT_EQ(Find(answer->headers, "Access-Control-Allow-Private-Network"), "");
  request.headers.emplace_back("access-control-request-private-network", "true");
  request.headers[2].second = "x\"<script>";
  EXPECT_EQ(Find(policy.PreflightResponse(request)->headers, "Access-Control-Allow-Private-Network"), "true");
  EXPECT_EQ(Find(policy.PreflightResponse(request)->headers, "Access-Control-Allow-Headers"),
            "Authorization, Content-Type, X-Request-Id");

  HttpRequest other = request;
  other.headers[0].second = "https://b";
  EXPECT_FALSE(policy.PreflightResponse(other).has_value());
  other = request;
  other.headers.erase(other.headers.begin() + 1);
  EXPECT_FALSE(policy.PreflightResponse(other).has_value()) << "OPTIONS that is no preflight";
  request.method = "POST";
  EXPECT_FALSE(policy.PreflightResponse(request).has_value());
}

}  // namespace
}  // namespace prefixd
