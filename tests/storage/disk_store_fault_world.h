// DiskWorld: a DiskStore on a disk that fails, with a plain model of what it must contain. Every operation
// goes to both and is compared. One thread.
//
// The rules of the model, for each key:
//   1. While a store is open, Get returns the record that was put last, an error of the medium, or, when the
//      record was deleted or told dropped since, kNotFound. Records of an earlier process count from the
//      first whole scan on.
//   2. After a restart or a crash, it is the record of the last put before the last Sync that succeeded, or
//      of any put after that Sync. When there was a put or a deletion after it, there may be none. A record
//      that was told dropped may be there or not.
//   3. When a read was damaged, the second rule lapses: any record that was ever put under the key may be
//      there, or none. No other.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/prng.h"
#include "storage/disk_store.h"
#include "tests/support/disk_usage.h"
#include "tests/support/faulty_disk.h"

namespace prefixd {

class DiskWorld {
 public:
  static constexpr BlockKey kGroup{11, 12};
  static constexpr uint64_t kCapacity = kMinDiskCapacity;

  struct Entry {
    std::set<int> now = {0};      // what Get may find; 0: nothing
    std::set<int> last = {0};     // what the last put or deletion left; one value, if it was of this process
    std::set<int> durable = {0};  // what a restart may find
    std::set<int> ever = {0};     // all versions
    bool dropped = false;         // told, since the last put or deletion
    uint64_t kept = 0;            // until when, as asked
    uint64_t kept_durable = 0;    // as a restart finds it, if it finds the record
    bool settled = true;          // put, deleted, dropped or scanned since the start
  };
  using Model = std::map<uint64_t, Entry>;

  // `damage`: whether reads may be damaged. `model` tells what lies below `path`.
  DiskWorld(std::string path, uint64_t seed, bool damage, Model model = {})
      : damage_(damage), path_(std::move(path)), disk_(path_, seed), keys_(std::move(model)) {}

  testing_support::FaultyDisk* disk() { return &disk_; }
  DiskStore* store() { return store_.get(); }
  ManualClock* clock() { return &clock_; }
  const Model& model() const { return keys_; }

  static BlockKey Key(uint64_t n) { return {.low = SplitMix64(n), .high = n}; }
  // The record of a key's version, which is not 0.
  static std::string Record(uint64_t n, int version) {
    Prng random(n * 1'000'003 + static_cast<uint64_t>(version));
    std::string record(20'000 + random.Below(40'000), static_cast<char>(random.Next()));
    for (size_t at = 0; at + 8 <= record.size(); at += 512) {
      const uint64_t bits = random.Next();
      record.replace(at, 8, reinterpret_cast<const char*>(&bits), 8);
    }
    return record;
  }

  // Opens the store and scans it. False: it could not be opened.
  bool Open() {
    const bool aside = std::filesystem::exists(path_ + ".damaged-1");
    auto store = DiskStore::Open({.path = path_,
                                  .capacity = kCapacity,
                                  .group = kGroup,
                                  .clock = &clock_,
                                  .on_drop = [this](const BlockKey& key, DropReason) { Dropped(key.high); },
                                  .observer = &disk_});
    if (!aside && std::filesystem::exists(path_ + ".damaged-1")) {
      EXPECT_TRUE(damage_) << "the database was set aside: " << store.status().ToString();
      for (auto& [n, key] : keys_) key.durable.insert(0);
    }
    if (!store.ok()) return false;
    store_ = std::move(*store);
    disk_.SetLimit(kCapacity);
    scanned_ = false;
    for (auto& [n, key] : keys_) {
      key.now = key.ever;  // until the scan is over, an older version may be found before the newest
      key.last = key.durable;
      key.dropped = false;
      key.settled = false;
    }
    (void)Scan();
    return true;
  }
  // The store ends without a crash.
  void Close() {
    disk_.SetLimit(0);
    store_ = nullptr;
  }
  void Crash(bool by_chance) {
    disk_.PowerOff();
    Close();
    disk_.Crash(by_chance);
  }

