// The fixture of the tests of the catalog, the summary, purge and verify: a directory that a DiskStore fills.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "storage/disk_catalog.h"
#include "storage/disk_purge.h"
#include "storage/disk_store.h"
#include "tests/support/disk_usage.h"
#include "tests/support/record_chain.h"
#include "tests/support/temp_dir.h"

namespace prefixd {

namespace fs = std::filesystem;
using testing_support::DiskUsage;
using testing_support::RecordChain;
using testing_support::TokensFrom;

constexpr BlockKey kModel{11, 12};
constexpr BlockKey kOther{21, 22};
constexpr uint64_t kCapacity = 16 << 20;

class DiskToolsTest : public testing::Test {
 protected:
  std::unique_ptr<DiskStore> Open(const BlockKey& group = kModel) {
    auto store = DiskStore::Open({.path = path_, .capacity = kCapacity, .group = group, .clock = &clock_});
    PREFIXD_CHECK(store.ok()) << store.status().ToString();
    return std::move(*store);
  }
  static void Put(DiskStore* store, StoreEntry entry) {
    std::vector<StoreEntry> batch;
    batch.push_back(std::move(entry));
    ASSERT_TRUE(store->PutBatch(std::move(batch)).ok());
  }
  std::unique_ptr<SegmentReader> Reader() const {
    auto reader = OpenRocksdbForReading(path_ + "/segments-1");
    PREFIXD_CHECK(reader.ok()) << reader.status().ToString();
    return std::move(*reader);
  }
  DiskCatalog Catalog() const { return ReadDiskCatalog(Reader().get()); }
  std::vector<fs::path> Tables() const {
    std::vector<fs::path> tables;
    for (const auto& entry : fs::recursive_directory_iterator(path_))
      if (entry.path().extension() == ".sst") tables.push_back(entry.path());
    std::sort(tables.begin(), tables.end());
    return tables;
  }
  // Purges as the command does. Returns what was planned.
  PurgePlan Purge(const RecordFilter& filter, PurgeResult* result) {
    ByteLedger ledger(UINT64_MAX);
    auto folder = DiskFolder::Open(path_, &ledger);
    PREFIXD_CHECK(folder.ok()) << folder.status().ToString();
    const DiskCatalog catalog = Catalog();
    const auto plan = PlanPurge(Reader().get(), catalog, filter);
    PREFIXD_CHECK(plan.ok()) << plan.status().ToString();
    const Status status =
        PurgeDatabase(folder->get(), &ledger, catalog, *plan, filter, nullptr, nullptr, result);
    EXPECT_TRUE(status.ok()) << status.ToString();
    EXPECT_LE(ledger.peak(), kCapacity);
    EXPECT_EQ(ledger.used(), DiskUsage(path_));
    return *plan;
  }
  // Whether any file has these bytes.
  bool OnDisk(std::string_view bytes) const {
    for (const auto& entry : fs::recursive_directory_iterator(path_)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string text = (std::ostringstream() << file.rdbuf()).str();
      if (::memmem(text.data(), text.size(), bytes.data(), bytes.size()) != nullptr) return true;
    }
    return false;
  }
  static std::set<BlockKey> Keys(const DiskCatalog& catalog, const BlockKey& model) {
    std::set<BlockKey> keys;
    if (const auto found = catalog.models.find(model); found != catalog.models.end())
      for (const CatalogRecord& record : found->second.records) keys.insert(record.key);
    return keys;
  }
  static std::set<BlockKey> Scanned(DiskStore* store) {
    std::set<BlockKey> keys;
    EXPECT_TRUE(
        store->Scan([&](const BlockKey& key, std::string_view) { return keys.insert(key).second; }).ok());
    return keys;
  }

  // In RAM where that is possible: these tests wait for no disk.
  const testing_support::TempDir folder_{"/dev/shm"};
  const std::string path_ = folder_.path().string() + "/cache";
  ManualClock clock_;
};

}  // namespace prefixd
