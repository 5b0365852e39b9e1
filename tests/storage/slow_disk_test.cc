// The disk with a bandwidth that prefixd_fault has (tests/support/slow_disk.h), by a clock that tests move;
// and how many bytes the disk store reads for a record, which is what the bandwidth is divided by.
#include "tests/support/slow_disk.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "storage/disk_store.h"
#include "tests/support/temp_dir.h"

namespace prefixd::testing_support {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kSecond = 1'000'000'000;

// Counts calls, and fails reads when told to.
class Recorder final : public FileObserver {
 public:
  Status Before(const FileCall&, uint64_t* part) override {
    ++before;
    *part = 7;
    return fails ? IoError("told to fail") : Status::Ok();
  }
  void AfterRead(const FileCall&, std::span<char>) override { ++after_read; }
  void After(const FileCall&) override { ++after; }
  bool fails = false;
  int before = 0, after_read = 0, after = 0;
};

class SlowDiskTest : public testing::Test {
 protected:
  // Replaces the file. Its modification time is `age` seconds ago.
  void Say(const std::string& line, int64_t age = 1000) {
    const std::string other = file_ + ".new";
    std::ofstream(other) << line;
    fs::last_write_time(other, fs::file_time_type::clock::now() - std::chrono::seconds(age) +
                                   std::chrono::nanoseconds(++said_));
    fs::rename(other, file_);
  }
  Status Read(SlowDisk* disk, uint64_t bytes) { return Call(disk, FileOperation::kRead, bytes); }
  Status Call(SlowDisk* disk, FileOperation operation, uint64_t bytes) {
    uint64_t part = bytes;
    return disk->Before({operation, file_, file_, 0, bytes}, &part);
  }
  // Whoever waits moves the clock.
  SlowDisk::Wait Wait() {
    return [this](int64_t nanos) {
      ends_.push_back(nanos);
      clock_.Advance(nanos - clock_.NowNanos());
    };
  }
  // Notes the end, and leaves the clock alone, as if another thread waited.
  SlowDisk::Wait Note() {
    return [this](int64_t nanos) { ends_.push_back(nanos); };
  }

