// What is assumed of a disk before anything was loaded from it.
#include "daemon/tier_probe.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

KvLayout Layout(DType dtype) {
  return {.layers = 2, .kv_heads = 2, .head_dim = 64, .block_tokens = 16, .dtype = dtype};
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
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const auto bytes = static_cast<uint32_t>(DTypeBytes(dtype));
    EXPECT_GT(ProbeDecoding(Layout(dtype), {}), 0) << DTypeName(dtype);
    EXPECT_GT(ProbeDecoding(Layout(dtype), {PayloadCodec::kPlanesZstd, bytes}), 0) << DTypeName(dtype);
  }
}

}  // namespace
}  // namespace prefixd
