// The kernels of attention, bit for bit against rule 6 of kernels/cuda/numerics.h in plain code.
#include "kernels/cuda/attention_plan.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "tests/kernels/cuda/attention_step.h"
#include "tests/kernels/cuda/typed_array.h"
#include "tests/support/rounds.h"

namespace prefixd {
namespace {

using cuda_test::AttentionCase;
using cuda_test::AttentionStep;

std::string Describe(const AttentionCase& c) {
  std::string text = std::to_string(c.heads) + " / " + std::to_string(c.kv_heads) + " heads of " +
                     std::to_string(c.head_dim) + ", blocks of " + std::to_string(c.block_tokens) +
                     ", window " + std::to_string(c.window) + ", by spans to " + std::to_string(c.by_spans) +
                     (c.plain ? ", plain" : "");
  for (const auto& piece : c.pieces)
    text += ", " + std::to_string(piece.rows) + " at " + std::to_string(piece.position);
  return text;
}

// For a type of KV, and the kernels that serve every shape or those that LaunchOf chooses.
class CudaAttention : public testing::TestWithParam<std::tuple<KvType, bool>> {
 protected:
  void Check(AttentionCase c, const cuda_emulation::EmulatedOptions& options = {}) {
    const auto& [type, plain] = GetParam();
    if (!type.Fits(c.head_dim)) return;
    c.plain = plain;
    const auto device = cuda_test::NewDevice(options);
    AttentionStep step(c, type);
    const std::vector<float> got = step.Compute(device.get()), expected = step.Expected();
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      if (c.special_token >= 0 && std::isnan(expected[i]) && std::isnan(got[i])) continue;
      ASSERT_FALSE(std::isnan(expected[i])) << i;
      ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(expected[i]))
          << "element " << i << " is " << got[i] << ", not " << expected[i] << "; " << Describe(c);
    }
  }
};

TEST_P(CudaAttention, OneRow) {
  for (const int position : {0, 1, 7, 15, 63, 64, 255, 256, 300}) Check({.pieces = {{position, 1}}});
}

TEST_P(CudaAttention, OneRowOfStagedDims) {
  for (const int head_dim : {64, 96, 128, 256}) {
    for (const int position : {0, 8, 63, 64, 127, 256})
      Check({.heads = 2, .kv_heads = 1, .head_dim = head_dim, .pieces = {{position, 1}}});
  }
}

TEST_P(CudaAttention, ChunksAfterACachedPrefix) {
  for (const int head_dim : {32, 64}) {
    Check({.heads = 2, .kv_heads = 1, .head_dim = head_dim, .pieces = {{0, 17}}});
    Check({.heads = 2, .kv_heads = 1, .head_dim = head_dim, .pieces = {{60, 9}}});
    Check({.heads = 2, .kv_heads = 1, .head_dim = head_dim, .pieces = {{250, 12}}});
  }
  for (const int head_dim : {96, 128, 256})
    Check({.heads = 1, .kv_heads = 1, .head_dim = head_dim, .pieces = {{48, 20}}});
}

TEST_P(CudaAttention, GroupsOfHeads) {
  for (const int head_dim : {16, 64}) {
    for (const int group : {1, 3, 4, 7, 8, 24})
      Check({.heads = group, .kv_heads = 1, .head_dim = head_dim, .pieces = {{63, 3}}});
    Check({.heads = 12, .kv_heads = 3, .head_dim = head_dim, .pieces = {{17, 5}}});
    Check({.heads = 14, .kv_heads = 2, .head_dim = head_dim, .pieces = {{5, 3}}});
  }
}

TEST_P(CudaAttention, HeadDims) {
  for (const int head_dim : {2, 6, 8, 10, 40, 48, 64, 80, 96, 128, 192, 256})
    Check({.heads = 2, .kv_heads = 1, .head_dim = head_dim, .pieces = {{70, 2}}});
}

TEST_P(CudaAttention, Blocks) {
  for (const int block_tokens : {1, 2, 4, 8, 16, 32, 64, 128}) {
    for (const int head_dim : {6, 32, 64})
      Check({.heads = 2,
             .kv_heads = 1,
             .head_dim = head_dim,
             .block_tokens = block_tokens,
             .pieces = {{130, 2}, {5, 1}}});
  }
  for (const int head_dim : {96, 128}) {
    for (const int block_tokens : {8, 64, 128})
      Check({.heads = 2,
             .kv_heads = 2,
             .head_dim = head_dim,
             .block_tokens = block_tokens,
             .pieces = {{68, 2}}});
  }
}

