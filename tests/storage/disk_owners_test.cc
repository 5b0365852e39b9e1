// Owners of records on the disk: what they are guaranteed survives the floods of others, from every state
// that use leaves; nobody has more than its limit at rest.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/prng.h"
#include "storage/disk_store.h"
#include "storage/record_owners.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

constexpr uint64_t kCapacity = 16 << 20;
constexpr uint64_t kMebibyte = 1 << 20;
constexpr uint64_t kAlice = 1001, kBob = 1002, kCarol = 1003;

class DiskOwnersTest : public testing::Test {
 protected:
  void Open(uint64_t capacity = kCapacity) {
    store_.reset();
    auto store = DiskStore::Open(
        {.path = path_, .capacity = capacity, .group = {11, 12}, .shares = shares_, .clock = &clock_});
    PREFIXD_CHECK(store.ok()) << store.status().ToString();
    store_ = std::move(*store);
    ASSERT_TRUE(store_->Scan([](const BlockKey&, std::string_view) { return true; }).ok());
    store_->CheckInvariants();
  }
  void Set(std::vector<OwnerShare> shares) {
    shares_ = std::move(shares);
    if (store_ != nullptr) store_->SetShares(shares_);
  }
  static BlockKey Key(uint64_t owner, uint64_t n) {
    return {.low = SplitMix64(owner * 1'000'003 + n), .high = n};
  }
  std::string Record(uint64_t owner, uint64_t n) const {
    const TokenId tokens[] = {1, 2, static_cast<TokenId>(n)};
    const BlockKey root{.low = 5, .high = owner};
    const std::string payload(record_bytes_, static_cast<char>(n));
    return EncodeRecord(
        {.fingerprint = {11, 12}, .root = root, .key = Key(owner, n), .parent = root, .tokens = tokens}, 7,
        RawPayload(std::as_bytes(std::span(payload))));
  }
  void Put(uint64_t owner, uint64_t n) {
    ASSERT_TRUE(store_->Put(Key(owner, n), Record(owner, n)).ok()) << n;
  }
  void PutBytes(uint64_t owner, uint64_t bytes, uint64_t first = 0) {
    for (uint64_t n = 0; n < bytes / Record(owner, 0).size(); ++n) Put(owner, first + n);
  }
  void Flood(uint64_t bytes, uint64_t owner = kBob) {
    for (uint64_t sum = 0; sum < bytes; sum += record_bytes_) Put(owner, next_++);
    ASSERT_TRUE(store_->Sync().ok());
    store_->CheckInvariants();
  }
  // The bytes that the owner has of those that PutBytes put; a wrong record fails.
  uint64_t Found(uint64_t owner, uint64_t bytes, uint64_t first = 0) {
    uint64_t found = 0;
    for (uint64_t n = 0; n < bytes / Record(owner, 0).size(); ++n) {
      const auto record = store_->Get(Key(owner, first + n));
      if (!record.ok()) continue;
      EXPECT_EQ(*record, Record(owner, first + n)) << n;
      found += record->size();
    }
    return found;
  }
  uint64_t All(uint64_t bytes) const { return bytes / Record(kAlice, 0).size() * Record(kAlice, 0).size(); }

  const testing_support::TempDir folder_{"/dev/shm"};
  std::string path_ = folder_.path().string() + "/cache";
  ManualClock clock_;
  size_t record_bytes_ = 20'000;
  uint64_t next_ = 10'000;
  std::vector<OwnerShare> shares_;
  std::unique_ptr<DiskStore> store_;
};

TEST_F(DiskOwnersTest, AFloodEvictsNothingThatIsGuaranteedAlsoAfterARestart) {
  Set({{.owner = kAlice, .guaranteed = 3 * kMebibyte}});
  Open();
  PutBytes(kAlice, 3 * kMebibyte);
  for (int round = 0; round < 3; ++round) {
    Flood(3 * kCapacity);
    EXPECT_LE(store_->ledger().peak(), kCapacity);
    EXPECT_EQ(Found(kAlice, 3 * kMebibyte), All(3 * kMebibyte)) << round;
    Open();
    EXPECT_EQ(store_->BytesOf(kAlice), All(3 * kMebibyte)) << "it is rebuilt by the scan";
    EXPECT_EQ(Found(kAlice, 3 * kMebibyte), All(3 * kMebibyte)) << round;
  }
}

