// How many bytes of bodies a server holds at once, and who reads them: on the real server, with raw sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "daemon/http/byte_budget.h"
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

TEST(ByteBudgetTest, SharesNeverSumToMoreThanTheLimit) {
  ByteBudget budget(10);
  auto six = budget.Take(6);
  ASSERT_TRUE(six);
  EXPECT_FALSE(budget.Take(5));
  EXPECT_FALSE(budget.Take(SIZE_MAX));
  auto four = budget.Take(4);
  ASSERT_TRUE(four);
  EXPECT_EQ(budget.held(), 10u);
  ByteBudget::Share moved = *std::move(six);
  six.reset();
  EXPECT_EQ(budget.held(), 10u) << "the bytes went along";
  moved = *std::move(four);
  four.reset();
  EXPECT_EQ(budget.held(), 4u) << "what it held before is free";
  { const ByteBudget::Share last = std::move(moved); }
  EXPECT_EQ(budget.held(), 0u);
}

// POST /keep keeps its exchange; /drop does, but drops the body; /work blocks a worker until the test lets
// go; GET /health.
class BodiesTest : public testing::Test {
 protected:
  BodiesTest() {
    options_.listen = "127.0.0.1:0";
    options_.io_threads = 1;
    options_.worker_threads = 1;
    options_.max_body_bytes = 100'000;
    options_.max_bodies_bytes = 250'000;
    router_.Add("POST", "/keep", [this](std::shared_ptr<Exchange> exchange) { Keep(std::move(exchange)); });
    router_.Add("POST", "/drop", [this](std::shared_ptr<Exchange> exchange) {
      exchange->DropBody();
      Keep(std::move(exchange));
    });
    router_.Add("POST", "/work", [this](std::shared_ptr<Exchange> exchange) {
      EXPECT_TRUE(exchange->PostWork([this, exchange] {
        Keep(exchange);
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return let_go_; });
        exchange->Respond({.body = "worked"});
      }));
    });
    router_.Add("GET", "/health",
                [](std::shared_ptr<Exchange> exchange) { exchange->Respond({.body = "ok"}); });
    auto server = HttpServer::Start(
        options_, [this](std::shared_ptr<Exchange> exchange) { router_.Handle(std::move(exchange)); });
    PREFIXD_CHECK(server.ok()) << server.status().ToString();
    server_ = *std::move(server);
  }
  ~BodiesTest() override {
    LetGo();
    kept_.clear();
  }

  void Keep(std::shared_ptr<Exchange> exchange) {
    std::lock_guard lock(mutex_);
    kept_.push_back(std::move(exchange));
    changed_.notify_all();
  }
  void LetGo() {
    std::lock_guard lock(mutex_);
    let_go_ = true;
    changed_.notify_all();
  }
  bool WaitForKept(size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return kept_.size() == count; });
  }
  std::unique_ptr<RawClient> Send(const std::string& path, size_t bytes) {
    auto client = std::make_unique<RawClient>(server_->url());
    client->Send(HttpText("POST", path, std::string(bytes, 'x')));
    return client;
  }
  void ExpectRefused(RawClient& client) {
    const std::string answer = client.ReadAnswer();
    EXPECT_EQ(StatusOf(answer), 503) << answer;
    EXPECT_EQ(HeaderOf(answer, "Retry-After"), "1");
    EXPECT_THAT(BodyOf(answer), HasSubstr("\"overloaded\""));
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Exchange>> kept_;
  bool let_go_ = false;
  HttpServerOptions options_;
  Router router_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(BodiesTest, BeyondTheLimitOfAllBodiesTheNextIsTurnedAway) {
  const auto first = Send("/keep", 100'000), second = Send("/keep", 100'000);
  ASSERT_TRUE(WaitForKept(2));
  ExpectRefused(*Send("/keep", 60'000));
  const auto third = Send("/keep", 50'000);
  ASSERT_TRUE(WaitForKept(3)) << "as much as is left";
  RawClient chunked(server_->url());
  chunked.Send("POST /keep HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  ExpectRefused(chunked);  // it may become as long as bodies may be
  RawClient expecting(server_->url());
  expecting.Send("POST /keep HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\nExpect: 100-continue\r\n\r\n");
  ExpectRefused(expecting);  // before it sends the body
  const auto brief = Send("/keep", kBriefBodyBytes);
  ASSERT_TRUE(WaitForKept(4)) << "brief ones always find room";

  kept_[0]->Respond({.body = "done"});
  EXPECT_EQ(StatusOf(first->ReadAnswer()), 200);
  {
    std::lock_guard lock(mutex_);
    kept_.erase(kept_.begin());
  }
  const auto fourth = Send("/keep", 100'000);
  EXPECT_TRUE(WaitForKept(4)) << "what has ended made room";
}

TEST_F(BodiesTest, ABodyThatWasReadMakesRoom) {
  std::vector<std::unique_ptr<RawClient>> clients;
  for (size_t i = 0; i < 6; ++i) {
    clients.push_back(Send("/drop", 100'000));
    ASSERT_TRUE(WaitForKept(i + 1));
    EXPECT_EQ(kept_[i]->request().body, "");
  }
}

TEST_F(BodiesTest, WorkDoesNotKeepOthersFromTheirAnswers) {
  const auto busy = Send("/work", 10);
  ASSERT_TRUE(WaitForKept(1));
  const auto queued = Send("/work", 10);
  for (int i = 0; i < 3; ++i) {
    RawClient client(server_->url());
    client.Send(HttpText("GET", "/health"));
    EXPECT_EQ(BodyOf(client.ReadAnswer()), "ok") << "the one io thread is free";
  }
  LetGo();
  EXPECT_EQ(BodyOf(busy->ReadAnswer()), "worked");
  EXPECT_EQ(BodyOf(queued->ReadAnswer()), "worked");
}

}  // namespace
}  // namespace prefixd
