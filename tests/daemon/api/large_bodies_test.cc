// Large bodies on the worker threads of the real server: while they wait for each other, smaller ones go on.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "daemon/api/large_body_queue.h"
#include "daemon/api/middleware.h"
#include "daemon/http/server.h"
#include "daemon/limit_table.h"
#include "tests/daemon/api/fakes.h"
#include "tests/daemon/http/raw_client.h"

namespace prefixd {
namespace {

using testing_support::HttpText;
using testing_support::RawClient;

// The handler keeps a large body until Release, and answers every other one at once.
class LargeBodiesTest : public testing::Test {
 protected:
  static constexpr size_t kLarge = Limit<size_t>("large-body") + 1;

  LargeBodiesTest() {
    state_.set_phase(ServerPhase::kServing);
    context_.state = &state_;
    HttpServerOptions options;
    options.listen = "127.0.0.1:0";
    auto server =
        HttpServer::Start(options, WithJsonBody(&context_, [this](std::shared_ptr<Exchange> exchange,
                                                                  const boost::json::object& body, Work&) {
                            if (body.at("x").as_string().size() >= kLarge) WaitForRelease();
                            exchange->Respond({.body = "done"});
                            return std::optional<ApiError>();
                          }));
    PREFIXD_CHECK(server.ok()) << server.status().ToString();
    server_ = *std::move(server);
  }
  ~LargeBodiesTest() override { Release(); }

  void WaitForRelease() {
    MutexLock lock(mutex_);
    ++waiting_;
    changed_.NotifyAll();
    while (!released_) changed_.Wait(mutex_);
  }
  void Release() {
    MutexLock lock(mutex_);
    released_ = true;
    changed_.NotifyAll();
  }
  bool WaitForWaiting() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    MutexLock lock(mutex_);
    while (waiting_ == 0) {
      if (!changed_.WaitUntil(mutex_, deadline)) return waiting_ > 0;
    }
    return true;
  }
  std::unique_ptr<RawClient> Send(size_t bytes) {
    auto client = std::make_unique<RawClient>(server_->url());
    client->Send(HttpText("POST", "/", "{\"x\":\"" + std::string(bytes, 'x') + "\"}"));
    return client;
  }

  Mutex mutex_;
  CondVar changed_;
  int waiting_ GUARDED_BY(mutex_) = 0;
  bool released_ GUARDED_BY(mutex_) = false;
  ServerState state_;
  ApiContext context_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(LargeBodiesTest, ALargeBodyThatWaitsForAnotherTakesNoWorker) {
  std::vector<std::unique_ptr<RawClient>> large;
  for (int i = 0; i < 4; ++i) large.push_back(Send(kLarge));
  ASSERT_TRUE(WaitForWaiting());
  const auto medium = Send(2 * kSmallBodyBytes);
  EXPECT_NE(medium->ReadResponse(), "") << "no answer within 10 seconds while a large body is worked on";
  Release();
  for (const auto& client : large) EXPECT_NE(client->ReadResponse(), "");
}

TEST(LargeBodyQueueTest, JobsRunInOrderAndOutliveOneThatThrows) {
  ByteBudget budget(1, 1);
  testing_support::MemoryExchange exchange({}, &budget);
  LargeBodyQueue queue;
  std::string ran;
  EXPECT_TRUE(queue.Submit(exchange, [&] { ran += '1'; }));
  EXPECT_TRUE(queue.Submit(exchange, [] { throw std::runtime_error("a fault"); }));
  EXPECT_TRUE(queue.Submit(exchange, [&] { ran += '2'; }));
  EXPECT_EQ(exchange.works, 1) << "one worker for all";
  exchange.RunJobs();
  EXPECT_EQ(ran, "12");

  exchange.workers = false;
  EXPECT_FALSE(queue.Submit(exchange, [&] { ran += '3'; }));
  exchange.workers = true;
  EXPECT_TRUE(queue.Submit(exchange, [&] { ran += '4'; }));
  exchange.RunJobs();
  EXPECT_EQ(ran, "124") << "a refused job is dropped, and the next one gets a worker";
}

}  // namespace
}  // namespace prefixd