TEST_F(DiskOwnersTest, TheFirstEvictionAfterARestartKnowsTheShares) {
  Set({{.owner = kAlice, .guaranteed = 3 * kMebibyte}});
  Open();
  PutBytes(kAlice, 3 * kMebibyte);
  Flood(3 * kCapacity);
  store_.reset();
  auto store = DiskStore::Open(
      {.path = path_, .capacity = kCapacity, .group = {11, 12}, .shares = shares_, .clock = &clock_});
  ASSERT_TRUE(store.ok());
  store_ = std::move(*store);
  Flood(2 * kCapacity);  // without a scan before
  EXPECT_EQ(Found(kAlice, 3 * kMebibyte), All(3 * kMebibyte));
}

TEST_F(DiskOwnersTest, RecordsAmongThoseOfTheFloodStayAsWell) {
  Set({{.owner = kAlice, .guaranteed = 4 * kMebibyte}, {.owner = kCarol, .guaranteed = 4 * kMebibyte}});
  Open();
  for (uint64_t n = 0; n < All(4 * kMebibyte) / Record(kAlice, 0).size(); ++n) {
    Put(kAlice, n);
    Put(kBob, next_++);
    Put(kCarol, n);
  }
  Flood(6 * kCapacity);
  EXPECT_LE(store_->ledger().peak(), kCapacity);
  EXPECT_EQ(Found(kAlice, 4 * kMebibyte), All(4 * kMebibyte));
  EXPECT_EQ(Found(kCarol, 4 * kMebibyte), All(4 * kMebibyte));
}

TEST_F(DiskOwnersTest, SmallRecordsOfWhichAllAreGuaranteedLeaveRoom) {
  record_bytes_ = 300;
  Set({{.owner = kAlice, .guaranteed = 8 * kMebibyte}});
  Open();
  PutBytes(kAlice, 8 * kMebibyte);
  Flood(kCapacity);
  EXPECT_LE(store_->ledger().peak(), kCapacity);
  EXPECT_GE(store_->BytesOf(kAlice), 4 * kMebibyte) << "the overhead of small records takes the rest";
}

TEST_F(DiskOwnersTest, OfWhatIsAboveTheGuaranteeTheRestGoes) {
  Set({{.owner = kAlice, .guaranteed = 3 * kMebibyte}});
  Open();
  PutBytes(kAlice, 8 * kMebibyte);
  for (uint64_t n = 0; n < 100; ++n) ASSERT_TRUE(store_->Get(Key(kAlice, n)).ok());
  Flood(8 * kCapacity);
  EXPECT_GE(store_->BytesOf(kAlice), 3 * kMebibyte);
  EXPECT_LE(store_->BytesOf(kAlice), 5 * kMebibyte);
}

TEST_F(DiskOwnersTest, WithoutAGuaranteeTheFloodEvictsWhatIsNotUsed) {
  Set({{.owner = kAlice, .weight = 1}});
  Open();
  PutBytes(kAlice, 3 * kMebibyte);
  Flood(8 * kCapacity);
  EXPECT_EQ(store_->BytesOf(kAlice), 0u);
}

TEST_F(DiskOwnersTest, WhoUsesTheStoreKeepsItsPartBesideAFlood) {
  for (const double weight : {1.0, 3.0}) {
    Set({{.owner = kAlice, .weight = weight}});
    store_.reset();
    path_ += "x";
    Open();
    const auto part = static_cast<uint64_t>(static_cast<double>(kCapacity / 2) * weight / (weight + 1));
    const uint64_t bytes = part - 200'000;
    PutBytes(kAlice, bytes);
    for (int round = 0; round < 6; ++round) {
      Flood(kCapacity);
      // One record is used, and counts for all.
      ASSERT_TRUE(store_->Get(Key(kAlice, 0)).ok()) << round;
    }
    EXPECT_EQ(Found(kAlice, bytes), All(bytes)) << weight;
  }
}

TEST_F(DiskOwnersTest, OneThatIsAloneHasTheWholeStore) {
  Set({{.owner = kAlice, .guaranteed = kMebibyte}, {.owner = kCarol, .guaranteed = 3 * kMebibyte}});
  Open();
  Flood(3 * kCapacity);
  EXPECT_GT(store_->BytesOf(kBob), kCapacity / 4 * 3);
}

TEST_F(DiskOwnersTest, SharesChangeWhileTheStoreIsFull) {
  Open();
  Flood(2 * kCapacity);
  PutBytes(kAlice, 2 * kMebibyte);
  Set({{.owner = kAlice, .guaranteed = 2 * kMebibyte}});
  Flood(5 * kCapacity);
  EXPECT_EQ(Found(kAlice, 2 * kMebibyte), All(2 * kMebibyte));
  Set({});
  Flood(8 * kCapacity);
  EXPECT_EQ(store_->BytesOf(kAlice), 0u);
}

