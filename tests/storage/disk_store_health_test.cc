// The disk store while its medium cannot be written, is damaged, or is taken away, and what it costs others
// meanwhile: steps under its lock, tries, reads, RAM.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/prng.h"
#include "storage/disk_store.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;

using testing_support::FaultyDisk;

constexpr uint64_t kRecordBytes = 50'000;
// A slice of records takes a few steps for each.
constexpr uint64_t kMostWork = 8 * DiskStore::kSlice;

// A file system that was mounted read-only, or became so.
class ReadOnlyDisk final : public FileObserver {
 public:
  Status Before(const FileCall& call, uint64_t*) override {
    const bool reads = call.operation == FileOperation::kRead || call.operation == FileOperation::kOpen;
    if (reads || !read_only) return Status::Ok();
    ++refused;
    return IoError("read-only file system");
  }
  void AfterRead(const FileCall&, std::span<char>) override {}
  void After(const FileCall&) override {}
  std::atomic<bool> read_only{false};
  std::atomic<int> refused{0};
};

// Fails where a segment becomes a part of the database, so that this may be half changed.
class NoLinks final : public FileObserver {
 public:
  Status Before(const FileCall& call, uint64_t*) override {
    return on && call.operation == FileOperation::kLink ? IoError("no links") : Status::Ok();
  }
  void AfterRead(const FileCall&, std::span<char>) override {}
  void After(const FileCall&) override {}
  std::atomic<bool> on{false};
};

// Counts reads of at least `bytes`.
class LargeReads final : public FileObserver {
 public:
  Status Before(const FileCall& call, uint64_t*) override {
    if (call.operation == FileOperation::kRead && call.bytes >= bytes) ++count;
    return Status::Ok();
  }
  void AfterRead(const FileCall&, std::span<char>) override {}
  void After(const FileCall&) override {}
  std::atomic<uint64_t> bytes{UINT64_MAX};
  std::atomic<int> count{0};
};

class DiskStoreHealth : public testing::Test {
 protected:
  void SetUp() override {
    SetLogSink([](LogLevel, std::string_view, std::initializer_list<LogField>) {});
  }
  Result<std::unique_ptr<DiskStore>> TryOpen(FileObserver* observer, int64_t max_age = 0) {
    return DiskStore::Open({.path = path_,
                            .capacity = kMinDiskCapacity,
                            .group = {11, 12},
                            .max_age_seconds = max_age,
                            .clock = &clock_,
                            .on_drop = [this](const BlockKey&, DropReason reason) { ++told_[reason]; },
                            .observer = observer});
  }
  std::unique_ptr<DiskStore> Open(FileObserver* observer = nullptr, int64_t max_age = 0) {
    auto store = TryOpen(observer, max_age);
    PREFIXD_CHECK(store.ok()) << store.status().ToString();
    return std::move(*store);
  }
  static BlockKey Key(uint64_t n) { return {.low = SplitMix64(n), .high = SplitMix64(~n)}; }
  static Status Put(DiskStore* store, uint64_t n, size_t bytes = kRecordBytes) {
    return store->Put(Key(n), std::string(bytes, static_cast<char>(n)));
  }
  // Puts records [begin, end) and makes them durable.
  static void Fill(DiskStore* store, uint64_t begin, uint64_t end, size_t bytes = kRecordBytes) {
    for (uint64_t n = begin; n < end; ++n) ASSERT_TRUE(Put(store, n, bytes).ok()) << n;
    ASSERT_TRUE(store->Sync().ok());
  }
  static size_t Scan(DiskStore* store) {
    size_t visited = 0;
    EXPECT_TRUE(store->Scan([&](const BlockKey&, std::string_view) { return ++visited > 0; }).ok());
    return visited;
  }
  void Wait(int64_t nanos) { clock_.Advance(nanos); }
  // The store has noticed that it can do no more, and says so from every call that writes.
  void ExpectNeedsReopen(DiskStore* store) {
    EXPECT_EQ(store->Maintain().code(), Code::kUnavailable);
    ASSERT_TRUE(store->NeedsReopen());
    EXPECT_EQ(Put(store, 1).code(), Code::kUnavailable);
    EXPECT_EQ(store->Sync().code(), Code::kUnavailable);
    EXPECT_TRUE(store->stats().writing_fails);
    EXPECT_NE(store->stats().last_write_error, "");
    store->CheckInvariants();
  }
  // A store that is opened now works.
  void ExpectWorks() {
    const auto store = Open();
    (void)Scan(store.get());
    Fill(store.get(), 500, 510);
    EXPECT_TRUE(store->Get(Key(505)).ok());
    EXPECT_FALSE(store->NeedsReopen());
    store->CheckInvariants();
  }

