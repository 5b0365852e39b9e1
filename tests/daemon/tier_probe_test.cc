// What is assumed of a disk before anything was loaded from it.
#include "daemon/tier_probe.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

KvLayout Layout(KvType type) {
  return {.layers = 2, .kv_heads = 2, .head_dim = 64, .block_tokens = 16, .type = type};
}

TEST(TierProbe, ADirectoryThatIsNotThereHasNoRate) {
  EXPECT_EQ(ProbeReads("/nowhere/at/all", 4096, 8 << 20), 0);
}

TEST(TierProbe, ReadsLeaveNothingBehind) {
  const testing_support::TempDir dir;
  // 0 where the file system reads through the page cache alone.
  for (const size_t piece : {size_t{1}, size_t{5000}, size_t{1} << 20, size_t{9} << 20})
    EXPECT_GE(ProbeReads(dir.path(), piece, 8 << 20), 0) << piece;
  EXPECT_EQ(ProbeReads(dir.path(), 4096, 1 << 19), 0) << "a full disk cache has no room for a probe";
  EXPECT_TRUE(std::filesystem::is_empty(std::string(dir.path())));
}

// A record that does not decode would have no time.
TEST(TierProbe, EveryCodecDecodesWhatItEncodes) {
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8_0}) {
    const auto bytes = static_cast<uint32_t>(type.element_bytes());
    EXPECT_GT(ProbeDecoding(Layout(type), {}), 0) << type.name();
    EXPECT_GT(ProbeDecoding(Layout(type), {PayloadCodec::kPlanesZstd, bytes}), 0) << type.name();
  }
}

}  // namespace
}  // namespace prefixd