TEST_P(CudaAttention, WindowsAroundTilesAndSpans) {
  for (const int window : {1, 5, 63, 64, 65, 100, 127, 128, 129, 1000})
    Check({.heads = 2, .kv_heads = 1, .window = window, .pieces = {{126, 4}}});
  for (const int window : {40, 255, 256, 257})
    Check({.heads = 2, .kv_heads = 1, .head_dim = 64, .window = window, .pieces = {{510, 3}}});
  for (const int by_spans : {0, 16})
    Check({.heads = 1,
           .kv_heads = 1,
           .head_dim = 64,
           .window = 300,
           .pieces = {{600, 18}},
           .by_spans = by_spans});
}

TEST_P(CudaAttention, SeveralSequences) {
  for (const int head_dim : {32, 64})
    Check({.head_dim = head_dim, .pieces = {{0, 20}, {31, 1}, {257, 1}, {5, 9}}});
}

TEST_P(CudaAttention, UnitsOfOneSpanAndOfAll) {
  for (const int by_spans : {0, 1000}) {
    for (const int head_dim : {16, 64}) {
      Check({.heads = 2, .kv_heads = 1, .head_dim = head_dim, .pieces = {{510, 3}}, .by_spans = by_spans});
      Check({.heads = 2,
             .kv_heads = 1,
             .head_dim = head_dim,
             .window = 300,
             .pieces = {{600, 2}},
             .by_spans = by_spans});
    }
  }
}

// A block takes several units or teams, in the same shared memory, or none.
TEST_P(CudaAttention, UnitsOfAList) {
  for (const int blocks : {1, 2, 64}) {
    for (const int head_dim : {16, 64}) {
      Check({.heads = 4,
             .kv_heads = 2,
             .head_dim = head_dim,
             .pieces = {{300, 1}, {5, 1}, {64, 1}},
             .list_blocks = blocks});
    }
    Check({.heads = 2,
           .kv_heads = 1,
           .head_dim = 64,
           .pieces = {{3, 40}, {70, 17}},
           .by_spans = 0,
           .list_blocks = blocks});
  }
}

// Rows that read a span together: some in a unit, more in a team, with partly filled ones; others leave them
// at a span, or have a length of their own.
TEST_P(CudaAttention, SequencesThatShareBlocks) {
  const auto check = [&](int heads, int kv_heads, int head_dim, std::vector<int> positions, int shared,
                         int list_blocks = 0) {
    AttentionCase c{.heads = heads, .kv_heads = kv_heads, .head_dim = head_dim};
    for (const int position : positions) c.pieces.push_back({position, 1, 0});
    c.shared_tokens = shared;
    c.list_blocks = list_blocks;
    Check(c);
  };
  for (const int head_dim : {16, 64}) {
    check(4, 2, head_dim, {600, 255, 256, 300}, 256);
    check(4, 1, head_dim, {530, 512, 511, 270, 254, 600}, 512);
    check(2, 1, head_dim, {256, 257, 258, 259, 260, 261, 262, 263, 264}, 256, 2);
  }
  check(4, 1, 128, {260, 270, 280, 290, 300}, 256);
}

TEST_P(CudaAttention, RowsThatAreNotThereHaveNoUnit) {
  const auto device = cuda_test::NewDevice();
  const DType type = std::get<0>(GetParam()).dtype();
  const cuda_test::DeviceArray<float> partials(device.get(), std::vector<float>{0.5f, 2, 3, 4, 5});
  const cuda_test::DeviceArray<cuda::FoldPlace> places(device.get(),
                                                       std::vector<cuda::FoldPlace>{{0, 1, 1}, {0, 0, 0}});
  const cuda_test::TypedArray out(device.get(), type, 6);
  const cuda::FoldParams fold{partials.data(), places.data(), out.data(), 2, 1, 3};
  cuda_test::RunLaunch(*device, LaunchOf(fold, type));
  EXPECT_EQ(out.Get(), (std::vector<float>{1.5f, 2, 2.5f, 0, 0, 0}));
}

// Some rows of a unit see a token whose V is not finite, and others do not.
TEST_P(CudaAttention, ValuesThatARowDoesNotSeeDoNotReachIt) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float special : {kInfinity, -kInfinity, std::nanf("")}) {
    for (const int head_dim : {16, 64}) {
      AttentionCase c{.heads = 3, .kv_heads = 1, .head_dim = head_dim};
      c.special = special;
      c.pieces = {{60, 5}};
      for (const int token : {61, 63, 64}) {
        c.special_token = token;
        Check(c);
        if (testing_support::kSanitized) break;
      }
      c.window = 70;
      c.pieces = {{256, 4}};
      for (const int token : {187, 189, 257}) {
        c.special_token = token;
        Check(c);
        if (testing_support::kSanitized) break;
      }
    }
  }
}