  const TempDir folder_{"/dev/shm"};
  const std::string file_ = folder_.path().string() + "/speed";
  ManualClock clock_;
  std::vector<int64_t> ends_;
  int said_ = 0;
};

TEST(ParseDiskSpeed, TakesThreeNumbersAndNothingElse) {
  const auto speed = ParseDiskSpeed("2.5e6 0.001  5 ");
  ASSERT_TRUE(speed.ok());
  EXPECT_EQ(speed->bytes_per_second, 2.5e6);
  EXPECT_EQ(speed->latency, 0.001);
  EXPECT_EQ(speed->hang, 5);
  EXPECT_TRUE(ParseDiskSpeed("0 0 0").ok());
  for (const char* line :
       {"", "1e6", "1e6 0", "1e6 0 0 0", "1e6 0 x", "1e6,0,0", "-1e6 0 0", "999 0 0", "nan 0 0", "inf 0 0",
        "1e6 -1 0", "1e6 nan 0", "1e6 0 3601", "1e16 0 0", "1e999 0 0"}) {
    EXPECT_EQ(ParseDiskSpeed(line).status().code(), Code::kInvalidArgument) << line;
  }
}

TEST_F(SlowDiskTest, ReadsShareTheBandwidthAndOverlapTheirLatency) {
  Say("1e6 0.002 0");
  SlowDisk disk(file_, &clock_, Note(), nullptr);
  ASSERT_TRUE(disk.Load().ok());
  clock_.Advance(kSecond);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Read(&disk, 10'000).ok());  // 10 ms each
  EXPECT_EQ(ends_, (std::vector<int64_t>{kSecond + 12 * kMillisecond, kSecond + 22 * kMillisecond,
                                         kSecond + 32 * kMillisecond}));
  ends_.clear();
  clock_.Advance(kSecond);  // the disk is idle again
  ASSERT_TRUE(Read(&disk, 5'000).ok());
  EXPECT_EQ(ends_, (std::vector<int64_t>{2 * kSecond + 7 * kMillisecond}));
  EXPECT_EQ(disk.reads(), 4u);
  EXPECT_EQ(disk.read_bytes(), 35'000u);
}

TEST_F(SlowDiskTest, OnlyReadsTakeTime) {
  Say("1e6 0.002 100", 0);
  SlowDisk disk(file_, &clock_, Note(), nullptr);
  ASSERT_TRUE(disk.Load().ok());
  for (const FileOperation operation : {FileOperation::kCreate, FileOperation::kOpen, FileOperation::kAppend,
                                        FileOperation::kSync, FileOperation::kDelete}) {
    ASSERT_TRUE(Call(&disk, operation, 1'000'000).ok());
  }
  EXPECT_TRUE(ends_.empty());
  EXPECT_EQ(disk.read_bytes(), 0u);
}

TEST_F(SlowDiskTest, AnotherFileIsAnotherSpeedAfterTenMilliseconds) {
  Say("1e6 0 0");
  SlowDisk disk(file_, &clock_, Wait(), nullptr);
  ASSERT_TRUE(disk.Load().ok());
  Say("1e5 0 0");
  ASSERT_TRUE(Read(&disk, 1'000).ok());
  EXPECT_EQ(clock_.NowNanos(), kMillisecond) << "not checked yet";
  clock_.Advance(9 * kMillisecond);
  ASSERT_TRUE(Read(&disk, 1'000).ok());
  EXPECT_EQ(clock_.NowNanos(), 20 * kMillisecond);
  for (const char* line : {"", "nonsense", "1e5 0"}) {
    Say(line);
    const int64_t before = clock_.NowNanos();
    ASSERT_TRUE(Read(&disk, 1'000).ok());
    EXPECT_EQ(clock_.NowNanos() - before, 10 * kMillisecond) << "as before: " << line;
  }
  fs::remove(file_);
  const int64_t before = clock_.NowNanos();
  ASSERT_TRUE(Read(&disk, 1'000).ok());
  EXPECT_EQ(clock_.NowNanos() - before, 10 * kMillisecond);
  Say("0 1 0");
  clock_.Advance(10 * kMillisecond);
  ends_.clear();
  ASSERT_TRUE(Read(&disk, 1'000'000'000).ok());
  EXPECT_TRUE(ends_.empty()) << "no limit, no latency";
}

TEST_F(SlowDiskTest, AHangLastsFromTheModificationOfTheFile) {
  Say("0 0 1000", 400);
  SlowDisk disk(file_, &clock_, Wait(), nullptr);
  ASSERT_TRUE(disk.Load().ok());
  ASSERT_TRUE(Read(&disk, 1).ok());
  ASSERT_EQ(ends_.size(), 1u);
  EXPECT_GT(ends_[0], 300 * kSecond);  // 600, unless the test itself takes minutes
  EXPECT_LE(ends_[0], 601 * kSecond);
  ASSERT_TRUE(Read(&disk, 1).ok());
  EXPECT_EQ(ends_.size(), 1u) << "it is over";
  Say("0 0 1000", 2000);
  clock_.Advance(10 * kMillisecond);
  ASSERT_TRUE(Read(&disk, 1).ok());
  EXPECT_EQ(ends_.size(), 1u) << "it was over before the file was read";
}

TEST_F(SlowDiskTest, TheOtherObserverIsAskedAfterTheWait) {
  Say("1e6 0 0");
  Recorder next;
  SlowDisk disk(file_, &clock_, Wait(), &next);
  ASSERT_TRUE(disk.Load().ok());
  uint64_t part = 1'000;
  EXPECT_TRUE(disk.Before({FileOperation::kRead, file_, file_, 0, 1'000}, &part).ok());
  EXPECT_EQ(part, 7u);
  char data[3] = {};
  disk.AfterRead({FileOperation::kRead, file_, file_, 0, 1'000}, data);
  disk.After({FileOperation::kSync, file_, file_, 0, 0});
  next.fails = true;
  EXPECT_EQ(Read(&disk, 1'000).code(), Code::kIo);
  EXPECT_EQ(clock_.NowNanos(), 2 * kMillisecond) << "an error takes its time as well";
  EXPECT_EQ(next.before, 2);
  EXPECT_EQ(next.after_read, 1);
  EXPECT_EQ(next.after, 1);
}

TEST_F(SlowDiskTest, AFileThatSaysNoSpeedIsAnError) {
  SlowDisk disk(file_, &clock_, Wait(), nullptr);
  EXPECT_EQ(disk.Load().code(), Code::kIo);
  Say("fast");
  EXPECT_EQ(disk.Load().code(), Code::kInvalidArgument);
}

// The bandwidth at which loading a record is as fast as computing it follows from this.
TEST_F(SlowDiskTest, AStoreReadsLittleMoreThanTheRecord) {
  Say("0 0 0");
  SlowDisk disk(file_, &clock_, Note(), nullptr);
  ASSERT_TRUE(disk.Load().ok());
  const auto store = DiskStore::Open({.path = folder_.path().string() + "/cache",
                                      .capacity = 8 * kMinDiskCapacity,
                                      .group = {11, 12},
                                      .clock = &clock_,
                                      .on_drop = [](const BlockKey&, DropReason) {},
                                      .observer = &disk});
  ASSERT_TRUE(store.ok()) << store.status().ToString();
  constexpr uint64_t kRecords = 10;
  constexpr uint64_t kBytes = 368'640;  // 16 tokens of 30 layers, 3 heads of 64, K and V of 2 bytes
  const auto key = [](uint64_t n) { return BlockKey{.low = n + 1, .high = n + 2}; };
  for (uint64_t n = 0; n < kRecords; ++n)
    ASSERT_TRUE((*store)->Put(key(n), std::string(kBytes, static_cast<char>(n))).ok());
  ASSERT_TRUE((*store)->Sync().ok());
  for (uint64_t n = 0; n < kRecords; ++n) ASSERT_TRUE((*store)->Get(key(n)).ok());  // opens the tables
  const uint64_t reads = disk.reads();
  const uint64_t bytes = disk.read_bytes();
  for (uint64_t n = 0; n < kRecords; ++n) ASSERT_TRUE((*store)->Get(key(n)).ok());
  const uint64_t each = (disk.read_bytes() - bytes) / kRecords;
  EXPECT_GE(each, kBytes);
  EXPECT_LE(each, kBytes + (16u << 10));
  RecordProperty("bytes_read_per_record", std::to_string(each));
  RecordProperty("reads_per_record", std::to_string((disk.reads() - reads) / kRecords));
}

}  // namespace
}  // namespace prefixd::testing_support
