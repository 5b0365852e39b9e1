#include "daemon/http/post_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/support/rounds.h"

namespace prefixd {
namespace {

namespace asio = boost::asio;

// Waits for an event for at most a minute.
class Event {
 public:
  void Set() {
    const std::lock_guard lock(mutex_);
    set_ = true;
    changed_.notify_all();
  }
  bool Wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::minutes(1), [this] { return set_; });
  }
  bool is_set() {
    const std::lock_guard lock(mutex_);
    return set_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

class PostQueueTest : public testing::Test {
 protected:
  ~PostQueueTest() override { Stop(); }
  void Start(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { io_.run(); });
  }
  void Stop() {
    work_.reset();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  PostQueue::Executor NewStrand() { return asio::make_strand(io_); }
  // Takes longer than a Drain may.
  static void RunLong() { std::this_thread::sleep_for(std::chrono::nanoseconds(2 * PostQueue::kNanosAlone)); }

  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  std::shared_ptr<PostQueue> queue_ =
      std::make_shared<PostQueue>(io_.get_executor(), std::make_unique<SystemClock>());
  std::vector<std::thread> threads_;
};

TEST_F(PostQueueTest, OneThreadTakesTheJobsOfAllStrandsInOrder) {
  queue_ = std::make_shared<PostQueue>(io_.get_executor(), std::make_unique<ManualClock>());
  std::vector<int> order;
  for (int i = 0; i < 20; ++i) queue_->Post(NewStrand(), [&order, i] { order.push_back(i); });
  EXPECT_TRUE(order.empty()) << "Post runs nothing itself";
  EXPECT_EQ(io_.run_one(), 1u) << "all with one wake-up";
  EXPECT_EQ(order.size(), 20u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  queue_->Post(NewStrand(), [&order] { order.push_back(20); });
  EXPECT_EQ(io_.run_one(), 1u) << "and the next one after it";
  EXPECT_EQ(order.size(), 21u);
}

// Some jobs take so long that the others go to all threads.
TEST_F(PostQueueTest, JobsOfAStrandRunInOrderAndOneAtATime) {
  constexpr int kStrands = 5, kPosters = 3;
  const int jobs = testing_support::Rounds(3000);
  struct Strand {
    PostQueue::Executor executor;
    std::atomic<int> inside = 0;
    int next[kPosters] = {};
    int overlaps = 0, misplaced = 0;
  };
  std::vector<Strand> strands(kStrands);
  for (Strand& strand : strands) strand.executor = NewStrand();
  Start(3);
  std::vector<std::thread> posters;
  for (int p = 0; p < kPosters; ++p) {
    posters.emplace_back([&, p] {
      for (int i = 0; i < jobs; ++i) {
        for (Strand& strand : strands) {
          queue_->Post(strand.executor, [&strand, p, i] {
            strand.overlaps += ++strand.inside != 1;
            strand.misplaced += strand.next[p]++ != i;
            if (i % 500 == 7) RunLong();
            --strand.inside;
          });
        }
        if (i % 50 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
      }
    });
  }
  for (std::thread& poster : posters) poster.join();
  Stop();
  for (const Strand& strand : strands) {
    EXPECT_EQ(strand.overlaps, 0);
    EXPECT_EQ(strand.misplaced, 0);
    for (const int next : strand.next) EXPECT_EQ(next, jobs) << "each ran";
  }
}

TEST_F(PostQueueTest, AfterALongJobTheOthersGoToAllThreads) {
  Event third;
  bool waited = false;
  queue_->Post(NewStrand(), RunLong);
  queue_->Post(NewStrand(), [&] { waited = third.Wait(); });
  queue_->Post(NewStrand(), [&] { third.Set(); });
  Start(2);
  Stop();
  EXPECT_TRUE(waited) << "the third ran while the second did";
}

TEST_F(PostQueueTest, JobsThatComeWhileALongOneRunsDoNotWaitForIt) {
  Event ran;
  bool waited = false;
  queue_->Post(NewStrand(), [&] { waited = ran.Wait(); });
  Start(2);
  for (int i = 0; i < 100'000 && !ran.is_set(); ++i) {
    queue_->Post(NewStrand(), [&] { ran.Set(); });
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
  Stop();
  EXPECT_TRUE(waited);
}

// The second job waits, and nothing else is posted.
TEST_F(PostQueueTest, ANudgeIsEnoughForJobsBehindALongOne) {
  Event begun, ran;
  bool waited = false;
  queue_->Post(NewStrand(), [&] {
    begun.Set();
    waited = ran.Wait();
  });
  queue_->Post(NewStrand(), [&] { ran.Set(); });
  Start(2);
  ASSERT_TRUE(begun.Wait());
  for (int i = 0; i < 100'000 && !ran.is_set(); ++i) {
    queue_->Nudge();
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
  Stop();
  EXPECT_TRUE(waited);
}

// The strand of the last job of a Drain is busy. When the job runs at last, no Drain does: that it took long
// is no reason to wake many threads for the next jobs.
TEST_F(PostQueueTest, AJobThatRunsAfterItsDrainIsNotTheNextDrains) {
  auto owned = std::make_unique<ManualClock>();
  ManualClock& clock = *owned;
  queue_ = std::make_shared<PostQueue>(io_.get_executor(), std::move(owned));
  const PostQueue::Executor busy = NewStrand();
  int ran = 0;
  Event begun, end;
  asio::post(busy, [&] {
    begun.Set();
    end.Wait();
  });
  std::thread other([this] { io_.run_one(); });
  ASSERT_TRUE(begun.Wait());
  queue_->Post(busy, [&] { ++ran; });
  EXPECT_EQ(io_.run_one(), 1u) << "the Drain, which leaves the job to the strand";
  end.Set();
  other.join();
  for (int i = 0; i < 3 && ran == 0; ++i) io_.run_one();
  EXPECT_EQ(ran, 1);
  clock.Advance(2 * PostQueue::kNanosAlone);
  for (int i = 0; i < 10; ++i) queue_->Post(NewStrand(), [&] { ++ran; });
  EXPECT_EQ(io_.run_one(), 1u);
  EXPECT_EQ(ran, 11) << "all with one wake-up";
}

TEST_F(PostQueueTest, NothingRunsAfterClose) {
  struct PostsAtItsEnd {
    ~PostsAtItsEnd() {
      queue->Post(strand, [] { ADD_FAILURE() << "it was posted after Close"; });
    }
    std::shared_ptr<PostQueue> queue;
    PostQueue::Executor strand;
  };
  auto posts = std::make_shared<PostsAtItsEnd>(queue_, NewStrand());
  const std::weak_ptr<PostsAtItsEnd> weak = posts;
  queue_->Post(NewStrand(), [posts = std::move(posts)] { ADD_FAILURE() << "it was dropped"; });
  queue_->Close();
  EXPECT_TRUE(weak.expired());
  queue_->Post(NewStrand(), [] { ADD_FAILURE() << "the queue is closed"; });
  Start(1);
  Stop();
}

}  // namespace
}  // namespace prefixd
