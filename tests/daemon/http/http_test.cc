// The real server on a free port, with clients that misbehave on raw sockets.
#include "daemon/http/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <set>
#include <thread>

#include "daemon/http/listen.h"
#include "tests/daemon/http/http_fixture.h"

namespace prefixd {
namespace {

using testing::HasSubstr;
using testing_support::BodyOf;
using testing_support::HeaderOf;
using testing_support::HttpServerTest;
using testing_support::HttpText;
using testing_support::RawClient;
using testing_support::StatusOf;

TEST_F(HttpServerTest, AnswersOnAKeptConnection) {
  Start();
  RawClient client(server_->url());
  std::set<std::string> ids;
  for (int i = 0; i < 100; ++i) {
    const std::string body = "{\"i\":" + std::to_string(i) + "}";
    client.Send(HttpText("POST", "/v1/echo", body));
    const std::string response = client.ReadResponse();
    ASSERT_EQ(StatusOf(response), 200);
    ASSERT_EQ(BodyOf(response), body);
    ids.insert(HeaderOf(response, "x-request-id"));
  }
  EXPECT_EQ(ids.size(), 100u);
  EXPECT_EQ(server_->connections(), 1);
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  Start();
  RawClient client(server_->url());
  client.Send(HttpText("POST", "/echo", "one") + HttpText("GET", "/hold") + HttpText("POST", "/echo", "two") +
              HttpText("POST", "/echo", "three"));
  EXPECT_EQ(BodyOf(client.ReadResponse()), "one");
  Held()->Respond({.body = "held"});
  EXPECT_EQ(BodyOf(client.ReadResponse()), "held");
  EXPECT_EQ(BodyOf(client.ReadResponse()), "two");
  EXPECT_EQ(BodyOf(client.ReadResponse()), "three");
  EXPECT_EQ(disconnects(), 0);
}

TEST_F(HttpServerTest, ReadsBodiesThatComeInPieces) {
  Start();
  RawClient client(server_->url());
  const std::string body(5000, 'b');
  for (const char c : HttpText("POST", "/echo", "tiny")) client.Send(std::string_view(&c, 1));
  EXPECT_EQ(BodyOf(client.ReadResponse()), "tiny");
  client.Send("POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: Chunked\r\n\r\n");
  client.Send("3\r\nabc\r\n5;ext=1\r\ndefgh\r\n");
  client.Send("0\r\nTrailer: x\r\n\r\n");
  EXPECT_EQ(BodyOf(client.ReadResponse()), "abcdefgh");
  client.Send(HttpText("POST", "/echo", body));
  EXPECT_EQ(BodyOf(client.ReadResponse()), body);
}

TEST_F(HttpServerTest, ContinuesWhenExpected) {
  Start();
  RawClient client(server_->url());
  client.Send("POST /echo HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  EXPECT_EQ(StatusOf(client.ReadResponse()), 100);
  client.Send("hello");
  EXPECT_EQ(BodyOf(client.ReadResponse()), "hello");
  ExpectRejected("POST /echo HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 100001\r\n\r\n",
                 413);
  ExpectRejected("POST /echo HTTP/1.1\r\nHost: t\r\nExpect: a-miracle\r\nContent-Length: 5\r\n\r\n", 417);
}

TEST_F(HttpServerTest, RejectsAmbiguousFraming) {
  Start();
  const std::string head = "POST /echo HTTP/1.1\r\nHost: t\r\n";
  const std::string smuggled = "GET /where/smuggled HTTP/1.1\r\nHost: t\r\n\r\n";
  for (const std::string& framing : {
           std::string("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
           std::string("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
           std::string("Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
           std::string("Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
           std::string("Content-Length: 3, 3\r\n\r\nabc"),
           std::string("Content-Length: 3, 4\r\n\r\nabc"),
           std::string("Content-Length: -3\r\n\r\nabc"),
           std::string("Content-Length: +3\r\n\r\nabc"),
           std::string("Content-Length: 0x3\r\n\r\nabc"),
           std::string("Content-Length: 99999999999999999999\r\n\r\nabc"),
           std::string("Content-Length : 3\r\n\r\nabc"),
           std::string("Transfer-Encoding: identity\r\n\r\nabc"),
           std::string("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
           std::string("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
           std::string("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
           std::string("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
           std::string("Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n"),
           std::string("Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n"),
           std::string("Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n"),
           std::string("Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
           std::string("Host: other\r\nContent-Length: 3\r\n\r\nabc"),
       }) {
    ExpectRejected(head + framing + smuggled, 400);
  }
  ExpectRejected("POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 400);
  ExpectRejected("POST /echo HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400);
  ExpectRejected("garbage\r\n\r\n", 400);
  ExpectRejected("GET /echo HTTP/2.0\r\n\r\n", 505);
  ExpectRejected("GET /where/%zz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", 400);
  ExpectRejected("GET /where/%00 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", 400);
}

TEST_F(HttpServerTest, TruncatedBodyIsAnError) {
  Start();
  RawClient client(server_->url());
  client.Send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc");
  client.FinishSending();
  EXPECT_EQ(StatusOf(client.ReadResponse()), 400);
}

TEST_F(HttpServerTest, EnforcesItsLimits) {
  Start();
  ExpectRejected("GET /where/x HTTP/1.1\r\nHost: t\r\nX-Long: " + std::string(5000, 'h') + "\r\n\r\n", 431);
  ExpectRejected("GET /where/" + std::string(9000, 'p') + " HTTP/1.1\r\nHost: t\r\n\r\n", 431);
  ExpectRejected("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 100001\r\n\r\n", 413);
  std::string chunked = "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 11; ++i) chunked += "2710\r\n" + std::string(10'000, 'c') + "\r\n";
  ExpectRejected(chunked, 413);
  RawClient client(server_->url());
  client.Send(HttpText("POST", "/echo", std::string(100'000, 'b')));
  EXPECT_EQ(BodyOf(client.ReadResponse()).size(), 100'000u);
}

TEST_F(HttpServerTest, AClientThatSendsTooMuchCanReadTheError) {
  Start();
  RawClient client(server_->url());
  ASSERT_TRUE(client.Send(HttpText("POST", "/echo", std::string(30 << 20, 'b'))));
  EXPECT_EQ(StatusOf(client.ReadResponse()), 413);
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(HttpServerTest, SlowClientsTimeOutAndOthersDoNot) {
  options_.header_seconds = options_.body_seconds = 0.2;
  options_.idle_seconds = 0.2;
  Start();
  RawClient slow_head(server_->url()), slow_body(server_->url()), silent(server_->url()),
      quick(server_->url());
  slow_head.Send("GET /where/x HTTP/1.1\r\nHo");
  slow_body.Send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nabc");
  quick.Send(HttpText("POST", "/echo", "quick"));
  EXPECT_EQ(BodyOf(quick.ReadResponse()), "quick");
  EXPECT_EQ(StatusOf(slow_head.ReadResponse()), 408);
  EXPECT_EQ(StatusOf(slow_body.ReadResponse()), 408);
  EXPECT_TRUE(silent.AtEnd());
}

TEST_F(HttpServerTest, RejectsConnectionsBeyondTheLimit) {
  options_.max_connections = 2;
  Start();
  RawClient one(server_->url()), two(server_->url());
  one.Send(HttpText("POST", "/echo", "1"));
  two.Send(HttpText("POST", "/echo", "2"));
  EXPECT_EQ(StatusOf(one.ReadResponse()), 200);
  EXPECT_EQ(StatusOf(two.ReadResponse()), 200);
  RawClient three(server_->url());
  const std::string response = three.ReadResponse();
  EXPECT_EQ(StatusOf(response), 503);
  EXPECT_EQ(HeaderOf(response, "Retry-After"), "1");
  EXPECT_NE(HeaderOf(response, "x-request-id"), "");
}

TEST_F(HttpServerTest, RunsTheDisconnectCallback) {
  Start();
  for (const bool reset : {false, true}) {
    RawClient client(server_->url());
    client.Send(HttpText("GET", "/hold"));
    const auto exchange = Held();
    EXPECT_TRUE(WaitForDisconnects(reset ? 1 : 0));
    reset ? client.Reset() : client.Close();
    EXPECT_TRUE(WaitForDisconnects(reset ? 2 : 1));
    exchange->Respond({.body = "too late"});
    EXPECT_FALSE(exchange->Write("too late"));
  }
  EXPECT_TRUE(server_->WaitIdle(10));
}

// Bytes of later requests beyond `pipelined-bytes` are not read, but the end of the connection is noticed.
TEST_F(HttpServerTest, NoticesADisconnectBehindPipelinedBytes) {
  Start();
  for (const bool reset : {false, true}) {
    RawClient client(server_->url());
    client.Send(HttpText("GET", "/hold"));
    const auto exchange = Held();
    client.Send(HttpText("POST", "/echo", std::string(reset ? 200'000 : 70'000, 'x')));
    EXPECT_EQ(disconnects(), reset ? 1 : 0);
    reset ? client.Reset() : client.Close();
    EXPECT_TRUE(WaitForDisconnects(reset ? 2 : 1));
    exchange->Respond({.body = "too late"});
  }
}

TEST_F(HttpServerTest, PipelinedBytesBeyondTheLimitWait) {
  Start();
  RawClient client(server_->url());
  client.Send(HttpText("GET", "/hold"));
  const auto exchange = Held();
  client.Send(HttpText("POST", "/echo", std::string(90'000, 'x')));
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));  // more than one check for the end
  exchange->Respond({.body = "first"});
  EXPECT_EQ(BodyOf(client.ReadResponse()), "first");
  EXPECT_EQ(BodyOf(client.ReadResponse()).size(), 90'000u);
}

// What is being written to a client that has gone is not kept until the deadline of readers.
TEST_F(HttpServerTest, AClientThatHasGoneHoldsNoBytes) {
  options_.reader_seconds = 3600;
  Start();
  RawClient client(server_->url());
  client.Send(HttpText("GET", "/hold"));
  const auto exchange = Held();
  exchange->StartStream({});
  ASSERT_TRUE(client.ReadUntil("\r\n\r\n"));
  ASSERT_TRUE(exchange->Write(std::string(20 << 20, 'x')));
  client.Close();
  EXPECT_TRUE(WaitForDisconnects(1));
  EXPECT_TRUE(server_->WaitIdle(10)) << "the write is cancelled";
  EXPECT_EQ(server_->inflight().bytes, 0u);
}

TEST_F(HttpServerTest, RunsADisconnectCallbackRegisteredAfterTheDisconnect) {
  Start();
  RawClient client(server_->url());
  client.Send(HttpText("GET", "/hold-unregistered"));
  const auto exchange = Held();
  client.Reset();
  ASSERT_TRUE(server_->WaitIdle(10));  // the server has seen the disconnect
  exchange->OnDisconnect([this] { CountDisconnect(); });
  EXPECT_TRUE(WaitForDisconnects(1));
}

TEST_F(HttpServerTest, AStreamWhoseClientDoesNotReadIsBounded) {
  Start();
  RawClient client(server_->url());
  client.Send(HttpText("GET", "/flood"));
  const int flooded = WaitForFlood();
  ASSERT_TRUE(flooded >= 0 && WaitForDisconnects(1));
  EXPECT_LT(flooded, 10'000);
  RawClient other(server_->url());
  other.Send(HttpText("POST", "/echo", "alive"));
  EXPECT_EQ(BodyOf(other.ReadResponse()), "alive");
}

// A source that never ends. Counts the parts that were written.
class EndlessBody final : public BodySource {
 public:
  EndlessBody(ByteBudget::Reservation reserved, std::atomic<size_t>* bytes)
      : reserved_(std::move(reserved)), bytes_(bytes) {}
  void Next(size_t bytes, std::string* out) override {
    out->append(bytes, 'x');
    *bytes_ += bytes;
  }

 private:
  const ByteBudget::Reservation reserved_;
  std::atomic<size_t>* const bytes_;
};

TEST_F(HttpServerTest, AClientThatReadsNothingIsCutOff) {
  options_.reader_seconds = 0.2;
  std::atomic<size_t> bytes{0};
  router_.Add("GET", "/endless", [&](std::shared_ptr<Exchange> exchange) {
    ByteBudget::Reservation reserved(exchange->budget(), ByteBudget::Use::kAnswer);
    ASSERT_TRUE(reserved.TryGrow(1000));
    exchange->Respond({.source = std::make_shared<EndlessBody>(std::move(reserved), &bytes)});
  });
  Start();
  RawClient client(server_->url());
  client.Send(HttpText("GET", "/endless"));
  for (int i = 0; i < 1000 && server_->inflight().slow_readers == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(server_->inflight().slow_readers, 1u);
  EXPECT_TRUE(server_->WaitIdle(10));
  EXPECT_EQ(server_->inflight().bytes, 0u) << "the source is destroyed";
  EXPECT_LT(bytes, 64u << 20) << "no more than the socket takes";
}

TEST_F(HttpServerTest, ASlowReaderGivesRoomToOthers) {
  options_.reader_seconds = 1;
  options_.reader_bytes_per_second = 1;
  options_.busy_reader_bytes_per_second = 1e12;
  std::atomic<size_t> bytes{0};
  router_.Add("GET", "/endless", [&](std::shared_ptr<Exchange> exchange) {
    exchange->Respond({.source = std::make_shared<EndlessBody>(ByteBudget::Reservation(), &bytes)});
  });
  Start();
  RawClient slow(server_->url()), other(server_->url());
  slow.Send(HttpText("GET", "/endless"));
  other.Send(HttpText("GET", "/hold"));
  const auto exchange = Held();
  const auto read_slowly = [&](double seconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (std::chrono::steady_clock::now() < end && server_->inflight().slow_readers == 0) {
      slow.ReadSome();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  };
  read_slowly(3);
  EXPECT_EQ(server_->inflight().slow_readers, 0u) << "nobody needs its room";
  ByteBudget::Reservation rest(exchange->budget(), ByteBudget::Use::kAnswer);
  ASSERT_TRUE(rest.TryGrow(exchange->budget().LargeLimit() - exchange->budget().held()));
  ByteBudget::Reservation more(exchange->budget(), ByteBudget::Use::kAnswer);
  EXPECT_FALSE(more.TryGrow(100'000));
  read_slowly(9);
  EXPECT_EQ(server_->inflight().slow_readers, 1u);
}

TEST_F(HttpServerTest, AbortingAStreamCancelsABlockedWrite) {
  options_.reader_seconds = 3600;  // the backlog limit aborts the stream, not the timeout
  Start();
  RawClient client(server_->url());
  client.Send(HttpText("GET", "/hold"));
  const std::shared_ptr<Exchange> exchange = Held();
  exchange->StartStream({.content_type = "text/event-stream"});
  const std::string piece(64 << 10, 'x');
  // Slower than the connection, so that the socket fills up first.
  while (exchange->Write(piece)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(WaitForDisconnects(1));
  EXPECT_TRUE(server_->WaitIdle(10)) << "otherwise a drain would wait for the exchange";
}

TEST_F(HttpServerTest, StreamsInChunksAndKeepsTheConnection) {
  Start();
  RawClient client(server_->url());
  for (int i = 0; i < 3; ++i) {
    client.Send(HttpText("GET", "/stream"));
    const std::string response = client.ReadResponse();
    EXPECT_EQ(HeaderOf(response, "Content-Type"), "text/event-stream");
    EXPECT_EQ(HeaderOf(response, "Content-Length"), "");
    EXPECT_EQ(BodyOf(response), "data: 1\n\ndata: 2\n\n");
  }
  RawClient old(server_->url());
  old.Send("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const std::string all = old.ReadToEnd();
  EXPECT_EQ(HeaderOf(all, "Connection"), "close");
  EXPECT_EQ(BodyOf(all), "data: 1\n\ndata: 2\n\n");
}

TEST_F(HttpServerTest, HandlersThatFailAreErrors) {
  Start();
  RawClient client(server_->url());
  for (const std::string path : {"/dropped", "/throws"}) {
    client.Send(HttpText("GET", path));
    const std::string response = client.ReadResponse();
    EXPECT_EQ(StatusOf(response), 500) << path;
    EXPECT_THAT(BodyOf(response), HasSubstr("internal_error"));
    EXPECT_THAT(BodyOf(response), testing::Not(HasSubstr("secret")));
  }
}

TEST_F(HttpServerTest, HeadAndPathsAndErrors) {
  Start();
  RawClient client(server_->url());
  client.Send(HttpText("HEAD", "/v1/where/a%2Fb%20c:d?x=%20y"));
  const std::string head = client.ReadResponse(/*head_only=*/true);
  EXPECT_EQ(StatusOf(head), 200);
  EXPECT_EQ(HeaderOf(head, "Content-Length"), std::to_string(std::string("/v1/where/a/b c:d|x=%20y").size()));
  client.Send(HttpText("GET", "http://some.host/v1/where/a%2Fb%20c:d?x=%20y"));
  EXPECT_EQ(BodyOf(client.ReadResponse()), "/v1/where/a/b c:d|x=%20y");
  client.Send(HttpText("GET", "/v1/echo"));
  const std::string wrong = client.ReadResponse();
  EXPECT_EQ(StatusOf(wrong), 405);
  EXPECT_EQ(HeaderOf(wrong, "Allow"), "POST");
  client.Send(HttpText("BREW", "/v1/where/x"));
  EXPECT_EQ(StatusOf(client.ReadResponse()), 405);
  client.Send(HttpText("GET", "/nowhere"));
  EXPECT_EQ(StatusOf(client.ReadResponse()), 404);
  client.Send(HttpText("GET", "/no\xff%fe"));
  const std::string quoted = client.ReadResponse();
  EXPECT_EQ(StatusOf(quoted), 404);
  EXPECT_NE(BodyOf(quoted).find("GET /no\xEF\xBF\xBD\xEF\xBF\xBD."), std::string::npos) << quoted;
}

TEST_F(HttpServerTest, ListensOnAUnixSocket) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("prefixd-http-" + std::to_string(::getpid()) + ".sock");
  options_.listen = "unix:" + path;
  Start();
  EXPECT_EQ(server_->url(), "unix:" + path);
  {
    RawClient client(server_->url());
    client.Send(HttpText("POST", "/echo", "local"));
    EXPECT_EQ(BodyOf(client.ReadResponse()), "local");
  }
  const auto second = HttpServer::Start(options_, [](std::shared_ptr<Exchange>) {});
  EXPECT_EQ(second.status().code(), Code::kUnavailable);
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(path));
  Start();  // the path is free again
}

// A connection that comes between the two servers waits for the second one.
TEST_F(HttpServerTest, AServerTakesOverTheListenerOfAnother) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("prefixd-takes-over-" + std::to_string(::getpid()) + ".sock");
  for (const std::string& address : {std::string("127.0.0.1:0"), "unix:" + path}) {
    SCOPED_TRACE(address);
    options_.listen = address;
    options_.listener = -1;
    Start();
    const std::string url = server_->url();
    options_.listener = server_->HandOverListener();
    ASSERT_GE(options_.listener, 0);
    server_.reset();
    RawClient client(url);
    ASSERT_TRUE(client.Send(HttpText("POST", "/echo", "early")));
    Start();
    EXPECT_EQ(server_->url(), url);
    EXPECT_EQ(BodyOf(client.ReadResponse()), "early");
    EXPECT_EQ(server_->connections(), 1);
    client.Close();
    server_.reset();
  }
  EXPECT_FALSE(std::filesystem::exists(path)) << "the last server removes it";
}

TEST_F(HttpServerTest, AListenerThatNobodyTakesOverLeavesNoFile) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("prefixd-no-heir-" + std::to_string(::getpid()) + ".sock");
  options_.listen = "unix:" + path;
  Start();
  const int standard = ::dup(STDIN_FILENO);
  ::close(STDIN_FILENO);  // a free number that the next program could not tell from its own stdin
  const int listener = server_->HandOverListener();
  EXPECT_EQ(::dup2(standard, STDIN_FILENO), STDIN_FILENO);
  ::close(standard);
  EXPECT_GT(listener, STDERR_FILENO);
  server_.reset();
  EXPECT_TRUE(std::filesystem::exists(path));
  CloseListener(listener);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(HttpServerTest, ABusyPortIsNamedWithTheRemedy) {
  Start();
  HttpServerOptions options;
  options.listen = server_->url().substr(std::string("http://").size());
  const auto second = HttpServer::Start(options, [](std::shared_ptr<Exchange>) {});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), Code::kUnavailable);
  EXPECT_THAT(second.status().message(), HasSubstr(options.listen));
  EXPECT_THAT(second.status().message(), HasSubstr("--listen"));
  for (const char* bad :
       {"", "8080", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", ":80", "::1:80", "unix:"}) {
    options.listen = bad;
    EXPECT_EQ(HttpServer::Start(options, [](std::shared_ptr<Exchange>) {}).status().code(),
              Code::kInvalidArgument)
        << bad;
  }
}

TEST_F(HttpServerTest, StopsGracefully) {
  Start();
  RawClient idle(server_->url()), busy(server_->url());
  idle.Send(HttpText("POST", "/echo", "x"));
  EXPECT_EQ(StatusOf(idle.ReadResponse()), 200);
  busy.Send(HttpText("GET", "/hold"));
  const auto exchange = Held();
  server_->StopAccepting();
  EXPECT_TRUE(idle.AtEnd());
  EXPECT_FALSE(server_->WaitIdle(0.01));
  exchange->Respond({.body = "finished"});
  const std::string response = busy.ReadResponse();
  EXPECT_EQ(BodyOf(response), "finished");
  EXPECT_EQ(HeaderOf(response, "Connection"), "close");
  EXPECT_TRUE(server_->WaitIdle(10));
}

TEST_F(HttpServerTest, StopAbortsRunningExchanges) {
  Start();
  RawClient busy(server_->url());
  busy.Send(HttpText("GET", "/hold"));
  const auto exchange = Held();
  server_->Stop();
  EXPECT_EQ(disconnects(), 1);
  EXPECT_EQ(server_->connections(), 0);
  EXPECT_TRUE(busy.AtEnd());
}

}  // namespace
}  // namespace prefixd
