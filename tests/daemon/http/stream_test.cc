// Streams in short pieces, which are sent within the call that writes them, as far as the socket takes them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <memory>
#include <string>

#include "tests/daemon/http/http_fixture.h"

namespace prefixd {
namespace {

using testing_support::BodyOf;
using testing_support::HttpServerTest;
using testing_support::HttpText;
using testing_support::RawClient;

// Runs `job` as one of the exchange, and returns when it has run.
void RunPosted(Exchange& exchange, const std::function<void()>& job) {
  std::promise<void> done;
  exchange.Post([&] {
    job();
    done.set_value();
  });
  done.get_future().wait();
}

TEST_F(HttpServerTest, EveryPieceArrivesBeforeTheNextIsWritten) {
  Start();
  RawClient client(server_->url());
  for (int round = 0; round < 3; ++round) {
    client.Send(HttpText("GET", "/hold"));
    const std::shared_ptr<Exchange> exchange = Held();
    exchange->StartStream({.content_type = "text/event-stream"});
    ASSERT_TRUE(client.ReadUntil("\r\n\r\n"));
    for (int i = 0; i < 200; ++i) {
      const std::string piece = "data: " + std::to_string(i) + "\n\n";
      if (i % 2 == 0) {
        EXPECT_TRUE(exchange->Write(piece));
      } else {
        RunPosted(*exchange, [&] { EXPECT_TRUE(exchange->Write(piece)); });
      }
      ASSERT_TRUE(client.ReadUntil(piece + "\r\n")) << i;
    }
    exchange->EndStream();
    ASSERT_TRUE(client.ReadUntil("0\r\n\r\n"));
  }
}

// First the socket takes no more, and the rest waits for the client; then pieces are sent at once again.
TEST_F(HttpServerTest, PiecesStayInOrderWhenTheClientDoesNotReadForAWhile) {
  constexpr size_t kUnread = 8 << 20;
  options_.max_backlog_bytes = 2 * kUnread;
  Start();
  RawClient client(server_->url());
  for (int round = 0; round < 3; ++round) {
    client.Send(HttpText("GET", "/hold"));
    const std::shared_ptr<Exchange> exchange = Held();
    std::string expected;
    const auto write = [&](size_t bytes) {
      const std::string piece(bytes, static_cast<char>('a' + expected.size() % 26));
      expected += piece;
      EXPECT_TRUE(exchange->Write(piece));
    };
    exchange->StartStream({.content_type = "text/event-stream"});
    while (expected.size() < kUnread) write(1 + expected.size() % 5000);
    std::future<std::string> response = std::async(std::launch::async, [&] { return client.ReadResponse(); });
    for (int i = 0; i < 100; ++i) {
      RunPosted(*exchange, [&] {
        for (size_t bytes = 1; bytes < 40'000; bytes *= 3) write(bytes);
      });
    }
    exchange->EndStream();
    EXPECT_EQ(BodyOf(response.get()), expected);
  }
}

}  // namespace
}  // namespace prefixd
