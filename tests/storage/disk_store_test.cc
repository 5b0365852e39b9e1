#include "storage/disk_store.h"

#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/storage/block_store_contract.h"
#include "tests/support/disk_usage.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

using testing_support::DiskUsage;

constexpr BlockKey kGroup{11, 12};
const SystemClock kSystemClock;

// Asserts the law at every operation: the bytes on the disk never exceed the account, nor the account the
// cap.
class LawObserver final : public FileObserver {
 public:
  LawObserver(std::string path, uint64_t capacity) : path_(std::move(path)), capacity_(capacity) {}
  Status Before(const FileCall&, uint64_t*) override { return Status::Ok(); }
  void AfterRead(const FileCall&, std::span<char>) override {}
  void After(const FileCall& call) override {
    if (call.operation == FileOperation::kRead || call.operation == FileOperation::kOpen) return;
    ++writes;
    const uint64_t used = DiskUsage(path_);
    if (used > capacity_) ++over;
  }
  std::atomic<int> writes{0};
  std::atomic<int> over{0};

 private:
  const std::string path_;
  const uint64_t capacity_;
};

class DiskHome final : public BlockStoreHome {
 public:
  std::unique_ptr<BlockStore> Open(DropListener on_drop) override {
    auto store = DiskStore::Open({.path = folder_.path().string() + "/cache",
                                  .capacity = kContractCapacity,
                                  .group = kGroup,
                                  .clock = &kSystemClock,
                                  .on_drop = std::move(on_drop),
                                  .observer = &law_});
    PREFIXD_CHECK(store.ok()) << store.status().ToString();
    return std::move(*store);
  }
  bool durable() const override { return true; }
  ~DiskHome() override { EXPECT_EQ(law_.over, 0) << "of " << law_.writes; }

 private:
  // In RAM where that is possible: these tests wait for no disk. DiskStoreTest is on the disk.
  const testing_support::TempDir folder_{"/dev/shm"};
  LawObserver law_{folder_.path().string() + "/cache", kContractCapacity};
};

INSTANTIATE_TEST_SUITE_P(DiskStore, BlockStoreContract, testing::Values(HomeOf<DiskHome>("disk")));

class DiskStoreTest : public testing::Test {
 protected:
  std::unique_ptr<DiskStore> Open(uint64_t capacity = 16 << 20, BlockKey group = kGroup,
                                  int64_t max_age = 0) {
    auto store = DiskStore::Open(
        {.path = path_,
         .capacity = capacity,
         .group = group,
         .max_age_seconds = max_age,
         .clock = &clock_,
         .on_drop = [this](const BlockKey& key, DropReason reason) { dropped_.emplace_back(key, reason); }});
    PREFIXD_CHECK(store.ok()) << store.status().ToString();
    return std::move(*store);
  }
  static BlockKey Key(uint64_t n) { return {.low = SplitMix64(n), .high = n}; }
  static size_t Scan(DiskStore* store) {
    size_t visited = 0;
    EXPECT_TRUE(store->Scan([&](const BlockKey&, std::string_view) { return ++visited > 0; }).ok());
    return visited;
  }
  void Fill(DiskStore* store, uint64_t begin, uint64_t end, size_t bytes) {
    for (uint64_t n = begin; n < end; ++n)
      ASSERT_TRUE(store->Put(Key(n), std::string(bytes, static_cast<char>(n))).ok()) << n;
  }
  // The only file of the database with this ending.
  std::vector<std::string> Files(std::string_view ending) {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path_))
      if (entry.path().string().ends_with(ending)) files.push_back(entry.path().string());
    std::sort(files.begin(), files.end());
    return files;
  }

  const testing_support::TempDir folder_;
  const std::string path_ = folder_.path().string() + "/cache";
  ManualClock clock_;
  std::vector<std::pair<BlockKey, DropReason>> dropped_;
};

