// How each kernel of kernel_table.h is launched: its instance, grid and shared memory. Kernels rely on these
// shapes, and nobody else chooses one. The result refers to `params`. Pure functions; any thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "kernels/cuda/device_base.h"
#include "kernels/cuda/quant_order.h"
#include "kernels/cuda/runtime.h"
#include "kernels/kv_layout.h"
#include "kernels/weight_format.h"

namespace prefixd::cuda {

inline constexpr int kRowWarps = 4;       // of a block, one row (or head or piece of a row) for each
inline constexpr int kRowPiece = 256;     // columns of a row that a warp has, where warps share rows
inline constexpr int kGemmTile = 64;      // weight rows and rows of x of a block
inline constexpr int kGemmTileK = 64;     // columns of a stage
inline constexpr int kGemmStages = 2;     // of asynchronous copies
inline constexpr int kGemmThreads = 128;  // 4 warps
inline constexpr int kGemmRowBytes =
    kGemmTileK * 2 + 16;  // of a row of a stage; padded against bank conflicts
inline constexpr size_t kGemmSharedBytes = size_t{2} * kGemmStages * kGemmTile * kGemmRowBytes;

inline constexpr int kFewRows = 16;                      // rows of x of GemmFew, at most
inline constexpr int kFewTile = 16;                      // weight rows of a block, which is a warp
inline constexpr int kFewTileK = 256;                    // columns of a stage: 16 bytes for each lane
inline constexpr int kFewStages = 4;                     // of asynchronous copies
inline constexpr int kFewRowBytes = kFewTileK * 2 + 16;  // of a row of a stage; padded against bank conflicts
constexpr size_t FewSharedBytes(int rows) {
  return size_t{kFewStages} * static_cast<size_t>(kFewTile + rows) * kFewRowBytes;
}
// With a norm of its rows, a block has more warps, which share the normed rows: those of a warp alone would
// leave room for few warps, and a warp by itself is slow (the part gemv of bench/results/gpu_probe_h200.txt).
// The stage that is filled last has the weights of the norm and a row of x before that.
inline constexpr int kFewNormRows = 4;  // at most
inline constexpr int kFewNormWarps = 4;
inline constexpr int kFewNormStages = 3;
constexpr size_t FewNormRowBytes(int k) { return static_cast<size_t>(k) * 2 + 16; }  // padded as above
constexpr size_t FewNormSharedBytes(int rows, int k) {
  return size_t{kFewNormStages} * kFewNormWarps * kFewTile * kFewRowBytes +
         static_cast<size_t>(rows) * FewNormRowBytes(k);
}

// The same of quantised weights, whose integers have so many bits. A row of a stage has integers and their
// scales, and is padded, so that 8 rows lie in 8 groups of banks.
inline constexpr int kQuantTileK = 256;
constexpr int QuantTileXRowBytes() { return kQuantTileK + kQuantTileK / kQuantBlock * 4 + 16; }
constexpr int QuantTileRowBytes(int bits) {
  return IntegerBytes(bits, kQuantTileK) + kQuantTileK / kQuantBlock * 2;
}
constexpr size_t QuantSharedBytes(int bits) {
  return size_t{kGemmStages} * kGemmTile *
         static_cast<size_t>(QuantTileXRowBytes() + QuantTileRowBytes(bits));
}
inline constexpr int kQuantFewTileK = 512;
constexpr int QuantFewStages(int bits) { return bits == 8 ? 4 : 6; }  // 24 and 20 KiB are on their way
constexpr int QuantFewXRowBytes() { return kQuantFewTileK + kQuantFewTileK / kQuantBlock * 4 + 16; }
constexpr int QuantFewRowBytes(int bits) {
  return IntegerBytes(bits, kQuantFewTileK) + kQuantFewTileK / kQuantBlock * 2 + 16;
}
constexpr size_t QuantFewSharedBytes(int bits, int rows) {
  return static_cast<size_t>(QuantFewStages(bits)) *
         static_cast<size_t>(kFewTile * QuantFewRowBytes(bits) + rows * QuantFewXRowBytes());
}
inline constexpr int kDrawThreads = 256;
inline constexpr size_t kDrawSharedBytes = size_t{32} << 10;

// Query rows of a unit, at most.
inline constexpr int kUnitRows = 16;
// Units of a team where there are more than one.
inline constexpr int kTeamUnits = 4;
// Shared memory of a unit: o of the span and of all spans, [16][head_dim + 7 rounded] each, then 16 by 64
// probabilities, which f32 uses.
constexpr size_t AttentionSharedBytes(int head_dim) {
  const auto width = static_cast<size_t>((head_dim + 7) / 8 * 8);
  return (2 * kUnitRows * width + kUnitRows * 64) * sizeof(float);
}

// Warps of a unit of Attention<H, D>: one for each 128 dims, of which it has o in registers.
PREFIXD_HOST_DEVICE constexpr int StagedUnitWarps(int head_dim) { return (head_dim + 127) / 128; }
inline constexpr int kMostStagedThreads = kTeamUnits * 2 * device::kWarp;
// The same of Attention<H, D> for a team: K and V of a tile, and of each unit o of all spans, and q. Where
// numbers are expanded, K or V of a head has `stored` bytes, and one tile is made of them; else it is 0.
constexpr size_t StagedAttentionSharedBytes(int head_dim, int team, int stored = 0) {
  const auto width = static_cast<size_t>(head_dim);
  const size_t tiles =
      stored > 0 ? 64 * width * 2 + 2 * 64 * static_cast<size_t>(stored) : 2 * 64 * width * 2;
  return tiles + static_cast<size_t>(team) * kUnitRows * width * (sizeof(float) + 2);
}

// Of Attention<H, D, true>, behind the tiles: its barriers of copies.
inline constexpr int kBarrierBytes = 16;

// Warps that share a row of such a width, and those that share a head in the fold of partials.
PREFIXD_HOST_DEVICE constexpr int RowPieces(int width) { return (width + kRowPiece - 1) / kRowPiece; }
PREFIXD_HOST_DEVICE constexpr int FoldPieces(int head_dim) {
  return (head_dim + device::kWarp - 1) / device::kWarp;
}

// One of three instances.
constexpr KernelId ByType(DType type, KernelId bf16, KernelId f16, KernelId f32) {
  return type == DType::kBF16 ? bf16 : type == DType::kF16 ? f16 : f32;
}
// Or, of a quantised format, one of others.
inline KernelId ByFormat(WeightFormat format, KernelId bf16, KernelId f16, KernelId f32, KernelId q8,
                         KernelId q4) {
  if (format.quantized()) return format == WeightFormat::kQ8_0 ? q8 : q4;
  return ByType(format.dtype(), bf16, f16, f32);
}

// Warps in blocks of kRowWarps; `warps` is their number.
template <typename Params>
KernelLaunch RowLaunch(KernelId kernel, const Params& params, int warps) {
  return {.kernel = kernel,
          .blocks_x = (warps + kRowWarps - 1) / kRowWarps,
          .threads = kRowWarps * 32,
          .params = &params};
}

inline KernelLaunch LaunchOf(const DummyParams& p, DType t) {
  return RowLaunch(ByType(t, KernelId::kDummyBF16, KernelId::kDummyF16, KernelId::kDummyF32), p, p.rows);
}
// `w` is the format of the table.
inline KernelLaunch LaunchOf(const EmbedParams& p, WeightFormat w) {
  return RowLaunch(ByFormat(w, KernelId::kEmbedBF16, KernelId::kEmbedF16, KernelId::kEmbedF32,
                            KernelId::kEmbedQ8, KernelId::kEmbedQ4),
                   p, p.rows * RowPieces(p.dim));
}
// `w` is the format of the weights that multiply the result, also for Activation and Fold.
inline KernelLaunch LaunchOf(const RmsNormParams& p, WeightFormat w) {
  return {.kernel = ByFormat(w, KernelId::kRmsNormBF16, KernelId::kRmsNormF16, KernelId::kRmsNormF32,
                             KernelId::kRmsNormQ, KernelId::kRmsNormQ),
          .blocks_x = p.rows,
          .threads = kRowWarps * device::kWarp,
          .shared_bytes = static_cast<size_t>(p.dim) * sizeof(float),
          .params = &p};
}
inline KernelLaunch LaunchOf(const GatherParams& p) {
  return RowLaunch(KernelId::kGather, p, p.rows * RowPieces(p.row_bytes / 4));
}
inline KernelLaunch LaunchOf(const ActivationParams& p, WeightFormat w) {
  return RowLaunch(ByFormat(w, KernelId::kActivationBF16, KernelId::kActivationF16, KernelId::kActivationF32,
                            KernelId::kActivationQ, KernelId::kActivationQ),
                   p, p.rows * RowPieces(p.width));
}
// For the kernel that serves every shape.
inline KernelLaunch PlainLaunchOf(const GemmParams& p, WeightFormat w) {
  return {.kernel = ByFormat(w, KernelId::kGemmBF16, KernelId::kGemmF16, KernelId::kGemmF32,
                             KernelId::kGemmQ8, KernelId::kGemmQ4),
          .blocks_x = (p.n + kGemmTile - 1) / kGemmTile,
          .blocks_y = (p.rows + kGemmTile - 1) / kGemmTile,
          .threads = kGemmThreads,
          .shared_bytes = w.quantized()      ? QuantSharedBytes(QuantBits(w))
                          : w == DType::kF32 ? 0
                                             : kGemmSharedBytes,
          .params = &p};
}
constexpr bool IsFew(const GemmParams& p, WeightFormat w) {
  return w != DType::kF32 && p.rows <= kFewRows && p.k % 8 == 0;
}
inline KernelLaunch LaunchOf(const GemmParams& p, WeightFormat w) {
  if (!IsFew(p, w)) return PlainLaunchOf(p, w);
  return {.kernel = ByFormat(w, KernelId::kGemmFewBF16, KernelId::kGemmFewF16, KernelId::kGemmF32,
                             KernelId::kGemmFewQ8, KernelId::kGemmFewQ4),
          .blocks_x = (p.n + kFewTile - 1) / kFewTile,
          .threads = device::kWarp,
          .shared_bytes = w.quantized() ? QuantFewSharedBytes(QuantBits(w), p.rows) : FewSharedBytes(p.rows),
          .params = &p};
}
// Whether the kernels of such a product can norm its rows, where a block may have so much shared memory.
inline bool FewCanNorm(const GemmParams& p, DType t, const FewNorm& norm, size_t shared_bytes) {
  const auto aligned = [](const float* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; };
  return IsFew(p, t) && p.rows <= kFewNormRows && aligned(norm.x) && aligned(norm.weight) &&
         size_t{2} * static_cast<size_t>(p.k) * sizeof(float) <=
             size_t{kFewNormWarps} * kFewTile * kFewRowBytes &&
         FewNormSharedBytes(p.rows, p.k) <= shared_bytes;
}
// For so many pairs of 8 weight rows.
template <typename Params>
KernelLaunch FusedLaunch(KernelId kernel, const Params& params, int tiles) {
  const GemmParams& p = params.product;
  const int warps = params.norm.x != nullptr ? kFewNormWarps : 1;
  return {.kernel = kernel,
          .blocks_x = (tiles + warps - 1) / warps,
          .threads = warps * device::kWarp,
          .shared_bytes = warps > 1 ? FewNormSharedBytes(p.rows, p.k) : FewSharedBytes(p.rows),
          .params = &params};
}
// `t` is the type of the weights, `kv` that of the KV.
constexpr bool CanFuse(const FewQkvParams& p, DType t, KvType kv) {
  return IsFew(p.product, t) && kv == t && p.append.q_norm == nullptr && p.append.kv.head_dim % 16 == 0;
}
inline KernelLaunch LaunchOf(const FewQkvParams& p, DType t) {
  return FusedLaunch(t == DType::kBF16 ? KernelId::kGemmFewQkvBF16 : KernelId::kGemmFewQkvF16, p,
                     p.product.n / kFewTile);
}
inline KernelLaunch LaunchOf(const FewGateParams& p, DType t) {
  return FusedLaunch(t == DType::kBF16 ? KernelId::kGemmFewGateBF16 : KernelId::kGemmFewGateF16, p,
                     (p.activate.width + 7) / 8);
}
// One of the instances for a type of KV.
inline KernelId ByKv(KvType t, KernelId bf16, KernelId f16, KernelId f32, KernelId q8, KernelId fp8) {
  return t.has_dtype() ? ByType(t.dtype(), bf16, f16, f32) : t == KvType::kFp8 ? fp8 : q8;
}
// `t` is the type of the KV. Attention has PlainLaunchOf as well.
inline KernelLaunch LaunchOf(const QkvParams& p, KvType t) {
  return RowLaunch(ByKv(t, KernelId::kQkvBF16, KernelId::kQkvF16, KernelId::kQkvF32, KernelId::kQkvKvQ8,
                        KernelId::kQkvKvFp8),
                   p, p.rows * (p.heads + 2 * p.kv.kv_heads));
}
inline KernelLaunch PlainLaunchOf(const AttentionParams& p, KvType t) {
  return {.kernel = ByKv(t, KernelId::kAttentionBF16, KernelId::kAttentionF16, KernelId::kAttentionF32,
                         KernelId::kAttentionKvQ8, KernelId::kAttentionKvFp8),
          .blocks_x = p.unit_count,
          .threads = 32,
          .shared_bytes = AttentionSharedBytes(p.kv.head_dim),
          .params = &p};
}
// The instances of Attention<H, D> for a head size.
struct StagedKernels {
  int head_dim;
  KernelId bf16, f16, q8, fp8;
};
inline constexpr StagedKernels kStagedKernels[] = {
    {64, KernelId::kAttention64BF16, KernelId::kAttention64F16, KernelId::kAttention64KvQ8,
     KernelId::kAttention64KvFp8},
    {96, KernelId::kAttention96BF16, KernelId::kAttention96F16, KernelId::kAttention96KvQ8,
     KernelId::kAttention96KvFp8},
    {128, KernelId::kAttention128BF16, KernelId::kAttention128F16, KernelId::kAttention128KvQ8,
     KernelId::kAttention128KvFp8},
    {256, KernelId::kAttention256BF16, KernelId::kAttention256F16, KernelId::kAttention256KvQ8,
     KernelId::kAttention256KvFp8}};
// The same by warpgroups.
struct WarpgroupKernels {
  int head_dim;
  KernelId bf16, f16;
};
inline constexpr WarpgroupKernels kWarpgroupKernels[] = {
    {64, KernelId::kAttention64WarpgroupBF16, KernelId::kAttention64WarpgroupF16},
    {128, KernelId::kAttention128WarpgroupBF16, KernelId::kAttention128WarpgroupF16}};
// How teams multiply where both kernels have the shape and the device: each warp by itself, or four as a
// warpgroup. Steps take kAttentionWay; no device has compared the two yet.
enum class AttentionWay : uint8_t { kWarps, kWarpgroups };
inline constexpr AttentionWay kAttentionWay = AttentionWay::kWarps;
inline KernelLaunch LaunchOf(const AttentionParams& p, KvType t, const DeviceFacts& device,
                             AttentionWay way = kAttentionWay) {
  KernelLaunch launch = PlainLaunchOf(p, t);
  const int dim = p.kv.head_dim;
  if (t == DType::kF32 || p.kv.block_tokens % 8 != 0) return launch;
  const int stored = t.has_dtype() ? 0 : static_cast<int>(t.HeadBytes(dim));
  const size_t needed = StagedAttentionSharedBytes(dim, p.team, stored);
  // A team of large heads needs more than some devices have.
  if (needed > device.shared_bytes) return launch;
  const auto* const staged = std::ranges::find(kStagedKernels, dim, &StagedKernels::head_dim);
  if (staged == std::end(kStagedKernels)) return launch;
  launch.kernel = ByKv(t, staged->bf16, staged->f16, launch.kernel, staged->q8, staged->fp8);
  launch.blocks_x = p.unit_count / p.team;
  launch.threads = p.team * StagedUnitWarps(dim) * device::kWarp;
  launch.shared_bytes = needed;
  const auto* const warpgroup = std::ranges::find(kWarpgroupKernels, dim, &WarpgroupKernels::head_dim);
  if (way == AttentionWay::kWarpgroups && device.compute_capability == 90 && p.team % 4 == 0 && stored == 0 &&
      needed + kBarrierBytes <= device.shared_bytes && warpgroup != std::end(kWarpgroupKernels)) {
    launch.kernel = t == DType::kBF16 ? warpgroup->bf16 : warpgroup->f16;
    launch.shared_bytes += kBarrierBytes;
  }
  return launch;
}
inline KernelLaunch LaunchOf(const FoldParams& p, WeightFormat w) {
  if (w.quantized()) return RowLaunch(KernelId::kFoldQ, p, p.rows * p.heads * p.head_dim / kQuantBlock);
  return RowLaunch(ByType(w.dtype(), KernelId::kFoldBF16, KernelId::kFoldF16, KernelId::kFoldF32), p,
                   p.rows * p.heads * FoldPieces(p.head_dim));
}
inline KernelLaunch LaunchOf(const DrawParamsTable& p) {
  return {.kernel = KernelId::kDraw,
          .blocks_x = p.specs_count,
          .threads = kDrawThreads,
          .shared_bytes = kDrawSharedBytes,
          .params = &p};
}

}  // namespace prefixd::cuda
