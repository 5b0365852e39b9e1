#include "storage/async_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <set>
#include <thread>

#include "base/mutex.h"
#include "storage/memory_store.h"

namespace prefixd {
namespace {

using Completions = std::vector<AsyncStore::Completion>;

constexpr BlockKey kKey{1, 2};

TEST(AsyncStore, ReportsEachOperationOnceAfterItRan) {
  MemoryStore store(4096);
  ManualExecutor executor(8);
  AsyncStore async(&store, &executor, 8);
  ASSERT_TRUE(async.TryPut(kKey, "record", 1));
  ASSERT_TRUE(async.TryGet(kKey, 2));
  ASSERT_TRUE(async.TryDelete(kKey, 3));
  ASSERT_TRUE(async.TryGet(kKey, 4));
  ASSERT_TRUE(async.TrySync(5));
  Completions finished;
  async.Poll(&finished);
  EXPECT_TRUE(finished.empty()) << "nothing has run";
  while (executor.RunOne()) {
  }
  async.Poll(&finished);
  ASSERT_EQ(finished.size(), 5u);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(finished[i].tag, i + 1);
  EXPECT_EQ(finished[1].record, "record");
  EXPECT_EQ(finished[3].status.code(), Code::kNotFound);
  EXPECT_TRUE(finished[4].status.ok());
  async.Poll(&finished);
  EXPECT_EQ(finished.size(), 5u) << "once";
  EXPECT_EQ(async.in_flight(), 0u);
}

TEST(AsyncStore, RefusesBeyondItsBoundUntilPolled) {
  MemoryStore store(4096);
  ManualExecutor executor(8);
  AsyncStore async(&store, &executor, 2);
  ASSERT_TRUE(async.TryPut(kKey, "a", 1));
  ASSERT_TRUE(async.TryPut(kKey, "b", 2));
  EXPECT_FALSE(async.TryPut(kKey, "c", 3));
  while (executor.RunOne()) {
  }
  EXPECT_FALSE(async.TryGet(kKey, 4)) << "what is finished and not polled takes its place as well";
  EXPECT_EQ(*store.Get(kKey), "b");
  Completions finished;
  async.Poll(&finished);
  EXPECT_EQ(finished.size(), 2u);
  EXPECT_TRUE(async.TryGet(kKey, 5));
}

TEST(AsyncStore, RefusesWhenTheExecutorIsFull) {
  MemoryStore store(4096);
  ManualExecutor executor(1);
  AsyncStore async(&store, &executor, 8);
  EXPECT_TRUE(async.TryGet(kKey, 1));
  EXPECT_FALSE(async.TryGet(kKey, 2));
  EXPECT_EQ(async.in_flight(), 1u);
}

TEST(AsyncStoreDeathTest, NeedsAStoreAnExecutorAndABound) {
  MemoryStore store(4096);
  ManualExecutor executor(1);
  EXPECT_DEATH(AsyncStore(nullptr, &executor, 1), "store != nullptr");
  EXPECT_DEATH(AsyncStore(&store, nullptr, 1), "executor != nullptr");
  EXPECT_DEATH(AsyncStore(&store, &executor, 0), "max_in_flight > 0");
}

TEST(AsyncStore, MayGoWhileOperationsRun) {
  MemoryStore store(4096);
  ManualExecutor executor(8);
  {
    AsyncStore async(&store, &executor, 8);
    ASSERT_TRUE(async.TryPut(kKey, "late", 1));
  }
  EXPECT_TRUE(executor.RunOne());
  EXPECT_EQ(*store.Get(kKey), "late");
}

TEST(AsyncStore, CallsBackOnceForEachCompletionThatPollCanReport) {
  MemoryStore store(4096);
  ManualExecutor executor(8);
  int calls = 0;
  Completions finished;
  AsyncStore* owned = nullptr;
  AsyncStore async(&store, &executor, 8, [&] {  // runs in RunOne below, so on the owning thread
    ++calls;
    owned->Poll(&finished);
  });
  owned = &async;
  ASSERT_TRUE(async.TryPut(kKey, "record", 1));
  ASSERT_TRUE(async.TryGet({9, 9}, 2)) << "fails when it runs";
  ASSERT_TRUE(async.TrySync(3));
  EXPECT_EQ(calls, 0);
  for (int done = 1; done <= 3; ++done) {
    EXPECT_TRUE(executor.RunOne());
    EXPECT_EQ(calls, done);
    EXPECT_EQ(finished.size(), static_cast<size_t>(done));
  }
  EXPECT_EQ(finished[1].status.code(), Code::kNotFound);
}

TEST(AsyncStore, DoesNotCallBackAfterItHasGone) {
  MemoryStore store(4096);
  ManualExecutor executor(8);
  int calls = 0;
  std::optional<AsyncStore> async(std::in_place, &store, &executor, 8, [&calls] { ++calls; });
  ASSERT_TRUE(async->TryPut(kKey, "a", 1));
  ASSERT_TRUE(async->TryPut(kKey, "b", 2));
  EXPECT_TRUE(executor.RunOne());
  async.reset();
  EXPECT_TRUE(executor.RunOne());
  EXPECT_EQ(*store.Get(kKey), "b");
  EXPECT_EQ(calls, 1);
}

TEST(AsyncStore, ItsDestructorWaitsForARunningCallback) {
  MemoryStore store(4096);
  std::atomic<bool> entered{false};
  std::atomic<bool> left{false};
  ThreadExecutor executor(1, 8);
  std::optional<AsyncStore> async(std::in_place, &store, &executor, 8, [&] {
    entered = true;
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();
    left = true;
  });
  ASSERT_TRUE(async->TryPut(kKey, "a", 1));
  while (!entered) std::this_thread::yield();
  async.reset();
  EXPECT_TRUE(left);
}

// The owner sleeps until a callback and never looks without one. A lost callback would end in a time-out.
TEST(AsyncStore, TheCallbackWakesAnOwnerThatSleeps) {
  constexpr uint64_t kOperations = 2000;
  MemoryStore store(1 << 20);
  Mutex mutex;
  CondVar woken;
  uint64_t calls = 0;  // guarded by the mutex
  ThreadExecutor executor(2, 8);
  AsyncStore async(&store, &executor, 8, [&] {
    MutexLock lock(mutex);
    ++calls;
    woken.NotifyOne();
  });
  uint64_t submitted = 0;
  Completions finished;
  while (finished.size() < kOperations) {
    while (submitted < kOperations && async.TryPut({submitted % 16, 0}, "record", submitted)) ++submitted;
    MutexLock lock(mutex);
    while (calls <= finished.size()) woken.Wait(mutex);
    const uint64_t called = calls;
    async.Poll(&finished);  // under the lock that the callback takes
    EXPECT_GE(finished.size(), called);
  }
  std::set<uint64_t> tags;
  for (const AsyncStore::Completion& completion : finished) tags.insert(completion.tag);
  EXPECT_EQ(tags.size(), kOperations);
  EXPECT_EQ(async.in_flight(), 0u);
}

}  // namespace
}  // namespace prefixd
