#include "daemon/tier_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/clock.h"
#include "cache/drop_queue.h"
#include "cache/loss_log.h"
#include "engine/other_models.h"
#include "storage/disk_folder.h"
#include "storage/disk_store.h"
#include "tests/daemon/options_with.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;
using testing_support::OptionsWith;

constexpr uint64_t kMiB = 1 << 20;

// A block takes 16 * 2 * 2 * 8 * 2 = 1024 elements.
KvLayout SmallLayout(KvType type = DType::kF16) {
  return {
      .layers = 2, .kv_heads = 2, .head_dim = type.quantized() ? 32 : 16, .block_tokens = 16, .type = type};
}

TierPlan PlanOf(const Options& options, const KvLayout& layout = SmallLayout()) {
  Result<TierPlan> plan = MakeTierPlan(options, layout);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  return plan.ok() ? *std::move(plan) : TierPlan();
}

std::string FaultOf(const Options& options, const KvLayout& layout = SmallLayout()) {
  const Result<TierPlan> plan = MakeTierPlan(options, layout);
  if (plan.ok()) return "no fault";
  EXPECT_EQ(plan.status().code(), Code::kInvalidArgument);
  return plan.status().message();
}

TEST(TierPlan, WithoutOptionsThereIsNoLowerTier) {
  const TierPlan plan = PlanOf(OptionsWith({}));
  EXPECT_EQ(plan.host_blocks, 0u);
  EXPECT_FALSE(plan.disk.on);
  EXPECT_TRUE(TierMemory(plan, SmallLayout()).empty());
}

TEST(TierPlan, TheHostTierHasWholeBlocks) {
  const size_t block = SmallLayout().BlockBytes();
  const auto host = [](uint64_t bytes) { return OptionsWith({{"host-cache", std::to_string(bytes)}}); };
  EXPECT_EQ(PlanOf(host(block)).host_blocks, 1u);
  EXPECT_EQ(PlanOf(host(3 * block - 1)).host_blocks, 2u);
  EXPECT_THAT(FaultOf(host(block - 1)), StartsWith("host-cache: "));
  EXPECT_THAT(FaultOf(host(uint64_t{1} << 50)), StartsWith("host-cache: ")) << "too many blocks";
}

TEST(TierPlan, TheOptionsOfTheDiskAreTaken) {
  const testing_support::TempDir dir;
  const DiskPlan disk = PlanOf(OptionsWith({{"disk-cache-dir", dir.path()},
                                            {"disk-cache", "64MiB"},
                                            {"disk-write-through", "true"},
                                            {"disk-max-age", "2d"},
                                            {"disk-compression", "on"}}))
                            .disk;
  EXPECT_TRUE(disk.on);
  EXPECT_EQ(disk.dir, dir.path());
  EXPECT_EQ(disk.capacity, 64 * kMiB);
  EXPECT_EQ(disk.capacity_source, "option disk-cache");
  EXPECT_TRUE(disk.write_through);
  EXPECT_EQ(disk.max_age_seconds, 2 * 86'400);
  EXPECT_EQ(disk.codec.codec, PayloadCodec::kPlanesZstd);
  EXPECT_EQ(disk.codec.element_bytes, 2u);
}

TEST(TierPlan, OptionsWithoutTheOneThatTheyNeedAreRefused) {
  const auto without = [](const char* name, const char* value, const char* needed) {
    EXPECT_THAT(FaultOf(OptionsWith({{name, value}})),
                AllOf(StartsWith(std::string(name) + " has no effect"), HasSubstr(needed)));
  };
  without("disk-cache", "1GiB", "without disk-cache-dir");
  without("disk-write-through", "true", "without disk-cache-dir");
  without("disk-max-age", "7d", "without disk-cache-dir");
  without("disk-compression", "off", "without disk-cache-dir");
  without("remote-tls-ca", "ca.pem", "without remote-cache");
  without("remote-tls-cert", "cert.pem", "without remote-cache");
  without("remote-tls-key", "key.pem", "without remote-cache");
  without("remote-write-rate", "1MiB", "without remote-cache");
  without("remote-write-through", "true", "without remote-cache");
  without("remote-lease-seconds", "0", "without remote-cache");
  without("remote-max-age", "7d", "without remote-cache");
  without("warm-start", "0", "without remote-cache");
  without("warm-start-seconds", "5", "without remote-cache");
  (void)PlanOf(
      OptionsWith({{"remote-cache", "redis://host"}, {"warm-start", "0"}, {"remote-lease-seconds", "0"}}));
}

TEST(TierPlan, WithoutASizeTheDiskTierTakesATenthOfWhatIsFree) {
  const testing_support::TempDir dir;
  const uint64_t free = std::filesystem::space(std::string(dir.path())).available;
  const std::string missing = std::string(dir.path()) + "/not/yet";
  const DiskPlan disk = PlanOf(OptionsWith({{"disk-cache-dir", missing}})).disk;
  // Others use the same file system, so what is free changes all the time.
  EXPECT_GE(disk.capacity, std::max(free / 20, kMinDiskCapacity));
  EXPECT_LE(disk.capacity, std::max(free / 5, kMinDiskCapacity));
  EXPECT_THAT(disk.capacity_source, StartsWith("a tenth of the "));
  EXPECT_FALSE(std::filesystem::exists(std::string(dir.path()) + "/not")) << "a plan creates nothing";
}

TEST(TierPlan, CompressionFollowsTheTypeOfTheKv) {
  const testing_support::TempDir dir;
  const auto codec = [&](const char* mode, KvType type) {
    return PlanOf(OptionsWith(
                      {{"disk-cache-dir", dir.path()}, {"disk-cache", "64MiB"}, {"disk-compression", mode}}),
                  SmallLayout(type))
        .disk.codec;
  };
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8_0}) {
    const CodecChoice chosen = ChooseCodec(type.name());
    EXPECT_EQ(codec("auto", type).codec, chosen.codec) << type.name();
    EXPECT_EQ(codec("auto", type).element_bytes, chosen.element_bytes) << type.name();
    EXPECT_EQ(codec("off", type).codec, PayloadCodec::kRaw);
    EXPECT_EQ(codec("on", type).codec, PayloadCodec::kPlanesZstd);
    EXPECT_EQ(codec("on", type).element_bytes, type.element_bytes());
  }
}

