// The launches of kernels/cuda/launches.h: together they reach every kernel of the table, and their grids
// cover their rows. The tests of the kernels launch through them, with all types and on both sides of each
// border that is here.
#include "kernels/cuda/launches.h"

#include <gtest/gtest.h>

#include <set>
#include <tuple>

namespace prefixd::cuda {
namespace {

constexpr DType kTypes[] = {DType::kBF16, DType::kF16, DType::kF32};

const DeviceFacts kH200 = {.compute_capability = 90, .shared_bytes = size_t{227} << 10};

AttentionParams Attention(int head_dim, int block_tokens) {
  return {.unit_count = 3, .kv = {.block_tokens = block_tokens, .head_dim = head_dim}};
}

TEST(Launches, ReachEveryKernel) {
  std::set<KernelId> reached = {LaunchOf(GatherParams{}).kernel, LaunchOf(DrawParamsTable{}).kernel};
  for (const DType type : kTypes) {
    reached.insert({LaunchOf(DummyParams{}, type).kernel, LaunchOf(EmbedParams{}, type).kernel,
                    LaunchOf(RmsNormParams{}, type).kernel, LaunchOf(ActivationParams{}, type).kernel,
                    LaunchOf(GemmParams{}, type).kernel, PlainLaunchOf(GemmParams{}, type).kernel,
                    LaunchOf(QkvParams{}, type).kernel, LaunchOf(FoldParams{}, type).kernel});
    for (const int head_dim : {32, 64, 96, 128, 256})
      reached.insert(LaunchOf(Attention(head_dim, 16), type, kH200).kernel);
  }
  for (const DType type : {DType::kBF16, DType::kF16}) {
    reached.insert(LaunchOf(FewQkvParams{}, type).kernel);
    reached.insert(LaunchOf(FewGateParams{}, type).kernel);
  }
  for (const KvType type : {KvType::kQ8_0, KvType::kFp8}) {
    reached.insert(LaunchOf(QkvParams{}, type).kernel);
    for (const int head_dim : {32, 64, 96, 128, 256})
      reached.insert(LaunchOf(Attention(head_dim, 16), type, kH200).kernel);
  }
  AttentionParams teams = Attention(64, 16);
  teams.team = kTeamUnits;
  for (const int head_dim : {64, 128}) {
    teams.kv.head_dim = head_dim;
    for (const DType type : {DType::kBF16, DType::kF16})
      reached.insert(LaunchOf(teams, type, kH200, AttentionWay::kWarpgroups).kernel);
  }
  for (const WeightFormat format : {WeightFormat::kQ8_0, WeightFormat::kQ4_0}) {
    reached.insert({LaunchOf(EmbedParams{}, format).kernel, LaunchOf(RmsNormParams{}, format).kernel,
                    LaunchOf(ActivationParams{}, format).kernel, LaunchOf(GemmParams{}, format).kernel,
                    PlainLaunchOf(GemmParams{}, format).kernel, LaunchOf(FoldParams{}, format).kernel});
  }
  EXPECT_EQ(reached.size(), static_cast<size_t>(kKernels)) << "a kernel that nobody launches";
}

// Warpgroups are asked for, and serve teams of 16-bit KV with heads of 64 and 128 on one kind of device.
TEST(Launches, AttentionByWarpgroups) {
  AttentionParams teams = Attention(128, 16);
  teams.unit_count = 12;
  teams.team = kTeamUnits;
  const KernelLaunch warps = LaunchOf(teams, DType::kBF16, kH200, AttentionWay::kWarps),
                     groups = LaunchOf(teams, DType::kBF16, kH200, AttentionWay::kWarpgroups);
  EXPECT_EQ(warps.kernel, KernelId::kAttention128BF16);
  EXPECT_EQ(groups.kernel, KernelId::kAttention128WarpgroupBF16);
  EXPECT_EQ(groups.shared_bytes, warps.shared_bytes + kBarrierBytes);
  EXPECT_EQ(groups.threads, 128);
  EXPECT_EQ(groups.blocks_x, 3);
  EXPECT_EQ(LaunchOf(teams, DType::kBF16, kH200).kernel, warps.kernel) << "no device has compared them";
  const auto kernel = [](AttentionParams p, KvType type, const DeviceFacts& device) {
    const KernelLaunch launch = LaunchOf(p, type, device, AttentionWay::kWarpgroups);
    EXPECT_EQ(launch.shared_bytes, LaunchOf(p, type, device, AttentionWay::kWarps).shared_bytes);
    return launch.kernel;
  };
  DeviceFacts other = kH200;
  for (const int capability : {80, 89, 100, 120}) {
    other.compute_capability = capability;
    EXPECT_EQ(kernel(teams, DType::kBF16, other), warps.kernel) << capability;
  }
  DeviceFacts exact = kH200;
  exact.shared_bytes = warps.shared_bytes;
  EXPECT_EQ(kernel(teams, DType::kBF16, exact), warps.kernel);
  EXPECT_EQ(kernel(teams, KvType::kFp8, kH200), KernelId::kAttention128KvFp8);
  EXPECT_EQ(kernel(teams, DType::kF32, kH200), KernelId::kAttentionF32);
  teams.kv.head_dim = 96;
  EXPECT_EQ(kernel(teams, DType::kF16, kH200), KernelId::kAttention96F16);
  teams.kv.head_dim = 256;
  EXPECT_EQ(kernel(teams, DType::kF16, kH200), KernelId::kAttention256F16);
  EXPECT_EQ(kernel(Attention(64, 16), DType::kF16, kH200), KernelId::kAttention64F16);
}

TEST(Launches, AttentionIsStagedWhereTheShapeAllowsIt) {
  const std::tuple<DType, int, int, KernelId> cases[] = {{DType::kBF16, 64, 8, KernelId::kAttention64BF16},
                                                         {DType::kF16, 64, 128, KernelId::kAttention64F16},
                                                         {DType::kBF16, 128, 16, KernelId::kAttention128BF16},
                                                         {DType::kF16, 128, 8, KernelId::kAttention128F16},
                                                         {DType::kBF16, 64, 4, KernelId::kAttentionBF16},
                                                         {DType::kF16, 128, 1, KernelId::kAttentionF16},
                                                         {DType::kBF16, 72, 16, KernelId::kAttentionBF16},
                                                         {DType::kF16, 256, 16, KernelId::kAttention256F16},
                                                         {DType::kBF16, 96, 8, KernelId::kAttention96BF16},
                                                         {DType::kBF16, 192, 16, KernelId::kAttentionBF16},
                                                         {DType::kF32, 64, 16, KernelId::kAttentionF32},
                                                         {DType::kF32, 128, 8, KernelId::kAttentionF32}};
  for (const auto& [type, head_dim, block_tokens, kernel] : cases) {
    const AttentionParams params = Attention(head_dim, block_tokens);
    const KernelLaunch launch = LaunchOf(params, type, kH200), plain = PlainLaunchOf(params, type);
    const bool staged = launch.kernel != plain.kernel;
    EXPECT_EQ(launch.kernel, kernel) << DTypeName(type) << " " << head_dim << " " << block_tokens;
    EXPECT_EQ(launch.shared_bytes,
              staged ? StagedAttentionSharedBytes(head_dim, 1) : AttentionSharedBytes(head_dim));
    EXPECT_EQ(launch.blocks_x, 3);
    const int warps = staged && head_dim == 256 ? 2 : 1;  // of a unit
    EXPECT_EQ(launch.threads, 32 * warps);
    AttentionParams teams = params;
    teams.unit_count = 12;
    teams.team = 4;
    const KernelLaunch of_teams = LaunchOf(teams, type, kH200);
    EXPECT_EQ(of_teams.blocks_x, staged ? 3 : 12);
    EXPECT_EQ(of_teams.threads, staged ? 128 * warps : 32);
    EXPECT_EQ(of_teams.shared_bytes,
              staged ? StagedAttentionSharedBytes(head_dim, 4) : AttentionSharedBytes(head_dim));
  }
}

TEST(Launches, AttentionIsPlainWhereABlockHasTooLittleSharedMemory) {
  AttentionParams params = Attention(256, 16);
  for (const int team : {1, 4}) {
    params.team = params.unit_count = team;
    DeviceFacts device = kH200;
    device.shared_bytes = StagedAttentionSharedBytes(256, team);
    EXPECT_EQ(LaunchOf(params, DType::kBF16, device).kernel, KernelId::kAttention256BF16);
    --device.shared_bytes;
    EXPECT_EQ(LaunchOf(params, DType::kBF16, device).kernel, KernelId::kAttentionBF16);
  }
  EXPECT_LE(StagedAttentionSharedBytes(256, 4), size_t{163} << 10) << "an A100 has that";
  EXPECT_LE(StagedAttentionSharedBytes(256, 4, 256 + 16), size_t{163} << 10);
  EXPECT_LE(StagedAttentionSharedBytes(256, 1), size_t{99} << 10) << "others have that";
}

TEST(Launches, AttentionOverQuantisedKvCopiesItAsItIsStored) {
  const std::tuple<KvType, int, int, KernelId, int> cases[] = {
      {KvType::kQ8_0, 64, 8, KernelId::kAttention64KvQ8, 64 + 4},
      {KvType::kQ8_0, 128, 16, KernelId::kAttention128KvQ8, 128 + 8},
      {KvType::kFp8, 64, 32, KernelId::kAttention64KvFp8, 64},
      {KvType::kFp8, 128, 8, KernelId::kAttention128KvFp8, 128},
      {KvType::kQ8_0, 128, 4, KernelId::kAttentionKvQ8, 0},
      {KvType::kFp8, 96, 16, KernelId::kAttention96KvFp8, 96},
      {KvType::kQ8_0, 96, 8, KernelId::kAttention96KvQ8, 96 + 6},
      {KvType::kQ8_0, 256, 16, KernelId::kAttention256KvQ8, 256 + 16},
      {KvType::kFp8, 256, 16, KernelId::kAttention256KvFp8, 256},
      {KvType::kFp8, 160, 16, KernelId::kAttentionKvFp8, 0}};
  for (const auto& [type, head_dim, block_tokens, kernel, stored] : cases) {
    const KernelLaunch launch = LaunchOf(Attention(head_dim, block_tokens), type, kH200);
    EXPECT_EQ(launch.kernel, kernel) << head_dim << " " << block_tokens;
    if (stored == 0) continue;
    const int numbers = 64 * head_dim * 2, copies = 2 * 64 * stored;
    EXPECT_EQ(launch.shared_bytes, static_cast<size_t>(numbers + copies + 16 * head_dim * 6));
  }
}

TEST(Launches, ProductsOfFewRowsHaveAKernelOfTheirOwn) {
  const std::tuple<DType, int, int, KernelId> cases[] = {
      {DType::kBF16, 1, 8, KernelId::kGemmFewBF16}, {DType::kF16, 16, 64, KernelId::kGemmFewF16},
      {DType::kBF16, 17, 64, KernelId::kGemmBF16},  {DType::kF16, 16, 60, KernelId::kGemmF16},
      {DType::kBF16, 1, 4100, KernelId::kGemmBF16}, {DType::kF32, 1, 64, KernelId::kGemmF32}};
  for (const auto& [type, rows, k, kernel] : cases) {
    const KernelLaunch launch = LaunchOf(GemmParams{.rows = rows, .n = 130, .k = k}, type);
    EXPECT_EQ(launch.kernel, kernel) << DTypeName(type) << " " << rows << " " << k;
    if (kernel != KernelId::kGemmFewBF16 && kernel != KernelId::kGemmFewF16) continue;
    EXPECT_EQ(launch.blocks_x, 9);
    EXPECT_EQ(launch.threads, 32);
    EXPECT_EQ(launch.shared_bytes, static_cast<size_t>(4 * (16 + rows) * 528));
  }
}

TEST(Launches, AProductNormsItsRowsWhereTheyFit) {
  alignas(16) constexpr float kFloats[8] = {};
  const FewNorm norm{.x = kFloats, .weight = kFloats + 4};
  const size_t shared = size_t{99} << 10;
  const auto can = [&](int rows, int k, DType type = DType::kBF16) {
    return FewCanNorm({.rows = rows, .k = k}, type, norm, shared << 1);
  };
  EXPECT_TRUE(can(1, 8) && can(4, 4224) && can(4, 8, DType::kF16));
  EXPECT_FALSE(can(5, 8)) << "a block would read much of x";
  EXPECT_FALSE(can(1, 4232)) << "the last stage has no room for the norm";
  EXPECT_FALSE(can(1, 12) || can(1, 8, DType::kF32));
  EXPECT_FALSE(FewCanNorm({.rows = 1, .k = 8}, DType::kBF16, {kFloats + 1, kFloats}, shared << 1));
  EXPECT_FALSE(FewCanNorm({.rows = 1, .k = 8}, DType::kBF16, {kFloats, kFloats + 2}, shared << 1));
  EXPECT_EQ(FewNormSharedBytes(2, 64), 3 * 4 * 16 * 528 + 2 * 144u);
  EXPECT_TRUE(FewCanNorm({.rows = 2, .k = 64}, DType::kBF16, norm, FewNormSharedBytes(2, 64)));
  EXPECT_FALSE(FewCanNorm({.rows = 2, .k = 64}, DType::kBF16, norm, FewNormSharedBytes(2, 64) - 1));
}

TEST(Launches, FusedKernelsHaveAWarpForEachTile) {
  alignas(16) constexpr float kFloats[4] = {};
  const FewNorm norm{.x = kFloats, .weight = kFloats};
  FewQkvParams qkv{.product = {.rows = 3, .n = 5 * 64, .k = 8}, .append = {.kv = {.head_dim = 64}}};
  EXPECT_EQ(LaunchOf(qkv, DType::kF16).kernel, KernelId::kGemmFewQkvF16);
  EXPECT_EQ(LaunchOf(qkv, DType::kBF16).blocks_x, 20);
  EXPECT_EQ(LaunchOf(qkv, DType::kBF16).threads, 32);
  EXPECT_EQ(LaunchOf(qkv, DType::kBF16).shared_bytes, FewSharedBytes(3));
  qkv.norm = norm;
  EXPECT_EQ(LaunchOf(qkv, DType::kBF16).blocks_x, 5);
  EXPECT_EQ(LaunchOf(qkv, DType::kBF16).threads, 128);
  EXPECT_EQ(LaunchOf(qkv, DType::kBF16).shared_bytes, FewNormSharedBytes(3, 8));
  FewGateParams gate{.product = {.rows = 1, .n = 2 * 41, .k = 8}, .activate = {.width = 41}};
  EXPECT_EQ(LaunchOf(gate, DType::kBF16).kernel, KernelId::kGemmFewGateBF16);
  EXPECT_EQ(LaunchOf(gate, DType::kBF16).blocks_x, 6);
  gate.norm = norm;
  EXPECT_EQ(LaunchOf(gate, DType::kBF16).blocks_x, 2);
}

TEST(Launches, QkvFusesWhereATileHasBothHalvesOfAHead) {
  FewQkvParams few{.product = {.rows = 1, .n = 64, .k = 8}, .append = {.kv = {.head_dim = 16}}};
  EXPECT_TRUE(CanFuse(few, DType::kBF16, DType::kBF16));
  EXPECT_FALSE(CanFuse(few, DType::kBF16, DType::kF16));
  EXPECT_FALSE(CanFuse(few, DType::kF32, DType::kF32));
  constexpr float kNorm = 1;
  few.append.q_norm = &kNorm;
  EXPECT_FALSE(CanFuse(few, DType::kBF16, DType::kBF16));
  few.append.q_norm = nullptr;
  few.append.kv.head_dim = 24;
  EXPECT_FALSE(CanFuse(few, DType::kBF16, DType::kBF16));
}

TEST(Launches, QuantisedProductsHaveKernelsOfTheirOwn) {
  const std::tuple<WeightFormat, int, KernelId, size_t> cases[] = {
      {WeightFormat::kQ8_0, 3, KernelId::kGemmFewQ8, 4 * (16 * 560 + 3 * 592)},
      {WeightFormat::kQ4_0, 16, KernelId::kGemmFewQ4, 6 * (16 * 304 + 16 * 592)},
      {WeightFormat::kQ8_0, 17, KernelId::kGemmQ8, 2 * 64 * (304 + 272)},
      {WeightFormat::kQ4_0, 200, KernelId::kGemmQ4, 2 * 64 * (304 + 144)}};
  for (const auto& [format, rows, kernel, shared_bytes] : cases) {
    const GemmParams params{.rows = rows, .n = 130, .k = 64};
    const KernelLaunch launch = LaunchOf(params, format);
    EXPECT_EQ(launch.kernel, kernel) << format.name() << " " << rows;
    EXPECT_EQ(launch.shared_bytes, shared_bytes);
    EXPECT_EQ(launch.blocks_x, rows <= 16 ? 9 : 3);
    EXPECT_EQ(launch.blocks_y, (rows + 63) / 64);
  }
  const FoldParams fold{.rows = 3, .heads = 4, .head_dim = 24};
  EXPECT_EQ(LaunchOf(fold, WeightFormat::kQ8_0).blocks_x, 3) << "3 blocks of each of 3 rows, 4 at a time";
}

TEST(Launches, GridsCoverTheirRowsAndNoMore) {
  for (const int rows : {1, 3, 4, 5, 63, 64, 65, 128, 129}) {
    const KernelLaunch norm = LaunchOf(RmsNormParams{.rows = rows, .dim = 70}, DType::kBF16);
    EXPECT_EQ(norm.blocks_x, rows);
    EXPECT_EQ(norm.shared_bytes, 280u);
    for (const int width : {1, 256, 257, 1000}) {
      const int pieces = width <= 256 ? 1 : width <= 512 ? 2 : 4;
      for (const KernelLaunch& launch :
           {LaunchOf(ActivationParams{.rows = rows, .width = width}, DType::kF16),
            LaunchOf(EmbedParams{.rows = rows, .dim = width}, DType::kBF16),
            LaunchOf(GatherParams{.rows = rows, .row_bytes = 4 * width})}) {
        EXPECT_EQ(launch.threads, kRowWarps * 32);
        EXPECT_GE(launch.blocks_x * kRowWarps, rows * pieces);
        EXPECT_LT((launch.blocks_x - 1) * kRowWarps, rows * pieces);
      }
    }
    for (const DType type : kTypes) {
      const KernelLaunch gemm = PlainLaunchOf(GemmParams{.rows = rows, .n = 130}, type);
      EXPECT_EQ(gemm.blocks_x, 3);
      EXPECT_GE(gemm.blocks_y * kGemmTile, rows);
      EXPECT_LT((gemm.blocks_y - 1) * kGemmTile, rows);
      EXPECT_EQ(gemm.shared_bytes, type == DType::kF32 ? 0 : kGemmSharedBytes);
    }
  }
  const KernelLaunch qkv = LaunchOf(QkvParams{.kv = {.kv_heads = 2}, .rows = 3, .heads = 5}, DType::kF16);
  EXPECT_EQ(qkv.blocks_x, 7) << "3 rows of 5 + 2 * 2 heads, 4 at a time";
  EXPECT_EQ(LaunchOf(FoldParams{.rows = 3, .heads = 3, .head_dim = 33}, DType::kF32).blocks_x, 5)
      << "2 pieces of each of 9 heads, 4 at a time";
  EXPECT_EQ(LaunchOf(DrawParamsTable{.specs_count = 5}).blocks_x, 5);
}

}  // namespace
}  // namespace prefixd::cuda
