// Records that are kept: they survive what evicts everything else, within the budget, over a restart, and
// until their time.
#include <gtest/gtest.h>

#include <map>

#include "base/prng.h"
#include "storage/disk_store.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

constexpr uint64_t kCapacity = 16 << 20;
constexpr size_t kRecord = 100'000;
constexpr uint64_t kMost = kCapacity / 100 * 25 / kRecord;  // records of the budget

class DiskRetentionTest : public testing::Test {
 protected:
  void Open(int percent = 25, int64_t max_age = 0) {
    store_.reset();
    auto store = DiskStore::Open({.path = path_,
                                  .capacity = kCapacity,
                                  .group = {11, 12},
                                  .max_age_seconds = max_age,
                                  .retained_percent = percent,
                                  .clock = &clock_});
    PREFIXD_CHECK(store.ok()) << store.status().ToString();
    store_ = std::move(*store);
    ASSERT_TRUE(store_->Scan([](const BlockKey&, std::string_view) { return true; }).ok());
  }
  static BlockKey Key(uint64_t n) { return {.low = SplitMix64(n), .high = n}; }
  void Put(uint64_t n) {
    ASSERT_TRUE(store_->Put(Key(n), std::string(kRecord, static_cast<char>(n))).ok()) << n;
  }
  bool Keep(uint64_t n, uint32_t seconds, uint64_t owner = 1) {
    return store_->Keep(Key(n), {.until = Now() + seconds, .seconds = seconds, .owner = owner});
  }
  // Writes five times the capacity.
  void Flood() {
    for (uint64_t n = 0; n < 5 * kCapacity / kRecord; ++n) Put(next_++);
    ASSERT_TRUE(store_->Sync().ok());
    store_->CheckInvariants();
    EXPECT_LE(store_->ledger().peak(), kCapacity);
  }
  uint64_t Now() const { return static_cast<uint64_t>(clock_.UnixSeconds()); }
  void Pass(int64_t seconds) { clock_.Advance(seconds * 1'000'000'000); }
  uint64_t Found(uint64_t begin, uint64_t end) {
    uint64_t found = 0;
    for (uint64_t n = begin; n < end; ++n) {
      const auto record = store_->Get(Key(n));
      found += record.ok() && *record == std::string(kRecord, static_cast<char>(n)) ? 1 : 0;
    }
    return found;
  }

  const testing_support::TempDir folder_{"/dev/shm"};
  const std::string path_ = folder_.path().string() + "/cache";
  ManualClock clock_;
  uint64_t next_ = 10'000;
  std::unique_ptr<DiskStore> store_;
};

TEST_F(DiskRetentionTest, KeptRecordsSurviveFloodsAndRestarts) {
  Open();
  for (uint64_t n = 0; n < 60; ++n) Put(n);
  for (uint64_t n = 0; n < 60; n += 2) ASSERT_TRUE(Keep(n, 3600)) << n;
  for (int round = 0; round < 3; ++round) {
    Flood();
    Open();
    for (uint64_t n = 0; n < 60; ++n) {
      ASSERT_TRUE(store_->Contains(Key(n)) || n % 2 != 0) << n << " in round " << round;
      ASSERT_EQ(store_->KeptUntil(Key(n)).has_value(), n % 2 == 0) << n << " in round " << round;
    }
  }
  EXPECT_EQ(store_->KeptUntil(Key(0)), (RecordRetention{.until = Now() + 3600, .seconds = 3600, .owner = 1}));
}

TEST_F(DiskRetentionTest, ItEndsOnTimeAlsoAfterARestart) {
  Open();
  for (uint64_t n = 0; n < 20; ++n) Put(n);
  for (uint64_t n = 0; n < 20; ++n) ASSERT_TRUE(Keep(n, n < 10 ? 300 : 600));
  Flood();
  Pass(299);
  Open();
  EXPECT_TRUE(store_->KeptUntil(Key(0)).has_value());
  Pass(1);
  EXPECT_FALSE(store_->KeptUntil(Key(0)).has_value());
  EXPECT_TRUE(store_->KeptUntil(Key(10)).has_value());
  Flood();
  Flood();
  EXPECT_EQ(Found(0, 10), 0u);
  EXPECT_EQ(Found(10, 20), 10u);
}

TEST_F(DiskRetentionTest, AUseRefreshesItAndACrashLosesAQuarterAtMost) {
  Open();
  for (uint64_t n = 0; n < 10; ++n) Put(n);
  for (uint64_t n = 0; n < 10; ++n) ASSERT_TRUE(Keep(n, 400));
  ASSERT_TRUE(store_->Sync().ok());
  Pass(50);
  ASSERT_TRUE(Keep(0, 400));
  Pass(2);
  const uint64_t segments = store_->stats().segments;
  ASSERT_TRUE(store_->Maintain().ok());
  EXPECT_EQ(store_->stats().segments, segments) << "an eighth of the time is no reason to write";
  Pass(60);
  ASSERT_TRUE(Keep(0, 400));
  Pass(2);
  ASSERT_TRUE(store_->Maintain().ok());
  EXPECT_EQ(store_->stats().segments, segments + 1);
  const auto kept = store_->KeptUntil(Key(0));
  Open();
  EXPECT_EQ(store_->KeptUntil(Key(0)), kept);
}

TEST_F(DiskRetentionTest, NobodyGetsMoreThanTheBudgetAndTenantsShareIt) {
  Open();
  for (uint64_t n = 0; n < 100; ++n) Put(n);
  uint64_t kept = 0;
  for (uint64_t n = 0; n < 100; ++n) kept += Keep(n, static_cast<uint32_t>(600 + n)) ? 1 : 0;
  EXPECT_EQ(kept, kMost);
  for (uint64_t n = 100; n < 140; ++n) Put(n);
  kept = 0;
  for (uint64_t n = 100; n < 140; ++n) kept += Keep(n, 600, /*owner=*/2) ? 1 : 0;
  EXPECT_EQ(kept, kMost / 2);
  store_->CheckInvariants();
  Flood();
  Open();
  uint64_t of_first = 0, of_second = 0;
  for (uint64_t n = 0; n < 140; ++n)
    (n < 100 ? of_first : of_second) += store_->KeptUntil(Key(n)) && Found(n, n + 1) == 1 ? 1 : 0;
  EXPECT_EQ(of_first, kMost - kMost / 2);
  EXPECT_EQ(of_second, kMost / 2);
  Open(/*percent=*/10);
  store_->CheckInvariants();
}

TEST_F(DiskRetentionTest, RoomIsMadeAlsoWhereEverythingMayBeKept) {
  Open(/*percent=*/100);
  for (uint64_t n = 0; n < 3 * kCapacity / kRecord; ++n) {
    Put(n);
    Keep(n, 3600);
  }
  ASSERT_TRUE(store_->Sync().ok());
  store_->CheckInvariants();
  EXPECT_LE(store_->ledger().peak(), kCapacity);
  EXPECT_GT(store_->stats().evicted_kept_records, 0u);
  EXPECT_GT(store_->stats().kept_bytes, kCapacity / 2);
  EXPECT_EQ(store_->stats().lost_records, 0u);
}

TEST_F(DiskRetentionTest, WhatIsGoneTakesNothingOfTheBudget) {
  Open();
  for (uint64_t n = 0; n < kMost; ++n) Put(n);
  for (uint64_t n = 0; n < kMost; ++n) ASSERT_TRUE(Keep(n, 600));
  ASSERT_TRUE(store_->Sync().ok());
  Put(kMost);
  EXPECT_FALSE(Keep(kMost, 600));
  EXPECT_FALSE(store_->MayKeep(1, kRecord));
  EXPECT_TRUE(store_->MayKeep(2, kRecord)) << "another owner has a part";
  EXPECT_EQ(store_->stats().retention.refused, 1u);
  EXPECT_EQ(store_->stats().kept_bytes, kMost * kRecord);
  for (uint64_t n = 0; n < kMost; n += 2) ASSERT_TRUE(store_->Delete(Key(n)).ok());
  Open();
  EXPECT_EQ(store_->stats().kept_records, kMost / 2) << "a segment says that the others are kept, too";
  EXPECT_TRUE(store_->MayKeep(1, kRecord));
  Pass(600);
  ASSERT_TRUE(store_->Maintain().ok());
  EXPECT_EQ(store_->stats().kept_records, 0u);
  EXPECT_EQ(store_->stats().retention.expired, kMost / 2);
  EXPECT_LE(store_->stats().most_work, 2 * DiskStore::kSlice) << "Contains never waits long";
}

TEST(KeptRecords, RandomCallsLeaveItWhole) {
  Prng random(7);
  KeptRecords kept(1000);
  uint64_t now = 1000;
  std::map<BlockKey, KeptEntry> told;  // by segments
  for (int i = 0; i < 20'000; ++i) {
    const BlockKey key{.low = random.Below(60)};
    const auto seconds = static_cast<uint32_t>(1 + random.Below(100));
    const RecordRetention retention{.until = now + seconds, .seconds = seconds, .owner = random.Below(3)};
    const uint64_t dice = random.Below(100);
    const bool has_room = kept.HasRoom(retention.owner, 50);
    const bool was_kept = kept.Find(key, 0) != nullptr;
    if (dice < 50) {
      ASSERT_EQ(kept.Keep(key, retention, 50, now), was_kept || has_room) << i;
    } else if (dice < 60) {
      kept.Forget(key);
    } else if (dice < 70) {
      kept.Learn({.key = key, .bytes = 50, .retention = retention}, now);
    } else if (dice < 75) {
      kept.MarkUnwritten(key);
    } else if (dice < 80) {
      for (const KeptEntry& entry : kept.TakeUnwritten(1 + random.Below(9), now)) told[entry.key] = entry;
    } else {
      now += random.Below(4);
      kept.EndExpired(now);
    }
    const RecordRetention* found = kept.Find(key, now);
    ASSERT_TRUE(found == nullptr || (found->until > now && found->until <= now + 100)) << i;
    kept.CheckInvariants();
  }
  EXPECT_GT(kept.counters().refused, 0u);
  EXPECT_GT(kept.counters().expired, 0u);
  EXPECT_GT(kept.counters().displaced, 0u);
  EXPECT_FALSE(told.empty());
}

TEST_F(DiskRetentionTest, WhatIsKeptIsAPromiseAboutRecordsThatAreThere) {
  Open();
  EXPECT_FALSE(Keep(1, 600)) << "there is no such record";
  Put(1);
  ASSERT_TRUE(Keep(1, 600));
  ASSERT_TRUE(store_->Delete(Key(1)).ok());
  EXPECT_FALSE(store_->KeptUntil(Key(1)).has_value());
  Open(25, /*max_age=*/100);
  Put(2);
  ASSERT_TRUE(Keep(2, 600));
  ASSERT_TRUE(store_->Sync().ok());
  Pass(101);
  ASSERT_TRUE(store_->Maintain().ok());
  EXPECT_FALSE(store_->Contains(Key(2))) << "the age of the operator comes before";
  Open(/*percent=*/0);
  Put(3);
  EXPECT_FALSE(Keep(3, 600));
}

}  // namespace
}  // namespace prefixd