TEST(TierPlan, AnOptionThatWouldDoNothingIsAFault) {
  const std::vector<std::pair<std::string, std::string>> alone[] = {
      {{"disk-cache", "1GiB"}},
      {{"disk-write-through", "true"}},
      {{"disk-max-age", "1h"}},
      {{"disk-compression", "off"}},
  };
  for (const auto& settings : alone) {
    EXPECT_THAT(FaultOf(OptionsWith(settings)),
                AllOf(StartsWith(settings[0].first), HasSubstr("disk-cache-dir")));
  }
  const testing_support::TempDir dir;
  EXPECT_THAT(FaultOf(OptionsWith({{"no-prefix-cache", "true"}, {"disk-cache-dir", dir.path()}})),
              AllOf(StartsWith("disk-cache-dir"), HasSubstr("no-prefix-cache")));
  EXPECT_THAT(FaultOf(OptionsWith({{"no-prefix-cache", "true"}, {"host-cache", "1GiB"}})),
              AllOf(StartsWith("host-cache"), HasSubstr("no-prefix-cache")));
}

TEST(TierPlan, TheLargestRecordHoldsABlock) {
  const testing_support::TempDir dir;
  KvLayout layout = SmallLayout();
  const Options options = OptionsWith({{"disk-cache-dir", dir.path()}, {"disk-cache", "8MiB"}});
  EXPECT_EQ(FaultOf(options, layout), "no fault");
  while (layout.BlockBytes() < DiskStore::SegmentBytes(kMinDiskCapacity)) layout.layers *= 2;
  EXPECT_THAT(FaultOf(options, layout), AllOf(StartsWith("disk-cache: "), HasSubstr("enlarge disk-cache")));
}

TEST(TierMemory, CountsTheHostBlocksAndWhatTheDiskTierNeedsInRam) {
  const testing_support::TempDir dir;
  const KvLayout layout = SmallLayout();
  const TierPlan plan =
      PlanOf(OptionsWith({{"host-cache", "1MiB"}, {"disk-cache-dir", dir.path()}, {"disk-cache", "64MiB"}}));
  const MemoryPlan parts = TierMemory(plan, layout);
  EXPECT_EQ(BytesOf(parts, "host_cache_bytes"), plan.host_blocks * uint64_t{layout.BlockBytes()});
  EXPECT_GE(
      BytesOf(parts, "disk_index_bytes"),
      64 * kMiB / layout.BlockBytes() * 37 + DropQueue::MaxMemoryBytes() + OtherModels::MaxMemoryBytes());
  EXPECT_GE(BytesOf(parts, "disk_buffer_bytes"), 3 * DiskStore::SegmentBytes(64 * kMiB));
  for (const MemoryPart& part : parts) {
    const TierPlan larger = PlanOf(
        OptionsWith({{"host-cache", "2MiB"}, {"disk-cache-dir", dir.path()}, {"disk-cache", "128MiB"}}),
        layout);
    EXPECT_GT(BytesOf(TierMemory(larger, layout), part.key), part.bytes) << part.key;
  }
}

