#include "storage/segment_db.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "base/prng.h"
#include "tests/support/disk_usage.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

using testing_support::DiskUsage;

class SegmentDbTest : public testing::Test {
 protected:
  SegmentDbTest() { Open(); }
  void Open() {
    db_ = nullptr;
    ASSERT_TRUE(ledger_.Measure(path_).ok());
    auto db = OpenRocksdb({.path = path_, .max_segments = 100, .ledger = &ledger_});
    ASSERT_TRUE(db.ok()) << db.status().ToString();
    db_ = std::move(*db);
  }
  Status Add(uint32_t number, const std::vector<std::string>& records, std::string_view directory) {
    const std::vector<std::string_view> views(records.begin(), records.end());
    return db_->Add(number, views, directory);
  }

  const testing_support::TempDir folder_;
  const std::string path_ = folder_.path().string();
  ByteLedger ledger_{uint64_t{64} << 20};
  std::unique_ptr<SegmentDb> db_;
};

TEST_F(SegmentDbTest, ASegmentTakesAtMostItsBound) {
  Prng random(1);
  uint32_t number = 0;
  for (const size_t most : {0, 1, 30, 200, 5000, 100'000}) {
    for (const size_t count : {0, 1, 7, 300}) {
      std::vector<std::string> records(most > 5000 ? count % 32 : count);
      uint64_t bytes = 0;
      for (std::string& record : records) {
        record.assign(random.Below(most + 1), static_cast<char>(random.Below(256)));
        bytes += record.size();
      }
      const std::string directory(random.Below(3000), 'd');
      const uint64_t before = DiskUsage(path_);
      ASSERT_TRUE(Add(++number, records, directory).ok());
      EXPECT_LE(DiskUsage(path_) - before, db_->Bound(records.size(), bytes, directory.size()))
          << records.size() << " records of at most " << most;
      EXPECT_EQ(ledger_.used(), DiskUsage(path_));
      for (uint32_t i = 0; i < records.size(); ++i) ASSERT_EQ(*db_->Read(number, i), records[i]);
      EXPECT_EQ(*db_->ReadDirectory(number), directory);
      EXPECT_EQ(db_->Read(number, static_cast<uint32_t>(records.size())).status().code(), Code::kNotFound);
    }
  }
  Open();
  EXPECT_EQ(db_->Segments().size(), number);
  EXPECT_EQ(db_->Segments().back(), number);
}

TEST_F(SegmentDbTest, DropFreesTheBytesWhileOthersRead) {
  const std::vector<std::string> records(20, std::string(100'000, 'r'));
  for (uint32_t number = 1; number <= 10; ++number) ASSERT_TRUE(Add(number, records, "d").ok());
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  for (uint64_t t = 0; t < 3; ++t) {
    readers.emplace_back([&, t] {
      for (Prng random(t); !done;) {
        const auto record =
            db_->Read(static_cast<uint32_t>(1 + random.Below(10)), static_cast<uint32_t>(random.Below(20)));
        if (record.ok() ? *record != records[0] : record.status().code() != Code::kNotFound) ++wrong;
      }
    });
  }
  for (uint32_t number = 1; number <= 9; ++number) {
    const uint64_t before = ledger_.used();
    ASSERT_TRUE(db_->Drop(number).ok());
    EXPECT_LE(ledger_.used() + 2'000'000, before) << number;
    EXPECT_EQ(db_->Read(number, 0).status().code(), Code::kNotFound);
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(db_->Segments(), std::vector<uint32_t>({10}));
  EXPECT_TRUE(db_->Drop(3).ok()) << "not there any more";
  EXPECT_EQ(ledger_.used(), DiskUsage(path_));
}

TEST_F(SegmentDbTest, TheLedgerRefusesWhatThePlanForgot) {
  const std::vector<std::string> records(10, std::string(100'000, 'r'));
  ASSERT_TRUE(Add(1, records, "d").ok());
  const uint64_t before = ledger_.used();
  ledger_.SetLimit(before + 500'000);
  EXPECT_EQ(Add(2, records, "d").code(), Code::kResourceExhausted);
  EXPECT_EQ(ledger_.used(), before) << "what was written is gone";
  EXPECT_EQ(DiskUsage(path_), before);
  EXPECT_LE(ledger_.peak(), before + 500'000);
  ledger_.SetLimit(before + 5'000'000);
  EXPECT_TRUE(db_->Recover().ok());
  EXPECT_TRUE(Add(3, records, "d").ok());
  EXPECT_EQ(*db_->Read(3, 9), records[9]);
  EXPECT_EQ(*db_->Read(1, 0), records[0]);
}

}  // namespace
}  // namespace prefixd