// Two warps of a unit have the dims of o between them.
TEST_P(CudaAttention, LargeHeads) {
  Check({.heads = 2, .kv_heads = 1, .head_dim = 256, .pieces = {{255, 2}}, .by_spans = 0});
  Check({.heads = 2, .kv_heads = 1, .head_dim = 256, .window = 65, .pieces = {{130, 2}}});
  AttentionCase c{.heads = 3, .kv_heads = 1, .head_dim = 256, .pieces = {{62, 3}}};
  c.special = std::numeric_limits<float>::infinity();
  c.special_token = 63;
  Check(c);
}

// Teams whose units see other tiles and spans than each other, and whole and broken teams.
TEST_P(CudaAttention, Teams) {
  const auto of = [](int heads, int head_dim, int position, int rows, int window) {
    return AttentionCase{.heads = heads,
                         .kv_heads = 1,
                         .head_dim = head_dim,
                         .window = window,
                         .pieces = {{position, rows}},
                         .by_spans = 0};
  };
  Check(of(16, 64, 62, 5, 0));  // a unit for each row
  Check(of(16, 64, 254, 4, 0));
  Check(of(8, 64, 126, 7, 65));
  Check(of(8, 64, 510, 5, 258));
  Check(of(12, 128, 63, 2, 0));
  Check(of(12, 256, 63, 2, 0));
}

// Rows of other units of a team see a token whose V is not finite.
TEST_P(CudaAttention, ValuesThatAUnitOfATeamDoesNotSeeDoNotReachIt) {
  AttentionCase c{.heads = 16, .kv_heads = 1, .head_dim = 64, .by_spans = 0};
  c.special = std::numeric_limits<float>::infinity();
  for (const int window : {0, 70}) {
    c.window = window;
    c.pieces = {{window == 0 ? 60 : 256, 5}};
    for (const int token : {61, 63, 64, 187, 188, 258}) {
      if (token > c.pieces[0].position + 4) continue;
      c.special_token = token;
      Check(c);
    }
  }
}

// The fold rounds to the type of the weights.
TEST_P(CudaAttention, OutputsOfSixteenBits) {
  for (const DType out : {DType::kBF16, DType::kF16}) {
    Check({.pieces = {{20, 2}}, .out = out});
    Check({.head_dim = 64, .pieces = {{257, 1}}, .out = out});
  }
}

// Blocks whose bytes lie beyond 2 and 4 GiB. What lies below is zeros, and gives other results.
TEST_P(CudaAttention, BlocksBeyond32Bits) {
  const cuda_emulation::EmulatedOptions large{.bytes = size_t{64} << 30};
  for (const BlockId first_block : {600u, 1100u, 5000u}) {
    for (const int head_dim : {16, 64})
      Check({.head_dim = head_dim,
             .pieces = {{33, 2}, {4, 1}},
             .first_block = first_block,
             .block_bytes = size_t{4} << 20},
            large);
  }
}

std::string NameOf(const testing::TestParamInfo<std::tuple<KvType, bool>>& info) {
  return std::string(std::get<0>(info.param).name()) + (std::get<1>(info.param) ? "_plain" : "");
}

// Sanitizers run each type and each kernel once: F32 and the plain types of 16 bits have a kernel each.
std::vector<std::tuple<KvType, bool>> TypesAndKernels() {
  if (testing_support::kSanitized) return {{DType::kF32, false}, {DType::kF16, true}, {DType::kBF16, false}};
  return {{DType::kF32, false}, {DType::kF32, true},   {DType::kF16, false},
          {DType::kF16, true},  {DType::kBF16, false}, {DType::kBF16, true}};
}

INSTANTIATE_TEST_SUITE_P(Types, CudaAttention, testing::ValuesIn(TypesAndKernels()), NameOf);

// --- KV whose numbers are expanded ---

// What differs from 16 bits: how K and V are copied, and the tile that is made of them.
class CudaExpandedAttention : public CudaAttention {};

TEST_P(CudaExpandedAttention, DimsAndBlocks) {
  for (const int head_dim : {32, 64, 96, 128}) {
    for (const int block_tokens : {4, 8, 16, 128}) {
      Check({.heads = 2,
             .kv_heads = 2,
             .head_dim = head_dim,
             .block_tokens = block_tokens,
             .pieces = {{71, 1}, {5, 2}}});
    }
  }
  Check({.heads = 1, .kv_heads = 1, .head_dim = 256, .pieces = {{71, 1}}});
}

