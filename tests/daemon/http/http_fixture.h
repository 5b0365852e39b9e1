// The fixture of the HttpServer tests: a real server on a free port, its routes, and waits for what they see.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"
#include "daemon/http/router.h"
#include "daemon/http/server.h"
#include "tests/daemon/http/raw_client.h"

namespace prefixd::testing_support {

// Routes: POST /echo returns the body; GET /where returns path and query; /hold keeps the exchange for the
// test; /hold-unregistered too, without a disconnect callback; /flood streams until Write fails.
class HttpServerTest : public testing::Test {
 protected:
  HttpServerTest() {
    options_.listen = "127.0.0.1:0";
    options_.io_threads = 2;
    options_.max_header_bytes = 4096;
    options_.max_body_bytes = 100'000;
    options_.max_backlog_bytes = 256 << 10;
    router_.Add("POST", "/v1/echo", [](std::shared_ptr<Exchange> exchange) {
      exchange->Respond({.content_type = "text/plain", .body = exchange->request().body});
    });
    router_.Add("GET", "/v1/where/*", [](std::shared_ptr<Exchange> exchange) {
      exchange->Respond({.body = exchange->request().path + "|" + exchange->request().query});
    });
    router_.Add("GET", "/hold", [this](std::shared_ptr<Exchange> exchange) {
      exchange->OnDisconnect([this] { CountDisconnect(); });
      Hold(std::move(exchange));
    });
    router_.Add("GET", "/hold-unregistered",
                [this](std::shared_ptr<Exchange> exchange) { Hold(std::move(exchange)); });
    router_.Add("GET", "/flood", [this](std::shared_ptr<Exchange> exchange) {
      exchange->OnDisconnect([this] { CountDisconnect(); });
      exchange->StartStream({.content_type = "text/event-stream"});
      const std::string piece(16 << 10, 'x');
      for (int i = 0; i < 10'000; ++i) {
        if (exchange->Write(piece)) continue;
        MutexLock lock(mutex_);
        flooded_ = i;
        changed_.NotifyAll();
        return;
      }
    });
    router_.Add("GET", "/stream", [](std::shared_ptr<Exchange> exchange) {
      exchange->StartStream({.content_type = "text/event-stream"});
      exchange->Post([exchange] {
        EXPECT_TRUE(exchange->Write("data: 1\n\n"));
        exchange->PostAfter(0.001, [exchange] {
          EXPECT_TRUE(exchange->Write("data: 2\n\n"));
          exchange->EndStream();
          EXPECT_FALSE(exchange->Write("late"));
        });
      });
    });
    router_.Add("GET", "/dropped", [](std::shared_ptr<Exchange>) {});
    router_.Add("GET", "/throws", [](std::shared_ptr<Exchange>) { throw std::runtime_error("secret"); });
  }

  ~HttpServerTest() override {
    MutexLock lock(mutex_);
    held_.clear();
  }

  void Start() {
    auto server = HttpServer::Start(
        options_, [this](std::shared_ptr<Exchange> exchange) { router_.Handle(std::move(exchange)); });
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = *std::move(server);
  }

  void CountDisconnect() {
    MutexLock lock(mutex_);
    ++disconnects_;
    changed_.NotifyAll();
  }
  void Hold(std::shared_ptr<Exchange> exchange) {
    MutexLock lock(mutex_);
    held_.push_back(std::move(exchange));
    changed_.NotifyAll();
  }
  int disconnects() {
    MutexLock lock(mutex_);
    return disconnects_;
  }
  bool WaitForDisconnects(int count) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    MutexLock lock(mutex_);
    while (disconnects_ != count) {
      if (!changed_.WaitUntil(mutex_, deadline)) return disconnects_ == count;
    }
    return true;
  }
  // The number of pieces that /flood wrote, once it has ended; -1 after 10 seconds.
  int WaitForFlood() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    MutexLock lock(mutex_);
    while (flooded_ < 0) {
      if (!changed_.WaitUntil(mutex_, deadline)) break;
    }
    return flooded_;
  }
  // Waits for an exchange of /hold.
  std::shared_ptr<Exchange> Held() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    MutexLock lock(mutex_);
    while (held_.empty()) PREFIXD_CHECK(changed_.WaitUntil(mutex_, deadline)) << "no request to /hold";
    auto exchange = held_.front();
    held_.erase(held_.begin());
    return exchange;
  }
  // Sends `text` on a new connection. Expects `status`, and that the server closes the connection.
  void ExpectRejected(const std::string& text, int status) {
    RawClient client(server_->url());
    client.Send(text);
    const std::string response = client.ReadResponse();
    EXPECT_EQ(StatusOf(response), status) << text.substr(0, 300) << "\n" << response;
    EXPECT_THAT(BodyOf(response), testing::HasSubstr("\"message\"")) << text.substr(0, 300);
    EXPECT_EQ(HeaderOf(response, "Connection"), "close") << text.substr(0, 300);
    EXPECT_NE(HeaderOf(response, "x-request-id"), "");
    client.FinishSending();
    EXPECT_TRUE(client.AtEnd());
  }

  HttpServerOptions options_;
  Router router_;
  Mutex mutex_;
  CondVar changed_;
  std::vector<std::shared_ptr<Exchange>> held_ GUARDED_BY(mutex_);
  int disconnects_ GUARDED_BY(mutex_) = 0;
  int flooded_ GUARDED_BY(mutex_) = -1;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace prefixd::testing_support
