// Purging a disk cache: what goes, what stays, and what a crash leaves.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "storage/disk_verify.h"
#include "tests/storage/disk_tools_fixture.h"

namespace prefixd {
namespace {

using DiskPurgeTest = DiskToolsTest;

TEST_F(DiskPurgeTest, APurgeByTenantLeavesNoByteOfIt) {
  std::set<BlockKey> kept;
  std::set<BlockKey> other;
  auto store = Open();
  for (int i = 0; i < 60; ++i) {
    RecordChain chain(kModel, i % 3 == 0 ? "victim" : "stays");
    const auto tokens = TokensFrom(1'000'000 + i, 16);
    Put(store.get(), chain.Next(tokens, 100'000));
    if (i % 3 != 0) kept.insert(chain.key());
  }
  store = nullptr;
  store = Open(kOther);
  RecordChain chain(kOther, "victim");
  for (int i = 0; i < 10; ++i) Put(store.get(), chain.Next(TokensFrom(2'000'000 + i, 16), 100'000));
  RecordChain stays(kOther, "");
  Put(store.get(), stays.Next(TokensFrom(5, 16), 100'000));
  other.insert(stays.key());
  store = nullptr;

  const auto tokens_of = [](TokenId first) {
    const auto tokens = TokensFrom(first, 16);
    return std::string(reinterpret_cast<const char*>(tokens.data()), 64);
  };
  ASSERT_TRUE(OnDisk(tokens_of(1'000'003)) && OnDisk(tokens_of(2'000'004)));
  PurgeResult result;
  const PurgePlan plan = Purge(TenantFilter("victim"), &result);
  EXPECT_EQ(plan.records, 30u);
  EXPECT_EQ(plan.by_model.at(kModel), 20u);
  EXPECT_EQ(plan.by_model.at(kOther), 10u);
  EXPECT_EQ(result.rewritten_records, plan.kept_records);
  EXPECT_EQ(result.rewritten_bytes, plan.kept_bytes);
  EXPECT_EQ(result.lost_records, 0u);
  for (int i = 0; i < 60; ++i) EXPECT_EQ(OnDisk(tokens_of(1'000'000 + i)), i % 3 != 0) << i;
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(OnDisk(tokens_of(2'000'000 + i))) << i;
  EXPECT_FALSE(OnDisk({reinterpret_cast<const char*>(&chain.root()), sizeof(BlockKey)}));
  const DiskCatalog after = Catalog();
  EXPECT_EQ(Keys(after, kModel), kept);
  EXPECT_EQ(Keys(after, kOther), other);
  EXPECT_TRUE(VerifyDisk(Reader().get(), after, nullptr).defects.empty());
  store = Open();
  EXPECT_EQ(Scanned(store.get()), kept);
  store->CheckInvariants();
  EXPECT_EQ(PlanPurge(Reader().get(), after, TenantFilter("victim"))->segments.size(), 0u);
}

TEST_F(DiskPurgeTest, WhatStaysIsKeptAsBefore) {
  const auto retention =
      RecordRetention{.until = static_cast<uint64_t>(clock_.UnixSeconds()) + 600, .seconds = 600, .owner = 1};
  auto store = Open();
  RecordChain stays(kModel, "stays");
  Put(store.get(), stays.Next(TokensFrom(1, 16), 1000));
  ASSERT_TRUE(store->Sync().ok());
  RecordChain victim(kModel, "victim");
  Put(store.get(), victim.Next(TokensFrom(2, 16), 1000));
  for (const BlockKey& key : {stays.key(), victim.key()}) ASSERT_TRUE(store->Keep(key, retention));
  store = nullptr;  // the segment of the victim alone says that the other record is kept
  PurgeResult result;
  EXPECT_EQ(Purge(TenantFilter("victim"), &result).segments.size(), 1u);
  store = Open();
  Scanned(store.get());
  EXPECT_EQ(store->KeptUntil(stays.key()), retention);
  EXPECT_EQ(store->stats().kept_records, 1u);
}

TEST_F(DiskPurgeTest, AFullCacheIsPurgedBelowItsCap) {
  auto store = Open();
  Prng random(1);
  std::string raw(100'000, '\0');
  for (int i = 0; i < 300; ++i) {
    for (char& c : raw) c = static_cast<char>(random.Below(256));
    RecordChain chain(kModel, i % 10 == 0 ? "victim" : "stays");
    Put(store.get(), chain.Next(TokensFrom(i, 16), 0, RawPayload(std::as_bytes(std::span(raw)))));
  }
  store = nullptr;
  const uint64_t before = DiskUsage(path_);
  ASSERT_GT(before, kCapacity * 8 / 10);
  PurgeResult result;
  const PurgePlan plan = Purge(TenantFilter("victim"), &result);  // asserts that the cap was never exceeded
  EXPECT_GT(plan.records, 5u);
  EXPECT_GT(result.rewritten_records, 50u);
  EXPECT_LE(DiskUsage(path_), before - plan.records * 95'000) << "opening the database writes small files";
}

TEST_F(DiskPurgeTest, DeadCopiesGoToo) {
  auto store = Open();
  RecordChain stays(kModel, "stays");
  RecordChain victim(kModel, "victim");
  const RecordChain begin = victim;
  Put(store.get(), victim.Next(TokensFrom(1, 16), 1000));
  Put(store.get(), stays.Next(TokensFrom(2, 16), 1000));
  ASSERT_TRUE(store->Sync().ok());
  ASSERT_TRUE(store->Delete(victim.key()).ok());
  ASSERT_TRUE(store->Sync().ok());
  store = nullptr;
  const std::string root(reinterpret_cast<const char*>(&begin.root()), sizeof(BlockKey));
  ASSERT_TRUE(OnDisk(root)) << "deleted, and still in its segment";
  PurgeResult result;
  const PurgePlan plan = Purge(TenantFilter("victim"), &result);
  EXPECT_EQ(plan.records, 0u);
  EXPECT_EQ(plan.dead_records, 1u);
  EXPECT_FALSE(OnDisk(root));
  EXPECT_EQ(Keys(Catalog(), kModel), std::set<BlockKey>{stays.key()});
}

TEST_F(DiskPurgeTest, WhatWasDeadStaysDeadAfterAPurge) {
  size_t deletions = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    fs::remove_all(path_);
    Prng random(seed);
    auto store = Open();
    std::map<BlockKey, bool> victims;  // of all keys
    for (int event = 0; event < 60; ++event) {
      const bool victim = random.Chance(0.3);
      RecordChain chain(kModel, victim ? "victim" : "stays");
      const auto tokens = TokensFrom(static_cast<TokenId>(random.Below(12)), 4);
      if (random.Chance(0.6)) {
        Put(store.get(), chain.Next(tokens, 2000));
      } else {
        ASSERT_TRUE(store->Delete(ChildKey(chain.root(), tokens)).ok());
      }
      victims[ChildKey(chain.root(), tokens)] = victim;
      if (random.Chance(0.4)) {
        ASSERT_TRUE(store->Sync().ok());
      }
    }
    ASSERT_TRUE(store->Sync().ok());
    std::set<BlockKey> expected;
    for (const BlockKey& key : Scanned(store.get()))
      if (!victims.at(key)) expected.insert(key);
    store = nullptr;
    PurgeResult result;
    const PurgePlan plan = Purge(TenantFilter("victim"), &result);
    for (const auto& [model, keys] : plan.deletions) deletions += keys.size();
    EXPECT_EQ(Keys(Catalog(), kModel), expected);
    store = Open();
    EXPECT_EQ(Scanned(store.get()), expected);
    store->CheckInvariants();
  }
  EXPECT_GT(deletions, 0u) << "no seed had a deletion to carry";
}

// Purges a database step by step, with a failure after some of them, as a crash would end it.
class FailingDb final : public SegmentDb {
 public:
  FailingDb(std::unique_ptr<SegmentDb> db, int steps) : db_(std::move(db)), steps_(steps) {}
  std::vector<uint32_t> Segments() const override { return db_->Segments(); }
  std::map<uint32_t, uint64_t> PhysicalBytes() const override { return db_->PhysicalBytes(); }
  Result<std::string> Read(uint32_t n, uint32_t o) override { return db_->Read(n, o); }
  Result<std::string> ReadDirectory(uint32_t n) override { return db_->ReadDirectory(n); }
  Status Add(uint32_t number, std::span<const std::string_view> records,
             std::string_view directory) override {
    if (full && !records.empty() && std::exchange(full_now_, !full_now_)) return ResourceExhausted("full");
    return steps_-- > 0 ? db_->Add(number, records, directory) : IoError("crash");
  }
  Status Drop(uint32_t number) override { return steps_-- > 0 ? db_->Drop(number) : IoError("crash"); }
  Status Recover() override { return db_->Recover(); }
  uint64_t Bound(uint64_t r, uint64_t b, uint64_t d) const override { return db_->Bound(r, b, d); }

  bool full = false;  // every first try to write records fails

 private:
  const std::unique_ptr<SegmentDb> db_;
  int steps_;
  bool full_now_ = true;
};

TEST_F(DiskPurgeTest, AnInterruptedPurgeBringsNothingBack) {
  std::set<BlockKey> victims;
  for (int i = 0; i < 8; ++i) victims.insert(ChildKey(RootKey(kModel, "victim"), TokensFrom(i, 4)));
  bool ended = false;
  for (int steps = 0; !ended && steps < 100; ++steps) {
    SCOPED_TRACE(steps);
    fs::remove_all(path_);
    auto store = Open();
    for (int i = 0; i < 24; ++i) {
      RecordChain chain(kModel, i % 2 == 0 ? "victim" : "stays");
      Put(store.get(), chain.Next(TokensFrom(i % 8, 4), 2000));
      if (i % 5 == 4) {
        ASSERT_TRUE(store->Sync().ok());
      }
      if (i == 20) {
        ASSERT_TRUE(store->Delete(ChildKey(RootKey(kModel, "stays"), TokensFrom(1, 4))).ok());
      }
    }
    ASSERT_TRUE(store->Sync().ok());
    const std::set<BlockKey> before = Scanned(store.get());
    store = nullptr;
    for (const bool full : {false, true}) {
      SCOPED_TRACE(full);
      ByteLedger ledger(UINT64_MAX);
      auto folder = DiskFolder::Open(path_, &ledger);
      ASSERT_TRUE(folder.ok());
      const DiskCatalog catalog = Catalog();
      const RecordFilter filter = TenantFilter("victim");
      const auto plan = PlanPurge(Reader().get(), catalog, filter);
      ASSERT_TRUE(plan.ok());
      FailingDb db(std::move(*folder->get()->OpenDatabase(128, nullptr)), full ? 1000 : steps);
      db.full = full;
      PurgeResult result;
      const Status status = ExecutePurge(&db, catalog, *plan, filter, nullptr, &result);
      const std::set<BlockKey> now = Keys(Catalog(), kModel);
      EXPECT_TRUE(std::includes(before.begin(), before.end(), now.begin(), now.end()));
      for (const BlockKey& key : before) {
        const bool victim = victims.contains(key);
        if (!victim) {
          EXPECT_TRUE(now.contains(key)) << "a record that stays was lost";
        }
        if (victim && status.ok()) {
          EXPECT_FALSE(now.contains(key));
        }
      }
      if (full) {
        EXPECT_TRUE(status.ok()) << status.ToString();
      }
      if (!full && status.ok()) ended = true;
    }
  }
  EXPECT_TRUE(ended);
}

TEST_F(DiskPurgeTest, APurgeByAgeOrModelCombines) {
  for (const BlockKey& group : {kModel, kOther}) {
    clock_ = ManualClock();
    auto store = Open(group);
    for (int day = 0; day < 10; ++day) {
      RecordChain chain(group, "");
      Put(store.get(), chain.Next(TokensFrom(day, 4), 20'000));
      if (day % 4 == 3) {
        ASSERT_TRUE(store->Sync().ok());
      }
      clock_.Advance(86'400'000'000'000);
    }
  }
  PurgeResult result;
  const PurgePlan plan = Purge(AllOf({ModelFilter(kOther), AgeFilter(5 * 86'400)}), &result);
  EXPECT_EQ(plan.records, 6u);
  EXPECT_EQ(plan.kept_records, 2u) << "the segment of the days 4 to 7 is written again";
  const DiskCatalog after = Catalog();
  EXPECT_EQ(after.models.at(kModel).records.size(), 10u);
  EXPECT_EQ(after.models.at(kOther).records.size(), 4u);
  EXPECT_EQ(after.models.at(kOther).oldest, 6u * 86'400);
  Purge(ModelFilter(kOther), &result);
  EXPECT_FALSE(Catalog().models.contains(kOther));
}

TEST_F(DiskPurgeTest, APurgeDropsDamagedSegments) {
  auto store = Open();
  RecordChain chain(kModel, "");
  for (int i = 0; i < 5; ++i) {
    Put(store.get(), chain.Next(TokensFrom(i, 4), 30'000));
    ASSERT_TRUE(store->Sync().ok());
  }
  store = nullptr;
  const std::vector<fs::path> tables = Tables();
  fs::resize_file(tables[1], 700);
  fs::remove(tables[3]);
  PurgeResult result;
  const PurgePlan plan = Purge(TenantFilter("nobody"), &result);
  EXPECT_EQ(plan.damaged_segments, 2u);
  EXPECT_EQ(plan.records, 0u);
  EXPECT_EQ(Tables().size(), 3u);
  EXPECT_EQ(Catalog().segments.size(), 3u);
}

}  // namespace
}  // namespace prefixd