  void Put(uint64_t n) {
    Entry& key = keys_[n];
    const int version = static_cast<int>(key.ever.size());
    key.ever.insert(version);
    if (!store_->Put(Key(n), Record(n, version)).ok()) return;
    Done(&key, version);
  }
  void Delete(uint64_t n) {
    if (!store_->Delete(Key(n)).ok()) return;
    Done(&keys_[n], 0);
    keys_[n].kept_durable = 0;
  }
  void Keep(uint64_t n, uint32_t seconds) {
    Entry& key = keys_[n];
    const uint64_t until = Now() + seconds;
    if (!store_->Keep(Key(n), {.until = until, .seconds = seconds, .owner = 1})) return;
    EXPECT_TRUE(store_->Contains(Key(n)));
    key.kept = std::max(key.kept, until);
  }
  Status Sync() {
    const Status status = store_->Sync();
    if (!status.ok()) return status;
    for (auto& [n, key] : keys_) {
      const auto kept = store_->KeptUntil(Key(n));
      key.kept_durable = kept ? kept->until : 0;
    }
    for (auto& [n, key] : keys_) {
      key.durable = key.last;
      if (key.dropped) key.durable.insert(0);
    }
    return status;
  }
  void Get(uint64_t n) {
    Entry& key = keys_[n];
    const auto record = store_->Get(Key(n));
    if (record.ok()) {
      const int version = VersionOf(n, *record);
      EXPECT_TRUE(key.now.contains(version)) << "key " << n << " has version " << version;
      if (scanned_) key.now = {version};
      return;
    }
    if (record.status().code() == Code::kIo) return;
    if (record.status().code() == Code::kCorrupt) {
      EXPECT_TRUE(key.now.contains(0)) << "a damaged record was not told dropped: " << n;
      return;
    }
    EXPECT_EQ(record.status().code(), Code::kNotFound) << record.status().ToString();
    EXPECT_TRUE(key.now.contains(0) || !scanned_) << "key " << n << " is missing";
  }
  // After the first whole scan the model knows what is there.
  Status Scan() {
    // A segment that could not be read three times counts as damaged.
    if (store_->stats().damaged_segments > 0) damage_ = true;
    std::set<uint64_t> seen;
    const Status status = store_->Scan([&](const BlockKey& key, std::string_view head) {
      EXPECT_TRUE(seen.insert(key.high).second) << key.high << " is visited twice";
      bool known = false;
      for (const int version : keys_[key.high].now)
        known = known || (version != 0 && Record(key.high, version).starts_with(head));
      EXPECT_TRUE(known) << key.high << " has the head of another record";
      return true;
    });
    if (store_->stats().damaged_segments > 0) damage_ = true;
    if (!status.ok() || !store_->scanned()) return status;
    if (!scanned_) CheckKept();
    scanned_ = true;
    for (auto& [n, key] : keys_) {
      if (key.settled) {
        EXPECT_EQ(seen.contains(n), !key.now.contains(0)) << n;
        continue;
      }
      // The record is of an earlier process.
      if (!damage_) key.now = key.durable;
      EXPECT_TRUE(seen.contains(n) || key.now.contains(0)) << "key " << n << " is missing after a restart";
      if (!seen.contains(n)) key.now = {0};
      key.now.erase(seen.contains(n) ? 0 : -1);
      key.settled = true;
      Get(n);
      key.last = key.durable = key.now;
    }
    return status;
  }
  // The faults are over: the store works again by itself.
  void ExpectRecovery() {
    disk_.Heal();
    Status status;
    for (int attempt = 0; attempt < 2; ++attempt) {
      clock_.Advance(DiskStore::kRetryNanos);
      Put(1000);
      status = Sync();
      if (status.ok()) break;
    }
    EXPECT_TRUE(status.ok()) << status.ToString();
    EXPECT_TRUE(Scan().ok());
    GetAll();
    EXPECT_LE(testing_support::DiskUsage(path_), store_->bytes());
    store_->CheckInvariants();
  }
  void GetAll() {
    for (const auto& [n, key] : keys_) Get(n);
  }

 private:
  uint64_t Now() const { return static_cast<uint64_t>(clock_.UnixSeconds()); }
  // After a restart: what was kept is, for as long as was asked, if the record is there.
  void CheckKept() {
    const bool all = !damage_ && store_->stats().retention.refused == 0;
    for (auto& [n, key] : keys_) {
      const auto kept = store_->KeptUntil(Key(n));
      EXPECT_TRUE(!kept || (store_->Contains(Key(n)) && kept->until <= key.kept)) << n;
      if (all && key.kept_durable > Now() && store_->Contains(Key(n))) {
        EXPECT_TRUE(kept && kept->until >= key.kept_durable) << n;
      }
    }
  }
  // What happens to the record of a key when its last put or deletion is version `v`, 0 for a deletion.
  static void Done(Entry* key, int version) {
    key->now = key->last = {version};
    key->dropped = false;
    key->settled = true;
    key->durable.insert({0, version});
  }
  int VersionOf(uint64_t n, const std::string& record) {
    for (const int version : keys_[n].ever)
      if (version != 0 && record == Record(n, version)) return version;
    ADD_FAILURE() << "key " << n << " has a record that was never put, of " << record.size() << " bytes";
    return -1;
  }
  void Dropped(uint64_t n) {
    Entry& key = keys_[n];
    key.now = {0};
    key.dropped = true;
    key.settled = true;
    key.kept_durable = 0;
    key.durable.insert(0);
  }

  bool damage_;
  const std::string path_;
  ManualClock clock_;
  testing_support::FaultyDisk disk_;
  std::unique_ptr<DiskStore> store_;
  Model keys_;
  bool scanned_ = false;
};

}  // namespace prefixd