TEST_F(DiskOwnersTest, NobodyHasMoreThanItsLimitAtRest) {
  Set({{.owner = kAlice, .most = 2 * kMebibyte}});
  Open();
  PutBytes(kAlice, kMebibyte);
  ASSERT_TRUE(store_->Sync().ok());
  for (int use = 0; use < 3; ++use) EXPECT_EQ(Found(kAlice, kMebibyte), All(kMebibyte));
  PutBytes(kAlice, 6 * kMebibyte, 5000);
  ASSERT_TRUE(store_->Sync().ok());
  ASSERT_TRUE(store_->Maintain().ok());
  EXPECT_LE(store_->BytesOf(kAlice), 2 * kMebibyte);
  EXPECT_GE(store_->BytesOf(kAlice), 2 * kMebibyte / 8 * 7);
  EXPECT_EQ(Found(kAlice, kMebibyte), All(kMebibyte)) << "what was used more often stays";
  EXPECT_GT(store_->stats().evicted_records, 0u);
  const uint64_t before = store_->BytesOf(kAlice);
  Open();
  EXPECT_EQ(store_->BytesOf(kAlice), before) << "what was dropped does not come back";
  Set({{.owner = kAlice, .most = kMebibyte}});
  ASSERT_TRUE(store_->Maintain().ok());
  EXPECT_LE(store_->BytesOf(kAlice), kMebibyte);
  store_->CheckInvariants();
}

TEST_F(DiskOwnersTest, ALowerCapacityDropsOthersFirst) {
  Set({{.owner = kAlice, .guaranteed = 3 * kMebibyte}});
  Open();
  for (uint64_t n = 0; n < All(3 * kMebibyte) / Record(kAlice, 0).size(); ++n) {
    Put(kAlice, n);
    Put(kBob, next_++);
  }
  Flood(2 * kCapacity);
  Open(kMinDiskCapacity);
  EXPECT_LE(store_->bytes(), kMinDiskCapacity);
  EXPECT_EQ(Found(kAlice, 3 * kMebibyte), All(3 * kMebibyte));
}

TEST(RecordOwners, NumbersAreUsedAgain) {
  RecordOwners owners;
  owners.SetShares({{.owner = 7, .guaranteed = 5}});
  for (uint64_t owner = 100; owner < 100 + 3 * RecordLocation::kOwners; ++owner) {
    const uint32_t number = owners.Add(owner, 10, 0);
    ASSERT_NE(number, RecordOwners::kNobody);
    owners.Remove(number, 10);
  }
  EXPECT_LE(owners.all().size(), 3u);
  EXPECT_EQ(owners.all()[owners.Add(7, 3, 0)].share.guaranteed, 5u);
  owners.CheckInvariants();
}

TEST(RecordOwners, FurtherOnesAreNobody) {
  RecordOwners owners;
  for (uint64_t owner = 1; owner < RecordLocation::kOwners; ++owner)
    ASSERT_NE(owners.Add(owner, 10, 0), RecordOwners::kNobody) << owner;
  EXPECT_EQ(owners.Add(1 << 20, 10, 0), RecordOwners::kNobody);
  EXPECT_EQ(owners.BytesOf(1 << 20), 0u);
  owners.Remove(RecordOwners::kNobody, 10);
  owners.CheckInvariants();
}

TEST(RecordOwners, WhatIsNotGuaranteedIsDividedByWeightAmongThoseWhoUseIt) {
  RecordOwners owners;
  owners.SetShares({{.owner = 1, .guaranteed = 100}, {.owner = 2, .weight = 3}, {.owner = 3}});
  for (const uint64_t owner : {1, 2, 3, 4}) EXPECT_EQ(owners.Add(owner, 1000, 0), owner);
  const auto spare = [&](double tick) { return RecordOwners::Spare(owners.all(), tick, 700); };
  EXPECT_EQ(spare(0), (std::vector<uint64_t>{RecordOwners::kAll, 800, 700, 900, 900}));
  const double later = RecordOwners::kIdleTicks + 1;
  EXPECT_EQ(spare(later), (std::vector<uint64_t>{RecordOwners::kAll, 900, RecordOwners::kAll,
                                                 RecordOwners::kAll, RecordOwners::kAll}));
  owners.Use(2, later);
  EXPECT_EQ(spare(later)[2], RecordOwners::kAll) << "one that is alone competes with nobody";
  owners.Use(4, later);
  EXPECT_EQ(spare(later)[2], 550u);
  EXPECT_EQ(RecordOwners::Spare(owners.all(), 0, 50)[1], 950u) << "there is no more to guarantee";
}

}  // namespace
}  // namespace prefixd
