#include <gtest/gtest.h>

#include "base/executor.h"
#include "base/mutex.h"
#include "storage/async_store.h"
#include "storage/memory_store.h"
#include "tests/storage/block_store_contract.h"

namespace prefixd {
namespace {

// A synchronous BlockStore over an AsyncStore with worker threads over a MemoryStore. Each call submits an
// operation and polls until it has completed.
class ThroughAsyncStore final : public BlockStore {
 public:
  explicit ThroughAsyncStore(uint64_t capacity)
      : store_(capacity), executor_(2, 4), async_(&store_, &executor_, 4) {}

  Result<std::string> Get(const BlockKey& key) override {
    AsyncStore::Completion done = Finish([&](AsyncStore* async) { return async->TryGet(key, 1); });
    if (!done.status.ok()) return done.status;
    return std::move(done.record);
  }
  Status Put(const BlockKey& key, std::string_view record) override {
    return Finish([&](AsyncStore* async) { return async->TryPut(key, std::string(record), 1); }).status;
  }
  Status Delete(const BlockKey& key) override {
    return Finish([&](AsyncStore* async) { return async->TryDelete(key, 1); }).status;
  }
  Status Sync() override {
    return Finish([&](AsyncStore* async) { return async->TrySync(1); }).status;
  }
  // The callers of a scan are in threads of their own and use the store itself.
  Status Scan(const Visitor& visitor) override { return store_.Scan(visitor); }
  uint64_t bytes() const override { return store_.bytes(); }
  uint64_t capacity() const override { return store_.capacity(); }

 private:
  // The mutex makes each caller the only owner of the AsyncStore during its call.
  template <typename Submit>
  AsyncStore::Completion Finish(Submit submit) {
    MutexLock lock(mutex_);
    EXPECT_TRUE(submit(&async_));
    std::vector<AsyncStore::Completion> finished;
    while (finished.empty()) {
      async_.Poll(&finished);
      std::this_thread::yield();
    }
    EXPECT_EQ(async_.in_flight(), 0u);
    return std::move(finished.front());
  }

  MemoryStore store_;
  ThreadExecutor executor_;
  Mutex mutex_;
  AsyncStore async_ GUARDED_BY(mutex_);
};

INSTANTIATE_TEST_SUITE_P(MemoryStore, BlockStoreContract, testing::Values([](uint64_t capacity) {
                           return std::make_unique<MemoryStore>(capacity);
                         }));
INSTANTIATE_TEST_SUITE_P(AsyncStore, BlockStoreContract, testing::Values([](uint64_t capacity) {
                           return std::make_unique<ThroughAsyncStore>(capacity);
                         }));

TEST(MemoryStore, CountsWhatItHolds) {
  MemoryStore store(1000);
  EXPECT_TRUE(store.Put({1, 1}, std::string(100, 'a')).ok());
  EXPECT_TRUE(store.Put({1, 2}, std::string(50, 'a')).ok());
  EXPECT_EQ(store.bytes(), 150 + 2 * MemoryStore::kRecordOverhead);
  EXPECT_TRUE(store.Put({1, 1}, "").ok());
  EXPECT_TRUE(store.Delete({1, 2}).ok());
  EXPECT_EQ(store.bytes(), MemoryStore::kRecordOverhead);
  EXPECT_TRUE(store.Put({1, 2}, std::string(1000 - 2 * MemoryStore::kRecordOverhead, 'b')).ok())
      << "fits exactly";
  EXPECT_EQ(store.bytes(), store.capacity());
  store.CheckInvariants();
}

TEST(MemoryStore, SaysWhyARecordDoesNotFit) {
  MemoryStore store(4096);
  EXPECT_EQ(
      store.Put({1, 1}, std::string(8192, 'a')).ToString(),
      "resource_exhausted: a record of 8.0 KiB does not fit: 0 B of 4.0 KiB are taken; delete records first");
}

}  // namespace
}  // namespace prefixd
