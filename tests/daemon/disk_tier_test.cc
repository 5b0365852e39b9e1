// The disk tier on a medium that hangs, and while its store is closed and opened again. The store itself is
// tested in tests/storage.
#include "daemon/disk_tier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

using testing::HasSubstr;

// Operations of one kind wait until they are released, and then end as they are told.
class HangingDisk final : public FileObserver {
 public:
  void Hold(FileOperation operation) {
    MutexLock lock(mutex_);
    held_ = operation;
    holds_ = true;
  }
  void Release(Status result = Status::Ok()) {
    MutexLock lock(mutex_);
    result_ = std::move(result);
    holds_ = false;
    changed_.NotifyAll();
  }
  int waiting() const {
    MutexLock lock(mutex_);
    return waiting_;
  }
  Status Before(const FileCall& call, uint64_t*) override {
    MutexLock lock(mutex_);
    if (!holds_ || call.operation != held_) return Status::Ok();
    ++waiting_;
    while (holds_) changed_.Wait(mutex_);
    --waiting_;
    return result_;
  }
  void AfterRead(const FileCall&, std::span<char>) override {}
  void After(const FileCall&) override {}

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  FileOperation held_ GUARDED_BY(mutex_) = FileOperation::kRead;
  bool holds_ GUARDED_BY(mutex_) = false;
  int waiting_ GUARDED_BY(mutex_) = 0;
  Status result_ GUARDED_BY(mutex_);
};

// Notes whether a thread in the background has asked for the time.
class NotingClock final : public Clock {
 public:
  int64_t NowNanos() const override {
    if (sched_getscheduler(0) == SCHED_BATCH) background_ = true;
    return clock_.NowNanos();
  }
  int64_t UnixSeconds() const override { return clock_.UnixSeconds(); }
  bool background() const { return background_; }

 private:
  const SystemClock clock_;
  mutable std::atomic<bool> background_{false};
};

class DiskTierTest : public testing::Test {
 protected:
  void SetUp() override {
    SetLogLevel(LogLevel::kInfo);
    SetLogSink([this](LogLevel, std::string_view message, std::initializer_list<LogField>) {
      MutexLock lock(mutex_);
      logged_.emplace_back(message);
      if (message == "the disk cache is scanned") scan_policy_ = sched_getscheduler(0);
    });
  }
  void TearDown() override {
    disk_.Release();
    tier_ = nullptr;
    SetLogSink([](LogLevel, std::string_view, std::initializer_list<LogField>) {});
  }
  void Open() {
    auto tier = DiskTier::Create(
        {.path = path_, .capacity = kMinDiskCapacity, .group = {1, 2}, .clock = &clock_, .observer = &disk_});
    PREFIXD_CHECK(tier.ok()) << tier.status().ToString();
    tier_ = *std::move(tier);
    WaitUntil([&] { return Logged("the disk cache is scanned"); });  // no read but those of the test
  }
  static BlockKey Key(uint64_t n) { return {.low = n, .high = ~n}; }
  Status Put(uint64_t n) { return tier_->Put(Key(n), std::string(50'000, static_cast<char>(n))); }
  bool Logged(std::string_view message) {
    MutexLock lock(mutex_);
    return std::find(logged_.begin(), logged_.end(), message) != logged_.end();
  }
  std::string failure() const { return tier_->stats().failure; }
  static void WaitUntil(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (!done()) {
      PREFIXD_CHECK(std::chrono::steady_clock::now() < deadline);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  const testing_support::TempDir folder_{"/dev/shm"};
  const std::string path_ = folder_.path().string() + "/cache";
  NotingClock clock_;
  HangingDisk disk_;
  std::unique_ptr<DiskTier> tier_;
  Mutex mutex_;
  std::vector<std::string> logged_ GUARDED_BY(mutex_);
  int scan_policy_ GUARDED_BY(mutex_) = -1;  // of the thread that scanned, then
};

constexpr char kFails[] = "the disk cache fails; requests are served without it";
constexpr char kWorks[] = "the disk cache works again";

// What a scan has not found yet is computed again, so it does not wait for the processors to be idle.
TEST_F(DiskTierTest, MaintenanceIsInTheBackgroundButNotTheFirstScan) {
  Open();
  {
    MutexLock lock(mutex_);
    EXPECT_EQ(scan_policy_, SCHED_OTHER);
  }
  WaitUntil([&] { return clock_.background(); });
}

TEST_F(DiskTierTest, AReadThatHangsIsAFailureUntilItEnds) {
  Open();
  ASSERT_TRUE(Put(1).ok());
  ASSERT_TRUE(tier_->Sync().ok());
  disk_.Hold(FileOperation::kRead);
  std::thread reader([this] { EXPECT_TRUE(tier_->Get(Key(1)).ok()); });
  WaitUntil([&] { return disk_.waiting() == 1; });
  WaitUntil([&] { return !failure().empty(); });
  EXPECT_THAT(failure(), HasSubstr("a read has taken "));
  WaitUntil([&] { return Logged(kFails); });
  EXPECT_FALSE(Logged(kWorks));
  disk_.Release();
  reader.join();
  WaitUntil([&] { return failure().empty(); });
  WaitUntil([&] { return Logged(kWorks); });
}

// The thread that maintains the store hangs then; another one tells it.
TEST_F(DiskTierTest, AWriteThatHangsIsAFailureUntilItEnds) {
  Open();
  disk_.Hold(FileOperation::kAppend);
  ASSERT_TRUE(Put(1).ok());
  WaitUntil([&] { return disk_.waiting() == 1; });
  WaitUntil([&] { return !failure().empty(); });
  EXPECT_THAT(failure(), HasSubstr("a write has taken "));
  WaitUntil([&] { return Logged(kFails); });
  disk_.Release();
  WaitUntil([&] { return failure().empty(); });
  WaitUntil([&] { return Logged(kWorks); });
  EXPECT_EQ(tier_->stats().store.failed_writes, 0u);
  EXPECT_TRUE(tier_->Get(Key(1)).ok());
}

TEST_F(DiskTierTest, WhatAClosedStoreStillCountsIsNotLost) {
  Open();
  ASSERT_TRUE(Put(1).ok());
  ASSERT_TRUE(tier_->Sync().ok());
  disk_.Hold(FileOperation::kRead);
  std::thread reader([this] { EXPECT_FALSE(tier_->Get(Key(1)).ok()); });
  WaitUntil([&] { return disk_.waiting() == 1; });
  ASSERT_TRUE(Put(2).ok());  // never becomes durable
  std::filesystem::remove_all(path_);
  WaitUntil([&] { return tier_->Delete(Key(3)).code() == Code::kUnavailable; });
  EXPECT_EQ(tier_->stats().store.failed_reads, 0u);
  EXPECT_EQ(tier_->stats().store.lost_records, 0u);
  disk_.Release(IoError("it is gone"));
  reader.join();
  disk_.Release();
  // The sums never fall meanwhile.
  uint64_t reads = 0, lost = 0;
  WaitUntil([&] {
    const DiskStoreStats now = tier_->stats().store;
    EXPECT_GE(now.failed_reads, reads);
    EXPECT_GE(now.lost_records, lost);
    reads = now.failed_reads;
    lost = now.lost_records;
    return Put(4).ok();  // into another store
  });
  EXPECT_EQ(reads, 1u);
  EXPECT_EQ(lost, 1u);
  EXPECT_TRUE(tier_->Delete(Key(3)).ok());
}

}  // namespace
}  // namespace prefixd
