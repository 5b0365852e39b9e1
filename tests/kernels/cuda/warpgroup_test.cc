// Attention by warpgroups: bit for bit rule 6 of kernels/cuda/numerics.h, as the kernels of
// attention_test.cc, with the shapes that differ for it. The emulation multiplies as the manual of PTX says;
// what a device makes of descriptors, bulk copies and barriers, only a device shows, also at the sizes of
// real prompts.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/kernels/cuda/attention_step.h"

namespace prefixd {
namespace {

using cuda::AttentionWay;
using cuda_test::AttentionCase;
using cuda_test::AttentionStep;

class CudaWarpgroups : public testing::TestWithParam<DType> {
 protected:
  // Rows of one KV head in teams. With 16 heads each row has a unit of its own, with 4 each four rows.
  static AttentionCase Of(int heads, int head_dim, int position, int rows, int window = 0) {
    return {.heads = heads,
            .kv_heads = 1,
            .head_dim = head_dim,
            .window = window,
            .pieces = {{position, rows}},
            .by_spans = 0};
  }
  static void Check(AttentionCase c) {
    c.way = AttentionWay::kWarpgroups;
    const auto device = cuda_test::NewDevice();
    AttentionStep step(c, GetParam());
    const std::vector<float> got = step.Compute(device.get()), expected = step.Expected();
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      if (c.special_token >= 0 && std::isnan(expected[i]) && std::isnan(got[i])) continue;
      ASSERT_FALSE(std::isnan(expected[i])) << i;
      ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(expected[i])) << "element " << i;
    }
  }
};

// Units of a team that see other tiles and spans, whole and broken teams, and units without rows.
TEST_P(CudaWarpgroups, Teams) {
  for (const int head_dim : {64, 128}) {
    Check(Of(16, head_dim, 62, 5));
    Check(Of(4, head_dim, 254, 9));
  }
  Check(Of(8, 64, 510, 5));
}

TEST_P(CudaWarpgroups, WindowsAroundTilesAndSpans) {
  Check(Of(8, 64, 126, 7, 65));
  Check(Of(8, 64, 510, 5, 258));
  Check(Of(16, 128, 75, 3, 10));
}

// Pieces of a tile that one copy brings, and blocks larger than a tile.
TEST_P(CudaWarpgroups, Blocks) {
  for (const int block_tokens : {8, 32, 64, 128}) {
    AttentionCase c = Of(16, 64, 131, 2);
    c.block_tokens = block_tokens;
    Check(c);
  }
}

// A block takes several teams, with barriers of its own for each.
TEST_P(CudaWarpgroups, UnitsOfAList) {
  AttentionCase c{.heads = 8, .kv_heads = 2, .head_dim = 64, .pieces = {{3, 9}, {70, 5}}, .by_spans = 0};
  for (const int blocks : {1, 3}) {
    c.list_blocks = blocks;
    Check(c);
  }
}

// Teams of rows of several sequences.
TEST_P(CudaWarpgroups, SequencesThatShareBlocks) {
  AttentionCase c{.heads = 8, .kv_heads = 1, .head_dim = 64, .shared_tokens = 256};
  for (const int position : {256, 257, 258, 270, 300}) c.pieces.push_back({position, 1, 0});
  Check(c);
}

TEST_P(CudaWarpgroups, ValuesThatARowDoesNotSeeDoNotReachIt) {
  AttentionCase c = Of(16, 64, 60, 5);
  c.special = std::numeric_limits<float>::infinity();
  for (const int token : {61, 63, 64}) {
    c.special_token = token;
    Check(c);
  }
  c = Of(16, 128, 256, 4, 70);
  c.special = std::nanf("");
  c.special_token = 188;
  Check(c);
}

// The kernels of warps and of warpgroups give the same bits at the sizes of real prompts.
TEST_P(CudaWarpgroups, HaveTheBitsOfWarpsOnADevice) {
  const auto device = cuda_test::NewDevice();
  if (device->facts().name == "emulated device")
    GTEST_SKIP() << "PREFIXD_TEST_MODULE names no module with a device";
  if (device->facts().compute_capability != 90) GTEST_SKIP() << "the device has no such kernels";
  for (const int head_dim : {64, 128}) {
    for (const auto& [heads, kv_heads] : {std::pair{32, 8}, {8, 8}, {16, 1}, {14, 2}}) {
      for (const int window : {0, 100, 1024}) {
        for (const int block_tokens : {8, 16, 64}) {
          for (const auto& [position, rows] : {std::pair{0, 512}, {0, 17}, {1000, 333}, {4090, 64}}) {
            AttentionCase c{.heads = heads,
                            .kv_heads = kv_heads,
                            .head_dim = head_dim,
                            .block_tokens = block_tokens,
                            .window = window,
                            .pieces = {{position, rows}},
                            .by_spans = 0};
            const std::vector<float> warps = AttentionStep(c, GetParam()).Compute(device.get());
            c.way = AttentionWay::kWarpgroups;
            const std::vector<float> groups = AttentionStep(c, GetParam()).Compute(device.get());
            size_t differing = 0;
            for (size_t i = 0; i < warps.size(); ++i)
              differing += std::bit_cast<uint32_t>(warps[i]) != std::bit_cast<uint32_t>(groups[i]);
            EXPECT_EQ(differing, 0u) << "of " << warps.size() << ": " << heads << " / " << kv_heads
                                     << " heads of " << head_dim << ", window " << window << ", blocks of "
                                     << block_tokens << ", " << rows << " rows at " << position;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CudaWarpgroups, testing::Values(DType::kBF16, DType::kF16),
                         [](const auto& of) { return std::string(DTypeName(of.param)); });

}  // namespace
}  // namespace prefixd