TEST(TierPlan, AsManyLossesAreRememberedAsTheTiersHaveBlocksAFewTimes) {
  const KvLayout layout = SmallLayout();
  TierPlan plan{.host_blocks = 10'000};
  EXPECT_EQ(RememberedLosses({}, layout, 100), uint64_t{1} << 15) << "the least";
  EXPECT_EQ(RememberedLosses(plan, layout, 20'000), 4u * 30'000);
  plan.disk = {.on = true, .capacity = 5'000 * uint64_t{layout.BlockBytes()}};
  EXPECT_EQ(RememberedLosses(plan, layout, 20'000), 4u * 35'000);
  plan.disk.capacity = uint64_t{1} << 50;
  EXPECT_EQ(LossLog::MaxMemoryBytes(RememberedLosses(plan, layout, 20'000)), uint64_t{32} << 20)
      << "the most";
}

TEST(TierPlan, ADirectoryThatCannotBeOneIsRefused) {
  const testing_support::TempDir folder;
  const std::string file = folder.path().string() + "/file";
  std::ofstream(file) << "precious";
  const auto in = [](const std::string& dir) {
    return OptionsWith({{"disk-cache-dir", dir}, {"disk-cache", std::to_string(64 * kMiB)}});
  };
  for (const std::string& dir : {file, file + "/a/b"})
    EXPECT_THAT(FaultOf(in(dir)), AllOf(StartsWith("disk-cache-dir: '" + dir), HasSubstr("not a directory")));
  EXPECT_TRUE(PlanOf(in(folder.path().string() + "/a/b")).disk.on);
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "a"));
}

TEST(TierPlan, ADirectoryOfOtherFilesIsRefused) {
  const testing_support::TempDir folder;
  const auto options = OptionsWith({{"disk-cache-dir", folder.path().string()}});
  EXPECT_TRUE(PlanOf(options).disk.on) << "it is empty";
  std::ofstream(folder.path().string() + "/letter") << "precious";
  EXPECT_THAT(FaultOf(options), AllOf(StartsWith("disk-cache-dir: '"), HasSubstr("is not empty")));
  std::filesystem::create_directory(folder.path() / "segments-1");
  EXPECT_TRUE(PlanOf(options).disk.on) << "it is a cache, in which somebody put a file";
}

TEST(TierPlan, OnlyAShellReplacesATilde) {
  EXPECT_THAT(FaultOf(OptionsWith({{"disk-cache-dir", "~/kv"}})), HasSubstr("begins with ~"));
}

TEST(TierPlan, ADirectoryInUseIsAWarning) {
  const testing_support::TempDir folder;
  const auto options = OptionsWith({{"disk-cache-dir", folder.path().string()}});
  const SystemClock clock;
  auto store =
      DiskStore::Open({.path = folder.path().string(), .capacity = kMinDiskCapacity, .clock = &clock});
  ASSERT_TRUE(store.ok());
  EXPECT_THAT(PlanOf(options).warnings,
              ElementsAre(AllOf(StartsWith("disk-cache-dir: "), HasSubstr(std::to_string(getpid())))));
  store->reset();
  EXPECT_THAT(PlanOf(options).warnings, IsEmpty());
}

TEST(TierPlan, ACapacityAboveTheFileSystemIsAWarning) {
  const testing_support::TempDir folder;
  const auto options = OptionsWith({{"disk-cache-dir", folder.path().string()}, {"disk-cache", "1024TiB"}});
  EXPECT_THAT(PlanOf(options).warnings, ElementsAre(StartsWith("disk-cache: 1024.0 TiB are more than")));
}

// The cap stays where it is when the cache has filled a part of the disk.
TEST(TierPlan, WhatTheCacheHasCountsAsFree) {
  const testing_support::TempDir folder("/dev/shm");
  const std::string dir = folder.path().string() + "/cache";
  std::filesystem::create_directories(dir + "/segments-1");
  const uint64_t free = std::filesystem::space(dir).available;
  const uint64_t own = std::min<uint64_t>(free / 4, 256 * kMiB);
  std::ofstream(dir + "/segments-1/000001.sst") << std::string(own, 'x');
  EXPECT_GE(DiskFolderBytes(dir), own);
  const DiskPlan disk = PlanOf(OptionsWith({{"disk-cache-dir", dir}})).disk;
  EXPECT_NEAR(static_cast<double>(disk.capacity), static_cast<double>(free) / 10,
              static_cast<double>(own) / 20);
  EXPECT_THAT(disk.capacity_source, HasSubstr("or its own"));
}

TEST(TierPlan, ADirectoryThatMayNotBeWrittenIsRefused) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  const testing_support::TempDir folder;
  std::filesystem::permissions(folder.path(),
                               std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  EXPECT_THAT(FaultOf(OptionsWith({{"disk-cache-dir", folder.path().string() + "/a"}})),
              HasSubstr("may not be written"));
}

}  // namespace
}  // namespace prefixd
