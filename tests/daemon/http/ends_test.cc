// How exchanges end besides by their response: half-closed clients, a server that stops, bodies that stall.
// And the ids that clients give to their requests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "daemon/http/error_response.h"
#include "tests/daemon/http/http_fixture.h"

namespace prefixd {
namespace {

using testing_support::BodyOf;
using testing_support::HeaderOf;
using testing_support::HttpServerTest;
using testing_support::HttpText;
using testing_support::RawClient;
using testing_support::StatusOf;

// It gets an interim response before its answer, which tells it apart from a client that has gone.
TEST_F(HttpServerTest, AHalfClosedClientGetsItsAnswer) {
  Start();
  for (const bool pipelined : {false, true}) {
    RawClient client(server_->url());
    client.Send(HttpText("GET", "/hold"));
    const auto exchange = Held();
    if (pipelined) client.Send(HttpText("POST", "/echo", std::string(70'000, 'x')));
    client.FinishSending();
    ASSERT_TRUE(client.ReadUntil("HTTP/1.1 100 Continue\r\n\r\n"));
    exchange->Respond({.body = "first"});
    EXPECT_EQ(BodyOf(client.ReadResponse()), "first");
    if (pipelined) {
      EXPECT_EQ(BodyOf(client.ReadResponse()).size(), 70'000u);
    }
    EXPECT_TRUE(client.AtEnd());
  }
  EXPECT_EQ(disconnects(), 0);
}

// The end was read while the first request ran, so that no read reports it again.
TEST_F(HttpServerTest, TheEndAfterPipelinedRequestsIsNotForgotten) {
  Start();
  const std::string kRests[] = {
      "", "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nabc", "POST /echo HTTP/1.1\r\nHo",
      "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"};
  for (const std::string& rest : kRests) {
    RawClient client(server_->url());
    client.Send(HttpText("GET", "/hold"));
    const auto exchange = Held();
    client.Send(HttpText("POST", "/echo", "second") + rest);
    client.FinishSending();
    ASSERT_TRUE(client.ReadUntil("100 Continue\r\n\r\n"));
    exchange->Respond({.body = "first"});
    EXPECT_EQ(BodyOf(client.ReadResponse()), "first");
    EXPECT_EQ(BodyOf(client.ReadResponse()), "second");
    if (!rest.empty()) {
      EXPECT_EQ(StatusOf(client.ReadResponse()), 400) << rest;
    }
    EXPECT_TRUE(client.AtEnd());
  }
}

TEST_F(HttpServerTest, AHalfClosedStreamGetsAComment) {
  Start();
  RawClient client(server_->url());
  client.Send(HttpText("GET", "/hold"));
  const auto exchange = Held();
  exchange->StartStream({.content_type = "text/event-stream; charset=utf-8"});
  client.FinishSending();
  ASSERT_TRUE(client.ReadUntil("8\r\n: ping\n\n\r\n"));
  ASSERT_TRUE(exchange->Write("data: 1\n\n"));
  exchange->EndStream();
  EXPECT_TRUE(client.ReadUntil("data: 1\n\n\r\n0\r\n\r\n"));
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(HttpServerTest, AHalfClosedHttp10ClientCountsAsGone) {
  Start();
  RawClient client(server_->url());
  client.Send("GET /hold HTTP/1.0\r\n\r\n");
  const auto exchange = Held();
  client.FinishSending();
  EXPECT_TRUE(WaitForDisconnects(1));
  exchange->Respond({.body = "too late"});
}

TEST_F(HttpServerTest, InterruptsWhatIsNotAnswered) {
  Start();
  RawClient plain(server_->url()), stream(server_->url()), other_stream(server_->url()), body(server_->url()),
      chunk(server_->url()), head(server_->url()), idle(server_->url());
  idle.Send(HttpText("POST", "/echo", "x"));
  EXPECT_EQ(StatusOf(idle.ReadResponse()), 200);
  plain.Send(HttpText("GET", "/hold"));
  const auto first = Held();
  stream.Send(HttpText("GET", "/hold"));
  const auto second = Held();
  other_stream.Send(HttpText("GET", "/hold-unregistered"));
  const auto third = Held();
  second->StartStream({.content_type = "text/event-stream"});
  third->StartStream({.content_type = "text/plain"});
  ASSERT_TRUE(second->Write("data: 1\n\n") && third->Write("abc"));
  body.Send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 90000\r\n\r\n" + std::string(50'000, 'x'));
  chunk.Send("POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5");
  head.Send("POST /echo HTTP/1.1\r\nHo");
  while (server_->connections() < 7) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // the three have begun to be read
  server_->InterruptExchanges();
  for (RawClient* client : {&plain, &body, &chunk, &head}) {
    const std::string response = client->ReadResponse();
    EXPECT_EQ(StatusOf(response), 503) << response;
    EXPECT_EQ(HeaderOf(response, "Retry-After"), "5");
    EXPECT_EQ(HeaderOf(response, "Connection"), "close");
    EXPECT_THAT(BodyOf(response), testing::HasSubstr("\"overloaded\""));
    EXPECT_TRUE(client->AtEnd());
  }
  const std::string events = stream.ReadResponse();
  EXPECT_THAT(BodyOf(events), testing::StartsWith("data: 1\n\ndata: {\"error\":{"));
  EXPECT_THAT(events, testing::EndsWith("}}\n\n"));
  EXPECT_TRUE(stream.AtEnd());
  EXPECT_THAT(other_stream.ReadToEnd(), testing::Not(testing::HasSubstr("0\r\n\r\n"))) << "it is cut";
  EXPECT_TRUE(idle.AtEnd());
  EXPECT_TRUE(WaitForDisconnects(2)) << "the producers are told";
  EXPECT_TRUE(first->interrupted() && second->interrupted());
  third->OnDisconnect([this] { CountDisconnect(); });
  EXPECT_TRUE(WaitForDisconnects(3));
  first->Respond({.body = "too late"});
  EXPECT_FALSE(second->Write("too late"));
  second->EndStream();
}

// The rest of a chunk's head stays in the buffer while the body does not arrive.
TEST_F(HttpServerTest, AStalledChunkTimesOut) {
  options_.body_seconds = 0.2;
  Start();
  RawClient client(server_->url());
  client.Send("POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5");
  EXPECT_EQ(StatusOf(client.ReadResponse()), 408);
}

TEST_F(HttpServerTest, TakesOverRequestIds) {
  router_.Add("GET", "/named", [](std::shared_ptr<Exchange> exchange) {
    const std::string before = exchange->request_id();
    exchange->SetRequestId("of-the-handler");
    exchange->Respond({.body = before + " " + exchange->request_id()});
  });
  Start();
  RawClient client(server_->url());
  for (const std::string& id : std::vector<std::string>{"a", "x-1_2.3:~!", std::string(128, 'i')}) {
    client.Send(HttpText("GET", "/where/x", "", "X-REQUEST-ID:  " + id + " \r\n"));
    EXPECT_EQ(HeaderOf(client.ReadResponse(), "x-request-id"), id);
  }
  for (const std::string& id : std::vector<std::string>{"a b", "", "caf\xC3\xA9", std::string(129, 'i')}) {
    client.Send(HttpText("GET", "/where/x", "", "X-Request-Id: " + id + "\r\n"));
    EXPECT_TRUE(HeaderOf(client.ReadResponse(), "x-request-id").starts_with("req_")) << id;
  }
  client.Send(HttpText("GET", "/named", "", "X-Request-Id: mine\r\n"));
  const std::string named = client.ReadResponse();
  EXPECT_EQ(BodyOf(named), "mine of-the-handler");
  EXPECT_EQ(HeaderOf(named, "x-request-id"), "of-the-handler");
}

// Errors that no handler raises: of a body, of a path, of an exchange that was dropped, and of a server that
// stops. Paths that no prefix covers keep OpenAI's style.
TEST_F(HttpServerTest, ErrorsHaveTheStyleOfTheirPath) {
  const ErrorStyle style{
      .body = [](const ApiError& error, std::string_view id) { return error.code + " " + std::string(id); },
      .event = [](const ApiError& error, std::string_view) { return "event: " + error.code + "\n\n"; },
      .id_header = "request-id"};
  for (const char* prefix : {"/v1/echo", "/dropped", "/hold", "/throws"})
    router_.AddErrorStyle(prefix, &style);
  EXPECT_EQ(&router_.ErrorsOf("/echo/"), &style);
  EXPECT_EQ(&router_.ErrorsOf("/v1/echo/below"), &style);
  EXPECT_EQ(&router_.ErrorsOf("/v1/echoes"), &kOpenAiErrors);
  options_.errors_of = [this](std::string_view path) -> const ErrorStyle& { return router_.ErrorsOf(path); };
  Start();
  const auto answer = [&](const std::string& text) {
    RawClient client(server_->url());
    client.Send(text);
    const std::string response = client.ReadResponse();
    const std::string id = HeaderOf(response, "request-id");
    EXPECT_EQ(id, HeaderOf(response, "x-request-id"));
    const std::string body = BodyOf(response);
    EXPECT_TRUE(body.ends_with(" " + id)) << response;
    return body.substr(0, body.find(' '));
  };
  EXPECT_EQ(answer("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 200000\r\n\r\n"), "request_too_large");
  EXPECT_EQ(answer(HttpText("GET", "/echo")), "method_not_allowed");
  EXPECT_EQ(answer(HttpText("GET", "/v1/echo/below")), "unknown_url");
  EXPECT_EQ(answer(HttpText("GET", "/dropped")), "internal_error");
  EXPECT_EQ(answer(HttpText("GET", "/throws")), "internal_error");
  ExpectRejected(HttpText("GET", "/nowhere", "", "Connection: close\r\n"), 404);
  RawClient waiting(server_->url()), streaming(server_->url());
  waiting.Send(HttpText("GET", "/hold"));
  const auto first = Held();
  streaming.Send(HttpText("GET", "/hold"));
  const auto second = Held();
  second->StartStream({.content_type = "text/event-stream"});
  server_->InterruptExchanges();
  EXPECT_THAT(BodyOf(waiting.ReadResponse()), testing::StartsWith("overloaded req_"));
  EXPECT_THAT(BodyOf(streaming.ReadResponse()), testing::HasSubstr("event: overloaded\n\n"));
}

}  // namespace
}  // namespace prefixd
