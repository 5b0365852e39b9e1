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
  ThroughAsyncStore(uint64_t capacity, DropListener on_drop)
      : store_(capacity, std::move(on_drop)), executor_(2, 4), async_(&store_, &executor_, 4) {}

  Result<std::string> Get(const BlockKey& key) override {
    AsyncStore::Completion done = Finish([&](AsyncStore* async) { return async->TryGet(key, 1); });
    if (!done.status.ok()) return done.status;
    return std::move(done.record);
  }
  // The engine thread asks the store itself: nothing is read.
  bool Contains(const BlockKey& key) const override { return store_.Contains(key); }
  Status PutBatch(std::vector<StoreEntry> batch) override {
    for (StoreEntry& entry : batch) {
      const Status status =
          Finish([&](AsyncStore* async) { return async->TryPut([&] { return entry; }, 1); }).status;
      if (!status.ok()) return status;
    }
    return Status::Ok();
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
  uint64_t max_record_bytes() const override { return store_.max_record_bytes(); }

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

struct MemoryHome final : BlockStoreHome {
  std::unique_ptr<BlockStore> Open(DropListener on_drop) override {
    return std::make_unique<MemoryStore>(kContractCapacity, std::move(on_drop));
  }
};
struct AsyncHome final : BlockStoreHome {
  std::unique_ptr<BlockStore> Open(DropListener on_drop) override {
    return std::make_unique<ThroughAsyncStore>(kContractCapacity, std::move(on_drop));
  }
};

INSTANTIATE_TEST_SUITE_P(MemoryStore, BlockStoreContract, testing::Values(HomeOf<MemoryHome>("memory")));
INSTANTIATE_TEST_SUITE_P(AsyncStore, BlockStoreContract, testing::Values(HomeOf<AsyncHome>("async")));

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

TEST(MemoryStore, DropsWhatWasUsedLeastRecently) {
  std::vector<BlockKey> dropped;
  MemoryStore store(3 * (100 + MemoryStore::kRecordOverhead), [&](const BlockKey& key, DropReason reason) {
    EXPECT_EQ(reason, DropReason::kEvicted);
    dropped.push_back(key);
  });
  for (uint64_t n = 1; n <= 3; ++n) ASSERT_TRUE(store.Put({n, n}, std::string(100, 'a')).ok());
  ASSERT_TRUE(store.Get({1, 1}).ok());
  ASSERT_TRUE(store.Put({4, 4}, std::string(100, 'a')).ok());
  EXPECT_EQ(dropped, std::vector<BlockKey>({{2, 2}}));
  EXPECT_TRUE(store.Get({1, 1}).ok());
  store.CheckInvariants();
}

TEST(MemoryStore, SaysWhyARecordDoesNotFit) {
  MemoryStore store(4096);
  EXPECT_EQ(store.Put({1, 1}, std::string(8192, 'a')).ToString(),
            "resource_exhausted: a record of 8.0 KiB does not fit a store of 4.0 KiB");
}

}  // namespace
}  // namespace prefixd
