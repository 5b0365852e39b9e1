// The share of the byte budget for request bodies, and the worker threads: on the real server, with raw
// sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "daemon/http/router.h"
#include "daemon/http/server.h"
#include "tests/daemon/http/raw_client.h"

namespace prefixd {
namespace {

using testing::HasSubstr;
using testing_support::BodyOf;
using testing_support::HeaderOf;
using testing_support::HttpText;
using testing_support::RawClient;
using testing_support::StatusOf;

// POST /keep keeps its exchange; /drop frees the body and keeps the exchange; /work blocks a worker thread
// until Release; GET /health responds at once.
class BodyLimitTest : public testing::Test {
 protected:
  BodyLimitTest() {
    options_.listen = "127.0.0.1:0";
    options_.io_threads = 1;
    options_.worker_threads = 1;
    options_.max_body_bytes = 100'000;
    options_.max_inflight_bytes = 1'142'858;  // of which 250,000 for bodies
    router_.Add("POST", "/keep", [this](std::shared_ptr<Exchange> exchange) { Keep(std::move(exchange)); });
    router_.Add("POST", "/drop", [this](std::shared_ptr<Exchange> exchange) {
      exchange->ReleaseBody();
      Keep(std::move(exchange));
    });
    router_.Add("POST", "/work", [this](std::shared_ptr<Exchange> exchange) {
      EXPECT_TRUE(exchange->PostWork([this, exchange] {
        Keep(exchange);
        {
          MutexLock lock(mutex_);
          while (!released_) changed_.Wait(mutex_);
        }
        exchange->Respond({.body = "worked"});
      }));
    });
    router_.Add(
        "POST", "/key", [](std::shared_ptr<Exchange> exchange) { exchange->Respond({.status = 401}); },
        [](const HttpRequest& head) { return head.header("x-api-key") == "right"; });
    router_.Add("GET", "/health",
                [](std::shared_ptr<Exchange> exchange) { exchange->Respond({.body = "ok"}); });
    Start();
  }
  ~BodyLimitTest() override {
    Release();
    MutexLock lock(mutex_);
    kept_.clear();
  }

  void Start() {
    auto server = HttpServer::Start(
        options_, [this](std::shared_ptr<Exchange> exchange) { router_.Handle(std::move(exchange)); },
        [this](const HttpRequest& head) { return router_.WantsBody(head); });
    PREFIXD_CHECK(server.ok()) << server.status().ToString();
    server_ = *std::move(server);
  }
  bool WaitForInflight(size_t bytes) {
    for (int i = 0; i < 1000 && server_->inflight().bytes != bytes; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return server_->inflight().bytes == bytes;
  }
  void Keep(std::shared_ptr<Exchange> exchange) {
    MutexLock lock(mutex_);
    kept_.push_back(std::move(exchange));
    changed_.NotifyAll();
  }
  void Release() {
    MutexLock lock(mutex_);
    released_ = true;
    changed_.NotifyAll();
  }
  bool WaitForKept(size_t count) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    MutexLock lock(mutex_);
    while (kept_.size() != count) {
      if (!changed_.WaitUntil(mutex_, deadline)) return kept_.size() == count;
    }
    return true;
  }
  std::unique_ptr<RawClient> Send(const std::string& path, size_t bytes) {
    auto client = std::make_unique<RawClient>(server_->url());
    client->Send(HttpText("POST", path, std::string(bytes, 'x')));
    return client;
  }
  void ExpectOverloaded(RawClient& client) {
    const std::string response = client.ReadResponse();
    EXPECT_EQ(StatusOf(response), 503) << response;
    EXPECT_EQ(HeaderOf(response, "Retry-After"), "1");
    EXPECT_THAT(BodyOf(response), HasSubstr("\"overloaded\""));
  }

  std::shared_ptr<Exchange> Kept(size_t index) {
    MutexLock lock(mutex_);
    return kept_.at(index);
  }

