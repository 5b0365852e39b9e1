#include <gtest/gtest.h>

#include "storage/memory_store.h"
#include "tests/storage/block_store_contract.h"

namespace prefixd {
namespace {

struct MemoryHome final : BlockStoreHome {
  std::unique_ptr<BlockStore> Open(DropListener on_drop) override {
    return std::make_unique<MemoryStore>(kContractCapacity, std::move(on_drop));
  }
};
INSTANTIATE_TEST_SUITE_P(MemoryStore, BlockStoreContract, testing::Values(HomeOf<MemoryHome>("memory")));

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