  const testing_support::TempDir folder_{"/dev/shm"};
  const std::string path_ = folder_.path().string() + "/cache";
  ManualClock clock_;
  std::map<DropReason, uint64_t> told_;
};

// Whatever is done to segments of thousands of records, the lock that Contains takes is held for few at once.
TEST_F(DiskStoreHealth, NoCallHoldsTheLockForManyRecords) {
  FaultyDisk disk(path_, 1);
  auto store = Open(&disk, 1000);
  Fill(store.get(), 0, 50'000, 100);
  EXPECT_GT(told_[DropReason::kEvicted], 5000u);
  EXPECT_GT(store->stats().records / store->stats().segments, 4 * kMostWork) << "of one segment";
  EXPECT_LE(store->stats().most_work, kMostWork) << "writing and eviction";
  store = nullptr;
  store = Open(&disk, 1000);
  EXPECT_GT(Scan(store.get()), 10'000u);
  for (uint64_t n = 49'000; n < 51'000; ++n) ASSERT_TRUE(Put(store.get(), n, 100).ok());
  for (uint64_t n = 40'000; n < 42'000; ++n) ASSERT_TRUE(store->Delete(Key(n)).ok());
  EXPECT_GT(Scan(store.get()), 10'000u) << "with records in RAM";
  EXPECT_LE(store->stats().most_work, kMostWork) << "scans";
  disk.SetRates({.disk_full = 1});
  EXPECT_FALSE(store->Sync().ok());
  EXPECT_EQ(told_[DropReason::kLost], 2000u);
  disk.Heal();
  ASSERT_TRUE(store->Sync().ok());
  EXPECT_LE(store->stats().most_work, kMostWork) << "a failed write";
  Wait(1000'000'000'000);
  ASSERT_TRUE(store->Maintain().ok());
  EXPECT_GT(told_[DropReason::kExpired], 10'000u);
  EXPECT_EQ(store->stats().records, 0u);
  EXPECT_LE(store->stats().most_work, kMostWork) << "expiry";
  store->CheckInvariants();
}

// Not even records without content can make a segment that takes long.
TEST_F(DiskStoreHealth, ASegmentHasALimitedNumberOfRecords) {
  const auto store = Open();
  constexpr uint64_t kMost = kMinDiskCapacity / 2048;
  static_assert(kMost < DiskStore::kMostRecords);
  for (uint64_t n = 0; n < kMost; ++n) ASSERT_TRUE(Put(store.get(), n, 1).ok());
  EXPECT_EQ(store->stats().segments, 0u);
  ASSERT_TRUE(Put(store.get(), kMost, 1).ok());
  EXPECT_EQ(store->stats().segments, 1u);
  EXPECT_EQ(store->stats().pending_bytes, 1u);
  store->CheckInvariants();
}

TEST_F(DiskStoreHealth, EvictionReadsADirectoryOnce) {
  LargeReads reads;
  const auto store = Open(&reads, 1000);
  Fill(store.get(), 0, 2000, 100);
  reads.bytes = DirectoryBytes(1999, 0) / 2;
  ASSERT_EQ(store->stats().segments, 1u);
  EXPECT_EQ(Scan(store.get()), 2000u);
  EXPECT_EQ(reads.count, 1) << "this is how a directory is read";
  Wait(1000'000'000'000);
  ASSERT_TRUE(store->Maintain().ok());
  EXPECT_EQ(store->stats().segments, 0u);
  EXPECT_EQ(reads.count, 2);
}

TEST_F(DiskStoreHealth, MaintainTouchesNoFileWithoutWork) {
  FaultyDisk disk(path_, 1);
  const auto store = Open(&disk, 1000);
  for (uint64_t n = 0; n < 20; ++n) Fill(store.get(), n, n + 1, 1000);
  ASSERT_TRUE(store->Maintain().ok());
  ASSERT_TRUE(Put(store.get(), 100).ok());
  const uint64_t before = disk.operations();
  for (int i = 0; i < 7; ++i) {
    Wait(200'000'000);
    ASSERT_TRUE(store->Maintain().ok());
  }
  EXPECT_EQ(disk.operations(), before);
  EXPECT_EQ(store->stats().pending_bytes, kRecordBytes);
  Wait(200'000'000);
  ASSERT_TRUE(store->Maintain().ok());
  EXPECT_EQ(store->stats().pending_bytes, 0u) << "durable before two seconds are over";
}

// Puts for as long as the medium fails: tries are rare, RAM is bounded, everything lost is told, what lies on
// the disk is still read; and without a further call but Maintain it works again.
TEST_F(DiskStoreHealth, AFullDiskIsTriedOnceASecond) {
  FaultyDisk disk(path_, 1);
  const auto store = Open(&disk);
  Fill(store.get(), 0, 20);
  disk.SetRates({.disk_full = 1});
  const uint64_t segment = DiskStore::SegmentBytes(kMinDiskCapacity);
  uint64_t accepted = 0;
  uint64_t refused = 0;
  constexpr int kSeconds = 20;
  for (uint64_t n = 0; n < kSeconds * 50; ++n) {
    const Status put = Put(store.get(), 1000 + n);
    ++(put.ok() ? accepted : refused);
    EXPECT_NE(put.ok(), !put.message().empty());
    (void)store->Maintain();
    EXPECT_LE(store->stats().pending_bytes, segment);
    Wait(20'000'000);
  }
  const DiskStoreStats stats = store->stats();
  EXPECT_GE(stats.failed_writes, 5u);
  EXPECT_LE(stats.failed_writes, kSeconds + 1u);
  EXPECT_GT(refused, accepted);
  EXPECT_TRUE(stats.writing_fails);
  EXPECT_NE(stats.last_write_error.find("resource_exhausted"), std::string::npos) << stats.last_write_error;
  EXPECT_EQ(stats.lost_records, told_[DropReason::kLost]);
  EXPECT_EQ(stats.lost_records + stats.pending_bytes / kRecordBytes, accepted);
  EXPECT_FALSE(store->NeedsReopen());
  for (uint64_t n = 0; n < 20; ++n) EXPECT_TRUE(store->Get(Key(n)).ok()) << n;
  disk.Heal();
  Wait(DiskStore::kRetryNanos);
  ASSERT_TRUE(store->Maintain().ok());
  EXPECT_FALSE(store->stats().writing_fails);
  Fill(store.get(), 100, 110);
  store->CheckInvariants();
}

TEST_F(DiskStoreHealth, AReadOnlyDiskIsReadAndWorksAgain) {
  ReadOnlyDisk disk;
  auto store = Open(&disk);
  Fill(store.get(), 0, 20);
  disk.read_only = true;
  ASSERT_TRUE(Put(store.get(), 100).ok());
  EXPECT_FALSE(store->Sync().ok());
  const int refused = disk.refused;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(Put(store.get(), 101).code(), Code::kUnavailable);
    EXPECT_TRUE(store->Maintain().ok());
  }
  EXPECT_EQ(disk.refused, refused) << "there is no try before its time";
  for (int i = 0; i < 5; ++i) {
    Wait(DiskStore::kRetryNanos);
    ASSERT_TRUE(Put(store.get(), 200 + i).ok()) << "the first one after a while may try";
    EXPECT_FALSE(store->Maintain().ok());
    for (uint64_t n = 0; n < 20; ++n) EXPECT_TRUE(store->Get(Key(n)).ok()) << n;
  }
  EXPECT_EQ(told_[DropReason::kLost], 6u);
  disk.read_only = false;
  Wait(DiskStore::kRetryNanos);
  ASSERT_TRUE(store->Maintain().ok());
  for (uint64_t n = 0; n < 20; ++n) EXPECT_TRUE(store->Get(Key(n)).ok()) << n;
  Fill(store.get(), 100, 110);
  store->CheckInvariants();
}

TEST_F(DiskStoreHealth, FailedReadsAreCounted) {
  FaultyDisk disk(path_, 1);
  const auto store = Open(&disk);
  Fill(store.get(), 0, 3);
  EXPECT_EQ(store->stats().failed_reads, 0u);
  disk.FailFrom(0, UINT64_MAX, Code::kIo);
  EXPECT_EQ(store->Get(Key(1)).status().code(), Code::kIo);
  EXPECT_EQ(store->stats().failed_reads, 1u);
  EXPECT_NE(store->stats().last_read_error.find("io"), std::string::npos) << store->stats().last_read_error;
  EXPECT_FALSE(store->stats().writing_fails);
  disk.Heal();
  EXPECT_TRUE(store->Get(Key(1)).ok());
}

TEST_F(DiskStoreHealth, ARemovedDirectoryIsNoticed) {
  auto store = Open();
  Fill(store.get(), 0, 20);
  ASSERT_TRUE(Put(store.get(), 100).ok());
  fs::remove_all(path_);
  ExpectNeedsReopen(store.get());
  (void)store->Get(Key(3));
  store = nullptr;
  EXPECT_EQ(told_[DropReason::kLost], 1u) << "what was pending";
  EXPECT_FALSE(fs::exists(path_)) << "nothing was written";
  ExpectWorks();
}

TEST_F(DiskStoreHealth, AnotherDirectoryInItsPlaceIsLeftAlone) {
  auto store = Open();
  Fill(store.get(), 0, 20);
  ASSERT_TRUE(Put(store.get(), 100).ok());
  fs::rename(path_, path_ + "-moved");
  fs::create_directories(path_);
  EXPECT_EQ(store->Sync().code(), Code::kUnavailable);
  ExpectNeedsReopen(store.get());
  store = nullptr;
  EXPECT_TRUE(fs::is_empty(path_));
  ExpectWorks();
  fs::remove_all(path_);
  fs::rename(path_ + "-moved", path_);
  store = Open();
  EXPECT_EQ(Scan(store.get()), 20u) << "as it was";
}

TEST_F(DiskStoreHealth, ARemovedDatabaseIsNoticed) {
  auto store = Open();
  Fill(store.get(), 0, 20);
  fs::remove_all(path_ + "/segments-1");
  ExpectNeedsReopen(store.get());
  store = nullptr;
  ExpectWorks();
}

// What was damaged meanwhile is found by the first try after a failure.
TEST_F(DiskStoreHealth, ADamagedDatabaseIsSetAsideByAnotherOpening) {
  NoLinks disk;
  auto store = Open(&disk);
  Fill(store.get(), 0, 20);
  std::ofstream(path_ + "/segments-1/CURRENT") << "MANIFEST-999999\n";
  disk.on = true;
  ASSERT_TRUE(Put(store.get(), 100).ok());
  EXPECT_FALSE(store->Sync().ok());
  EXPECT_FALSE(store->NeedsReopen());
  disk.on = false;
  Wait(DiskStore::kRetryNanos);
  ExpectNeedsReopen(store.get());
  store = nullptr;
  ExpectWorks();
  EXPECT_TRUE(fs::exists(path_ + ".damaged-1"));
}

// Segments that are gone would be found missing one record at a time.
TEST_F(DiskStoreHealth, ADatabaseThatLostItsSegmentsIsNoticed) {
  NoLinks disk;
  auto store = Open(&disk);
  Fill(store.get(), 0, 20);
  for (const auto& entry : fs::directory_iterator(path_ + "/segments-1"))
    if (entry.is_regular_file()) fs::remove(entry.path());
  disk.on = true;
  ASSERT_TRUE(Put(store.get(), 100).ok());
  EXPECT_FALSE(store->Sync().ok());
  disk.on = false;
  Wait(DiskStore::kRetryNanos);
  ExpectNeedsReopen(store.get());
  store = nullptr;
  ExpectWorks();
}

}  // namespace
}  // namespace prefixd
