#include "storage/async_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace prefixd