  Mutex mutex_;
  CondVar changed_;
  std::vector<std::shared_ptr<Exchange>> kept_ GUARDED_BY(mutex_);
  bool released_ GUARDED_BY(mutex_) = false;
  HttpServerOptions options_;
  Router router_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(BodyLimitTest, BodiesBeyondTheLimitAreRejected) {
  const auto first = Send("/keep", 100'000), second = Send("/keep", 100'000);
  ASSERT_TRUE(WaitForKept(2));
  ExpectOverloaded(*Send("/keep", 60'000));
  const auto third = Send("/keep", 50'000);
  ASSERT_TRUE(WaitForKept(3)) << "it fits the rest";
  RawClient chunked(server_->url());
  chunked.Send("POST /keep HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4e20\r\n" +
               std::string(20'000, 'x'));
  ExpectOverloaded(chunked);  // when it is no longer small
  RawClient expecting(server_->url());
  expecting.Send("POST /keep HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\nExpect: 100-continue\r\n\r\n");
  ExpectOverloaded(expecting);  // before it sends the body
  const auto small = Send("/keep", kSmallBodyBytes);
  ASSERT_TRUE(WaitForKept(4)) << "a small body is always accepted";

  Kept(0)->Respond({.body = "done"});
  EXPECT_EQ(StatusOf(first->ReadResponse()), 200);
  {
    MutexLock lock(mutex_);
    kept_.erase(kept_.begin());
  }
  const auto fourth = Send("/keep", 100'000);
  EXPECT_TRUE(WaitForKept(4)) << "the finished request freed its bytes";
}

// Whoever sends heads alone, which needs no key, must not keep others from sending bodies.
TEST_F(BodyLimitTest, BodiesThatDoNotArriveTakeNoRoom) {
  RawClient first(server_->url()), second(server_->url());
  for (RawClient* client : {&first, &second}) {
    client->Send("POST /keep HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n");
    ASSERT_TRUE(client->ReadUntil("100 Continue")) << "the server waits for the body";
  }
  const auto others = Send("/keep", 100'000);
  EXPECT_TRUE(WaitForKept(1)) << others->ReadResponse();
}

// Whoever has no key, or asks for a path that does not exist, is answered from the head.
TEST_F(BodyLimitTest, ABodyThatNobodyWantsIsNotRead) {
  for (const char* framing : {"Content-Length: 100000\r\n", "Transfer-Encoding: chunked\r\n"}) {
    for (const auto& [head, status] :
         {std::pair("POST /nowhere", 404), {"GET /keep", 405}, {"POST /key", 401}}) {
      RawClient client(server_->url());
      client.Send(std::string(head) + " HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n" + framing + "\r\n");
      const std::string response = client.ReadResponse();
      EXPECT_EQ(StatusOf(response), status) << head;
      EXPECT_EQ(HeaderOf(response, "Connection"), "close") << "where the next request begins is unknown";
    }
  }
  RawClient known(server_->url());
  known.Send(
      "POST /key HTTP/1.1\r\nHost: x\r\nX-API-Key: right\r\nContent-Length: 100000\r\nExpect: "
      "100-continue\r\n\r\n");
  EXPECT_TRUE(known.ReadUntil("100 Continue"));
}

// The bytes that have arrived count, and a refusal in the middle of a body returns them.
TEST_F(BodyLimitTest, ArrivedBytesAreHeldUntilTheBodyIsRefused) {
  std::vector<std::unique_ptr<RawClient>> clients;
  for (size_t i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<RawClient>(server_->url()));
    clients[i]->Send(
        "POST /keep HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n");
    ASSERT_TRUE(clients[i]->ReadUntil("100 Continue\r\n\r\n"));
  }
  for (size_t i = 0; i < 3; ++i) {
    clients[i]->Send(std::string(80'000, 'x'));
    ASSERT_TRUE(WaitForInflight((i + 1) * 80'000));
  }
  clients[0]->Send(std::string(20'000, 'x'));
  ExpectOverloaded(*clients[0]);  // 250,000 are for bodies
  ASSERT_TRUE(WaitForInflight(160'000));
  for (size_t i : {1, 2}) clients[i]->Send(std::string(20'000, 'x'));
  EXPECT_TRUE(WaitForKept(2));
}

TEST_F(BodyLimitTest, ABodyThatStallsReturnsItsBytes) {
  options_.body_stall_seconds = 0.2;
  options_.body_bytes_per_second = 1e6;
  Start();
  RawClient silent(server_->url()), small(server_->url());
  silent.Send("POST /keep HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + std::string(50'000, 'x'));
  EXPECT_EQ(StatusOf(silent.ReadResponse()), 408);
  RawClient slow(server_->url());
  slow.Send("POST /keep HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + std::string(20'000, 'x'));
  ASSERT_TRUE(WaitForInflight(20'000));
  for (int i = 0; i < 10'000 && server_->inflight().bytes > 0; ++i) {  // a byte at a time never stalls
    slow.Send("x");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(StatusOf(slow.ReadResponse()), 408);
  EXPECT_EQ(server_->inflight().bytes, 0u);
}

TEST_F(BodyLimitTest, DropBodyFreesTheBytes) {
  std::vector<std::unique_ptr<RawClient>> clients;
  for (size_t i = 0; i < 6; ++i) {
    clients.push_back(Send("/drop", 100'000));
    ASSERT_TRUE(WaitForKept(i + 1));
    EXPECT_EQ(Kept(i)->request().body, "");
  }
}

TEST_F(BodyLimitTest, WorkDoesNotBlockTheIoThread) {
  const auto busy = Send("/work", 10);
  ASSERT_TRUE(WaitForKept(1));
  const auto queued = Send("/work", 10);
  for (int i = 0; i < 3; ++i) {
    RawClient client(server_->url());
    client.Send(HttpText("GET", "/health"));
    EXPECT_EQ(BodyOf(client.ReadResponse()), "ok") << "the one io thread is free";
  }
  Release();
  EXPECT_EQ(BodyOf(busy->ReadResponse()), "worked");
  EXPECT_EQ(BodyOf(queued->ReadResponse()), "worked");
}

}  // namespace
}  // namespace prefixd
