#include "storage/byte_ledger.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/disk_usage.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

constexpr uint64_t kUnit = ByteLedger::kUnit;

TEST(ByteLedger, CountsWholeUnitsAndKeepsTheLaw) {
  ByteLedger ledger(10 * kUnit);
  EXPECT_TRUE(ledger.Grow("d/a", 1));
  EXPECT_EQ(ledger.used(), kUnit);
  EXPECT_TRUE(ledger.Grow("d/a", kUnit)) << "the same unit";
  EXPECT_EQ(ledger.used(), kUnit);
  EXPECT_TRUE(ledger.Grow("d/b", 9 * kUnit));
  EXPECT_FALSE(ledger.Grow("d/a", kUnit + 1));
  EXPECT_EQ(ledger.used(), 10 * kUnit) << "a refusal changes nothing";
  EXPECT_TRUE(ledger.Grow("d/b", 1)) << "a file does not shrink by growing";
  EXPECT_EQ(ledger.used(), 10 * kUnit);
  ledger.Remove("d/b");
  EXPECT_TRUE(ledger.Grow("d/a", kUnit + 1));
  EXPECT_EQ(ledger.used(), 2 * kUnit);
  EXPECT_EQ(ledger.peak(), 10 * kUnit);
  ledger.CheckInvariants();
}

TEST(ByteLedger, CountsALinkedFileOnce) {
  ByteLedger ledger(10 * kUnit);
  ASSERT_TRUE(ledger.Grow("d/a", 3 * kUnit));
  ledger.Link("d/a", "d/b");
  EXPECT_EQ(ledger.used(), 3 * kUnit);
  ledger.Remove("d/a");
  EXPECT_EQ(ledger.used(), 3 * kUnit);
  ledger.Rename("d/b", "e/c");
  EXPECT_EQ(ledger.bytes_at("d"), 0u);
  EXPECT_EQ(ledger.bytes_at("e"), 3 * kUnit);
  ledger.RenameTree("e", "f");
  EXPECT_TRUE(ledger.Contains("f/c"));
  ledger.RemoveTree("f");
  EXPECT_EQ(ledger.used(), 0u);
  ledger.CheckInvariants();
}

TEST(ByteLedger, MeasuresWhatLiesThere) {
  const testing_support::TempDir folder;
  std::filesystem::create_directories(folder.path().string() + "/sub");
  std::ofstream(folder.path().string() + "/sub/file") << std::string(10'000, 'x');
  std::filesystem::create_hard_link(folder.path().string() + "/sub/file", folder.path().string() + "/link");
  std::filesystem::create_symlink("/nowhere", folder.path().string() + "/symlink");
  ByteLedger ledger(1 << 20);
  ASSERT_TRUE(ledger.Measure(folder.path().string()).ok());
  ASSERT_TRUE(ledger.Measure(folder.path().string() + "/nothing").ok());
  EXPECT_EQ(ledger.used(), testing_support::DiskUsage(folder.path().string()));
  EXPECT_GE(ledger.bytes_at(folder.path().string() + "/sub/file"), 10'000u);
  ASSERT_TRUE(ledger.Measure(folder.path().string()).ok());
  EXPECT_EQ(ledger.used(), testing_support::DiskUsage(folder.path().string()))
      << "measured twice, counted once";
  ledger.CheckInvariants();
}

}  // namespace
}  // namespace prefixd