TEST_P(CudaExpandedAttention, ChunksAndTeams) {
  Check({.heads = 2, .kv_heads = 1, .head_dim = 64, .pieces = {{250, 9}, {0, 3}}});
  for (const int head_dim : {96, 128, 256})
    Check({.heads = 12, .kv_heads = 1, .head_dim = head_dim, .pieces = {{63, 2}}, .by_spans = 0});
}

TEST_P(CudaExpandedAttention, WindowsAroundTilesAndSpans) {
  for (const int window : {5, 64, 65})
    Check({.heads = 1, .kv_heads = 1, .head_dim = 64, .window = window, .pieces = {{126, 3}}});
  Check({.heads = 8, .kv_heads = 1, .head_dim = 64, .window = 258, .pieces = {{510, 3}}, .by_spans = 0});
}

TEST_P(CudaExpandedAttention, ValuesThatARowDoesNotSeeDoNotReachIt) {
  AttentionCase c{.heads = 16, .kv_heads = 1, .head_dim = 64, .by_spans = 0};
  c.special = std::numeric_limits<float>::infinity();
  c.pieces = {{62, 3}};
  c.special_token = 63;
  Check(c);
}

INSTANTIATE_TEST_SUITE_P(Types, CudaExpandedAttention,
                         testing::Combine(testing::Values(KvType::kQ8_0, KvType::kFp8), testing::Bool()),
                         NameOf);

// --- The same bits for every plan ---

// The results of the rows of `mixed` are those of each row in a step of its own.
TEST(AttentionBits, DependOnNoOtherRow) {
  for (const DType type : {DType::kBF16, DType::kF32}) {
    AttentionCase mixed{.heads = 6, .kv_heads = 2, .head_dim = 64, .window = 200};
    mixed.pieces = {{250, 9}, {70, 1}, {0, 3}, {520, 2}};
    std::vector<float> expected;
    for (size_t s = 0; s < mixed.pieces.size(); ++s) {
      for (int i = 0; i < mixed.pieces[s].rows; ++i) {
        AttentionCase alone = mixed;
        alone.by_spans = 1;
        alone.pieces = {{mixed.pieces[s].position + i, 1, static_cast<int>(s)}};
        const auto device = cuda_test::NewDevice();
        const std::vector<float> row = AttentionStep(alone, type).Compute(device.get());
        expected.insert(expected.end(), row.begin(), row.end());
      }
    }
    for (const int by_spans : {0, 1, 4, 16}) {
      mixed.by_spans = by_spans;
      const auto device = cuda_test::NewDevice();
      const std::vector<float> all = AttentionStep(mixed, type).Compute(device.get());
      ASSERT_EQ(all.size(), expected.size());
      for (size_t at = 0; at < all.size(); ++at) {
        ASSERT_EQ(std::bit_cast<uint32_t>(all[at]), std::bit_cast<uint32_t>(expected[at]))
            << "element " << at << ", by spans to " << by_spans;
      }
    }
  }
}

// Random steps, cut in three ways, on devices that run their threads in other orders.
TEST(AttentionBits, AreTheSameForEveryPlan) {
  Prng prng(11);
  for (uint64_t round = 0; round < static_cast<uint64_t>(testing_support::Rounds(8)); ++round) {
    AttentionCase c{.block_tokens = 8 << prng.Below(3)};
    c.kv_heads = static_cast<int>(prng.Between(1, 2));
    c.heads = c.kv_heads * static_cast<int>(prng.Between(1, 9));
    c.head_dim = prng.Chance(0.5) ? 64 : 40;
    c.window = prng.Chance(0.5) ? 0 : static_cast<int>(prng.Between(1, 600));
    for (uint64_t i = prng.Between(1, 3); i > 0; --i)
      c.pieces.push_back({static_cast<int>(prng.Below(700)), static_cast<int>(prng.Between(1, 6))});
    const DType type = round % 2 == 0 ? DType::kBF16 : DType::kF16;
    std::vector<float> first;
    for (const int by_spans : {0, 3, 1000}) {
      c.by_spans = by_spans;
      c.plain = by_spans == 3;
      const auto device = cuda_test::NewDevice({.seed = round * 10 + static_cast<uint64_t>(by_spans)});
      const std::vector<float> got = AttentionStep(c, type).Compute(device.get());
      if (first.empty()) first = got;
      ASSERT_EQ(got.size(), first.size());
      for (size_t i = 0; i < got.size(); ++i)
        ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(first[i])) << Describe(c);
    }
  }
}

}  // namespace
}  // namespace prefixd
