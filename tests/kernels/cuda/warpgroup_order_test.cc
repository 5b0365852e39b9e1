// What warpgroups read and bulk copies bring (warpgroup_order.h), without a kernel: every element of a
// product is the one of the tile that it should be, and copies bring each token once, in pieces of one block.
#include "kernels/cuda/warpgroup_order.h"

#include <gtest/gtest.h>

#include <set>

#include "kernels/cuda/kv_order.h"
#include "kernels/cuda/numerics.h"
#include "tests/support/cuda_emulation/shared_matrix.h"

namespace prefixd::cuda {
namespace {

using cuda_emulation::SharedMatrix;

constexpr uint32_t kTileAt[] = {0, 1024, 16384, 99 * 1024};

TEST(WarpgroupOrder, KeysAreTheColumnsOfTheScores) {
  for (const int dim : {64, 128, 192, 256}) {
    for (const uint32_t tile : kTileAt) {
      for (int step = 0; step < dim / 16; ++step) {
        const SharedMatrix keys(KeysDescriptor(tile, step, dim), /*rows_together=*/false);
        ASSERT_TRUE(keys.is_known());
        for (int token = 0; token < kTileTokens; ++token)
          for (int k = 0; k < 16; ++k)
            ASSERT_EQ(keys.ByteOf(k, token), tile + PlaneOffset(token, 16 * step + k, dim, 2, kTileTokens))
                << dim << ", step " << step << ", token " << token << ", dim " << k;
      }
    }
  }
}

TEST(WarpgroupOrder, ValuesAreTheRowsOfTheSums) {
  for (const int dim : {64, 128, 192, 256}) {
    for (const uint32_t tile : kTileAt) {
      for (int step = 0; step < kTileTokens / 16; ++step) {
        const SharedMatrix values(ValuesDescriptor(tile, step, dim), /*rows_together=*/true);
        ASSERT_TRUE(values.is_known());
        for (int token = 0; token < 16; ++token)
          for (int d = 0; d < dim; ++d)
            ASSERT_EQ(values.ByteOf(token, d), tile + PlaneOffset(16 * step + token, d, dim, 2, kTileTokens))
                << dim << ", step " << step << ", token " << token << ", dim " << d;
      }
    }
  }
}

// Bits as the manual has them: addresses in units of 16 bytes, and the swizzle of 128 bytes as 1.
TEST(WarpgroupOrder, FieldsOfADescriptor) {
  EXPECT_EQ(MatrixDescriptor(0x12340, 1024, 2048), 0x4000'0080'0040'1234u);
  EXPECT_EQ(MatrixDescriptor(0x3FFF0, 16, 16), 0x4000'0001'0001'3FFFu);
}

TEST(WarpgroupOrder, CopiesBringWhatIsSeenOnce) {
  for (const int block_tokens : {8, 16, 24, 32, 64, 128, 512}) {
    for (const int tile : {0, 64, 192, 448}) {
      for (int first = 0; first < tile + kTileTokens; first += first < tile ? 37 : 1) {
        for (const int last : {tile, tile + 1, tile + 7, tile + 8, tile + 40, tile + 63, tile + 64, 4000}) {
          if (last < first) continue;
          const TokenRange copied = CopiedTokens(tile, kTileTokens, first, last);
          std::multiset<int> tokens;
          for (int group = 0; group < kTileTokens / 8; ++group) {
            const TokenRange one = CopyOf(tile, group, copied, block_tokens);
            if (one.count() == 0) continue;
            ASSERT_EQ(one.first / block_tokens, (one.end - 1) / block_tokens);
            for (int token = one.first; token < one.end; ++token) tokens.insert(token);
          }
          ASSERT_EQ(tokens.size(), static_cast<size_t>(copied.count()));
          for (int token = tile; token < tile + kTileTokens; ++token) {
            const bool seen = token / 8 >= first / 8 && token / 8 <= last / 8;
            ASSERT_EQ(tokens.count(token), seen ? 1u : 0u)
                << "token " << token << " of " << first << " to " << last << ", blocks of " << block_tokens;
          }
        }
      }
    }
  }
}

// What lies together in a plane lies together in a tile, in the same order.
TEST(WarpgroupOrder, GroupsOfABlockLieAsInATile) {
  for (const int dim : {64, 128}) {
    for (const int block_tokens : {8, 16, 64, 128}) {
      for (int token = 0; token < block_tokens; ++token)
        for (int d = 0; d < dim; ++d)
          ASSERT_EQ(PlaneOffset(token, d, dim, 2, block_tokens) -
                        PlaneOffset(token / 8 * 8, 0, dim, 2, block_tokens),
                    PlaneOffset(token % 8, d, dim, 2, kTileTokens));
    }
  }
}

}  // namespace
}  // namespace prefixd::cuda