TEST_F(DiskStoreTest, TheAccountIsWhatDuSays) {
  auto store = Open();
  Fill(store.get(), 0, 300, 100'000);
  ASSERT_TRUE(store->Sync().ok());
  EXPECT_EQ(store->bytes(), DiskUsage(path_));
  EXPECT_GE(store->bytes(), store->capacity() * 85 / 100);
  EXPECT_LE(store->ledger().peak(), store->capacity());
  EXPECT_GT(dropped_.size(), 0u);
  store->CheckInvariants();
  store.reset();
  EXPECT_LE(DiskUsage(path_), 16u << 20);
  store = Open();
  EXPECT_EQ(store->bytes(), DiskUsage(path_));
  EXPECT_EQ(Scan(store.get()), 300 - dropped_.size());
  store->CheckInvariants();
}

TEST_F(DiskStoreTest, ARecordIsFoundBeforeItIsDurableAndAfter) {
  auto store = Open();
  Fill(store.get(), 0, 3, 1000);
  EXPECT_EQ(store->stats().pending_bytes, 3000u);
  EXPECT_TRUE(Files(".sst").empty());
  EXPECT_TRUE(store->Get(Key(1)).ok());
  ASSERT_TRUE(store->Maintain().ok());
  EXPECT_TRUE(Files(".sst").empty()) << "not old enough";
  clock_.Advance(DiskStore::kSegmentAgeNanos);
  ASSERT_TRUE(store->Maintain().ok());
  EXPECT_EQ(Files(".sst").size(), 1u);
  EXPECT_EQ(store->stats().pending_bytes, 0u);
  EXPECT_EQ(store->stats().written_bytes, 3000u);
  EXPECT_EQ(store->Get(Key(1))->size(), 1000u);
}

TEST_F(DiskStoreTest, ALoweredCapacityEvictsBeforeTheStoreIsReady) {
  auto store = Open(32 << 20);
  Fill(store.get(), 0, 300, 100'000);
  store.reset();
  EXPECT_GT(DiskUsage(path_), 20u << 20);
  clock_.Advance(60'000'000'000);
  store = Open(10 << 20);
  EXPECT_LE(DiskUsage(path_), 10u << 20);
  EXPECT_GT(DiskUsage(path_), 6u << 20);
  EXPECT_EQ(Scan(store.get()) + dropped_.size(), 300u);
  EXPECT_EQ(store->stats().ages_at_eviction.sum, 60.0 * static_cast<double>(dropped_.size()));
  store->CheckInvariants();
}

TEST_F(DiskStoreTest, RefusesACapacityThatIsTooSmall) {
  const auto store = DiskStore::Open({.path = path_, .capacity = 1000, .group = kGroup, .clock = &clock_});
  EXPECT_EQ(store.status().ToString(),
            "invalid_argument: a disk cache of 1000 B is too small; it needs at least 8.0 MiB");
}

TEST_F(DiskStoreTest, ASecondStoreIsRefused) {
  auto store = Open();
  const auto second =
      DiskStore::Open({.path = path_, .capacity = 16 << 20, .group = kGroup, .clock = &clock_});
  EXPECT_EQ(second.status().code(), Code::kUnavailable);
  EXPECT_NE(second.status().message().find("in use by process " + std::to_string(getpid())),
            std::string::npos)
      << second.status().message();
  store.reset();
  store = Open();
}

TEST_F(DiskStoreTest, ALinkToTheDirectoryCountsWhatItLeadsTo) {
  Fill(Open().get(), 0, 100, 100'000);
  const std::string link = folder_.path().string() + "/link";
  std::filesystem::create_directory_symlink(path_, link);
  const auto store =
      DiskStore::Open({.path = link, .capacity = 16 << 20, .group = kGroup, .clock = &clock_}).value();
  EXPECT_EQ(store->bytes(), DiskUsage(path_));
  EXPECT_GT(store->bytes(), 9'000'000u);
}

TEST_F(DiskStoreTest, ADirectoryOfSomethingElseIsLeftAlone) {
  namespace fs = std::filesystem;
  fs::create_directories(path_ + "/www");
  std::ofstream(path_ + "/lock");
  fs::permissions(path_, fs::perms(0755));
  const DiskStoreOptions options{.path = path_, .capacity = 16 << 20, .group = kGroup, .clock = &clock_};
  EXPECT_EQ(DiskStore::Open(options).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(fs::status(path_).permissions(), fs::perms(0755));
  fs::remove(path_ + "/www");
  fs::create_directories(path_ + "/lost+found");  // of a file system
  EXPECT_TRUE(DiskStore::Open(options).ok());
}

TEST_F(DiskStoreTest, ALockThatIsALinkOrAPipeIsRefused) {
  namespace fs = std::filesystem;
  const std::string victim = folder_.path().string() + "/victim";
  std::ofstream(victim) << "precious";
  const DiskStoreOptions options{.path = path_, .capacity = 16 << 20, .group = kGroup, .clock = &clock_};
  fs::create_directories(path_);
  fs::create_symlink(victim, path_ + "/lock");
  EXPECT_EQ(DiskStore::Open(options).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(fs::file_size(victim), 8u);
  fs::remove(path_ + "/lock");
  ASSERT_EQ(::mkfifo((path_ + "/lock").c_str(), 0600), 0);
  EXPECT_EQ(DiskStore::Open(options).status().code(), Code::kIo);
  EXPECT_FALSE(LookIntoDiskFolder(path_).ok()) << "and it does not wait";
}

TEST_F(DiskStoreTest, WhatIsNoDirectoryIsAMistake) {
  std::ofstream(path_) << "precious";
  for (const std::string& path : {path_, path_ + "/below", std::string("/proc/prefixd")}) {
    const DiskStoreOptions options{.path = path, .capacity = 16 << 20, .group = kGroup, .clock = &clock_};
    const Status status = DiskStore::Open(options).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << status.ToString();
    EXPECT_NE(status.message().find(path), std::string::npos) << status.ToString();
  }
  EXPECT_EQ(std::filesystem::file_size(path_), 8u);
}

TEST_F(DiskStoreTest, AFolderSetAsideByAnotherUserIsNotOurs) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  const std::string foreign = path_ + ".damaged-1";
  std::filesystem::create_directories(foreign);
  std::ofstream(foreign + "/file") << std::string(20'000'000, 'x');
  ASSERT_EQ(::chown(foreign.c_str(), 65534, 65534), 0);
  auto store = Open();
  EXPECT_LT(store->bytes(), 1'000'000u);
  Fill(store.get(), 0, 200, 100'000);
  EXPECT_TRUE(std::filesystem::exists(foreign + "/file"));
}

TEST_F(DiskStoreTest, NobodyElseMayRead) {
  auto store = Open();
  Fill(store.get(), 0, 100, 10'000);
  ASSERT_TRUE(store->Sync().ok());
  namespace fs = std::filesystem;
  int files = 0;
  EXPECT_EQ(fs::status(path_).permissions(), fs::perms::owner_all);
  for (const auto& entry : fs::recursive_directory_iterator(path_)) {
    const fs::perms rights = entry.status().permissions();
    if (entry.is_directory()) {
      EXPECT_EQ(rights, fs::perms::owner_all) << entry.path();
    } else {
      ++files;
      EXPECT_EQ(rights, fs::perms::owner_read | fs::perms::owner_write) << entry.path();
    }
  }
  EXPECT_GT(files, 3);
}

TEST_F(DiskStoreTest, RestartsLeaveNoFiles) {
  const auto files = [this] {
    size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path_))
      count += entry.is_regular_file();
    return count;
  };
  auto store = Open();
  Fill(store.get(), 0, 10, 10'000);
  ASSERT_TRUE(store->Sync().ok());
  for (int i = 0; i < 3; ++i) {
    store = nullptr;
    store = Open();
  }
  const size_t before = files();
  for (int i = 0; i < 10; ++i) {
    store = nullptr;
    store = Open();
    EXPECT_EQ(Scan(store.get()), 10u);
    store->CheckInvariants();
  }
  EXPECT_EQ(files(), before);
}

TEST_F(DiskStoreTest, OtherGroupsAreLeftAloneAndEvictedFirst) {
  auto store = Open();
  Fill(store.get(), 0, 60, 100'000);
  store = nullptr;
  dropped_.clear();
  store = Open(16 << 20, {99, 99});
  EXPECT_EQ(Scan(store.get()), 0u) << "records of another model are not shown";
  EXPECT_FALSE(store->Get(Key(5)).ok());
  EXPECT_GT(store->stats().other_segments, 10u);
  Fill(store.get(), 1000, 1070, 100'000);
  ASSERT_TRUE(store->Sync().ok());
  EXPECT_GT(store->stats().other_segments, 0u) << "there was room for both";
  store = nullptr;
  store = Open();
  const size_t kept = Scan(store.get());
  EXPECT_EQ(kept, 60u) << "one directory serves several models";
  store = nullptr;
  store = Open(16 << 20, {99, 99});
  Fill(store.get(), 1070, 1130, 100'000);
  ASSERT_TRUE(store->Sync().ok());
  EXPECT_EQ(dropped_.size(), 0u) << "the other model's records went first";
  EXPECT_EQ(Scan(store.get()), 130u);
  store->CheckInvariants();
}

TEST_F(DiskStoreTest, RecordsExpire) {
  auto store = Open(16 << 20, kGroup, 100);
  Fill(store.get(), 0, 10, 1000);
  ASSERT_TRUE(store->Sync().ok());
  clock_.Advance(60'000'000'000);
  Fill(store.get(), 10, 20, 1000);
  ASSERT_TRUE(store->Sync().ok());
  ASSERT_TRUE(store->Maintain().ok());
  EXPECT_EQ(store->stats().records, 20u);
  clock_.Advance(40'000'000'000);
  ASSERT_TRUE(store->Maintain().ok());
  EXPECT_EQ(store->stats().records, 10u);
  EXPECT_EQ(store->stats().expired_records, 10u);
  EXPECT_FALSE(store->Get(Key(3)).ok());
  EXPECT_TRUE(store->Get(Key(13)).ok());
  ASSERT_EQ(dropped_.size(), 10u);
  for (const auto& [key, reason] : dropped_) EXPECT_EQ(reason, DropReason::kExpired);
  store->CheckInvariants();
}

TEST_F(DiskStoreTest, SmallSegmentsAreJoined) {
  auto store = Open();
  for (uint64_t n = 0; n < 70; ++n) {
    Fill(store.get(), n, n + 1, 2000);
    ASSERT_TRUE(store->Sync().ok());
    ASSERT_TRUE(store->Maintain().ok());
  }
  EXPECT_LT(store->stats().segments, 40u);
  EXPECT_EQ(store->stats().records, 70u);
  EXPECT_LE(store->stats().rewritten_bytes, 3 * store->stats().written_bytes);
  store = nullptr;
  store = Open();
  EXPECT_EQ(Scan(store.get()), 70u);
  EXPECT_TRUE(dropped_.empty());
}

TEST_F(DiskStoreTest, WhatIsUsedIsCopiedForward) {
  auto store = Open();
  // One of 20 records is used again and again, so each segment has one.
  for (uint64_t n = 0; n < 600; ++n) {
    Fill(store.get(), n, n + 1, 50'000);
    for (uint64_t hot = 0; hot < 200 && hot < n; hot += 20) ASSERT_TRUE(store->Get(Key(hot)).ok()) << n;
  }
  EXPECT_GT(store->stats().rewritten_bytes, 0u);
  EXPECT_LT(store->stats().rewritten_bytes, store->stats().written_bytes / 2);
  store->CheckInvariants();
}

TEST_F(DiskStoreTest, WhatCostsMoreStaysLonger) {
  auto store = Open();
  for (uint64_t n = 0; n < 600; ++n) {
    std::vector<StoreEntry> batch;
    batch.push_back({.key = Key(n), .record = std::string(50'000, 'x'), .cost = n % 2 == 0 ? 1000.0 : 10.0});
    ASSERT_TRUE(store->PutBatch(std::move(batch)).ok());
  }
  uint64_t dear = 0;
  uint64_t cheap = 0;
  for (uint64_t n = 0; n < 600; ++n)
    if (store->Get(Key(n)).ok()) ++(n % 2 == 0 ? dear : cheap);
  EXPECT_GT(2 * dear, 3 * cheap);
}

TEST_F(DiskStoreTest, ADeletionOutlivesEvictionAndRestart) {
  for (uint64_t seed = 0; seed < 3; ++seed) {
    SCOPED_TRACE(seed);
    std::filesystem::remove_all(path_);
    Prng random(seed);
    auto store = Open();
    std::set<uint64_t> deleted;
    for (int event = 0; event < 300; ++event) {
      const uint64_t n = random.Below(400);
      if (random.Chance(0.7)) {
        Fill(store.get(), n, n + 1, 10'000 + random.Below(80'000));
        deleted.erase(n);
      } else {
        ASSERT_TRUE(store->Delete(Key(n)).ok());
        deleted.insert(n);
      }
      if (random.Chance(0.1)) {
        ASSERT_TRUE(store->Sync().ok());
        clock_.Advance(3'000'000'000);
        ASSERT_TRUE(store->Maintain().ok());
      }
      if (random.Chance(0.03)) {
        store = nullptr;
        store = Open();
        if (random.Chance(0.7)) (void)Scan(store.get());
      }
    }
    (void)Scan(store.get());
    for (const uint64_t n : deleted) ASSERT_FALSE(store->Get(Key(n)).ok()) << n << " came back";
    store->CheckInvariants();
  }
}

TEST_F(DiskStoreTest, ADamagedDatabaseIsSetAside) {
  auto store = Open();
  Fill(store.get(), 0, 50, 100'000);
  store = nullptr;
  const std::vector<std::string> manifests = Files("CURRENT");
  ASSERT_EQ(manifests.size(), 1u);
  std::ofstream(manifests.front()) << "MANIFEST-999999\n";
  store = Open();
  EXPECT_EQ(Scan(store.get()), 0u);
  EXPECT_TRUE(std::filesystem::exists(path_ + ".damaged-1")) << "kept for whoever wants to look";
  EXPECT_GT(store->bytes(), 5'000'000u) << "it counts";
  Fill(store.get(), 0, 200, 100'000);
  EXPECT_LE(DiskUsage(path_) + DiskUsage(path_ + ".damaged-1"), 16u << 20);
  EXPECT_FALSE(std::filesystem::exists(path_ + ".damaged-1")) << "it made room";
  store->CheckInvariants();
}

TEST_F(DiskStoreTest, ADamagedSegmentLosesItsRecordsAlone) {
  auto store = Open();
  Fill(store.get(), 0, 50, 100'000);
  store = nullptr;
  const std::vector<std::string> tables = Files(".sst");
  ASSERT_GT(tables.size(), 5u);
  std::filesystem::resize_file(tables[1], 1000);
  std::filesystem::remove(tables[3]);
  store = Open();
  const size_t found = Scan(store.get());
  EXPECT_GT(found, 30u);
  EXPECT_LT(found, 50u);
  EXPECT_EQ(store->stats().damaged_segments, 2u);
  size_t whole = 0;
  for (uint64_t n = 0; n < 50; ++n) {
    const auto record = store->Get(Key(n));
    if (!record.ok()) continue;
    ++whole;
    EXPECT_EQ(*record, std::string(100'000, static_cast<char>(n)));
  }
  EXPECT_EQ(whole, found);
  Fill(store.get(), 100, 300, 100'000);
  EXPECT_EQ(store->bytes(), DiskUsage(path_));
  store->CheckInvariants();
}

TEST_F(DiskStoreTest, ADamagedRecordIsDroppedAndTold) {
  auto store = Open();
  Fill(store.get(), 0, 2, 100'000);
  store = nullptr;
  const std::vector<std::string> tables = Files(".sst");
  ASSERT_EQ(tables.size(), 1u);
  {
    std::fstream file(tables.front(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(50'000);
    file.put('!');
  }
  store = Open();
  EXPECT_EQ(Scan(store.get()), 2u);
  EXPECT_TRUE(store->Contains(Key(0))) << "that it is damaged is not known yet";
  EXPECT_EQ(store->Get(Key(0)).status().code(), Code::kCorrupt);
  EXPECT_FALSE(store->Contains(Key(0)));
  EXPECT_EQ(store->Get(Key(0)).status().code(), Code::kNotFound);
  EXPECT_TRUE(store->Get(Key(1)).ok());
  EXPECT_EQ(store->stats().lost_records, 1u);
  ASSERT_EQ(dropped_.size(), 1u);
  EXPECT_EQ(dropped_.front(), std::pair(Key(0), DropReason::kLost));
  store = nullptr;
  store = Open();
  EXPECT_EQ(Scan(store.get()), 1u) << "it does not come back";
}

}  // namespace
}  // namespace prefixd
