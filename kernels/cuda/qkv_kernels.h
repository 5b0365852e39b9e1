// Qkv: norms and rotates the heads of q and k, and stores q for attention and k and v in their blocks, a warp
// for each head. Device code; kernel_table.h states what it does, numerics.h its arithmetic.
#pragma once

#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/kv_types.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/row_kernels.h"
#include "kernels/cuda/types.h"

namespace prefixd::cuda {

// The plane of K (`values` false) or V of a head, in the block of a position. Offsets need 64 bits.
template <typename H>
PREFIXD_DEVICE std::byte* PlaneOf(const KvBlocks& kv, const BlockTables& tables, RowPlace place, int head,
                                  bool values) {
  const int index = place.position / kv.block_tokens;
  const auto block = device::LoadGlobal<int32_t>(tables.blocks + At(place.sequence, tables.stride) + index);
  const auto plane = static_cast<uint64_t>((kv.layer * 2 + (values ? 1 : 0)) * kv.kv_heads + head);
  const uint64_t plane_bytes =
      static_cast<uint64_t>(kv.block_tokens) * static_cast<uint64_t>(Kv<H>::HeadBytes(kv.head_dim));
  return kv.base + static_cast<uint64_t>(static_cast<uint32_t>(block)) * kv.block_bytes + plane * plane_bytes;
}

// A head of q or k after its norm.
struct NormedHead {
  const float* x;
  const float* weight;  // null: no norm
  float scale;

  PREFIXD_DEVICE float At(int i) const {
    const float value = LoadF32(x + i);
    return weight == nullptr ? value : device::Mul(device::Mul(value, scale), LoadF32(weight + i));
  }
};

// Collective over the warp.
PREFIXD_DEVICE NormedHead NormHead(const float* x, const float* weight, float eps, int head_dim) {
  if (weight == nullptr) return {x, nullptr, 0};
  float sum = 0;
  for (int i = device::Lane(); i < head_dim; i += device::kWarp) {
    const float value = LoadF32(x + i);
    sum = device::Fma(value, value, sum);
  }
  const float mean = device::Div(WarpSum(sum), static_cast<float>(head_dim));
  return {x, weight, device::Div(1.0f, device::Sqrt(device::Add(mean, eps)))};
}

// Where element i of the head goes, for the three kinds of heads.
template <typename H>
struct HeadTarget {
  H* q;              // null: a plane
  std::byte* plane;  // null: q
  int token, head_dim, block_tokens;

  PREFIXD_DEVICE void Store(int i, float value) const {
    void* const at =
        q != nullptr ? static_cast<void*>(q + i)
                     : static_cast<void*>(plane + PlaneOffset(token, i, head_dim, sizeof(H), block_tokens));
    device::StoreGlobal(at, Rounded<H>::From(value));
  }
};

// One of the heads of a row: those of q, then k, then v.
struct HeadOfRow {
  int row, head;
  bool is_query, is_value;

  PREFIXD_DEVICE HeadOfRow(const QkvParams& p, int row, int head)
      : row(row), head(head), is_query(head < p.heads), is_value(head >= p.heads + p.kv.kv_heads) {}

  template <typename H>
  PREFIXD_DEVICE HeadTarget<H> TargetOf(const QkvParams& p, RowPlace place) const {
    const int dim = p.kv.head_dim;
    const int kv_head = is_value ? head - p.heads - p.kv.kv_heads : head - p.heads;
    return {.q = is_query ? static_cast<H*>(p.q) + At(row, p.heads * dim) + head * dim : nullptr,
            .plane = is_query ? nullptr : PlaneOf<H>(p.kv, p.tables, place, kv_head, is_value),
            .token = place.position % p.kv.block_tokens,
            .head_dim = dim,
            .block_tokens = p.kv.block_tokens};
  }
  // Rotates and stores the elements i and i + head_dim / 2 of a head of q or k.
  template <typename H>
  PREFIXD_DEVICE void StoreRotated(const QkvParams& p, const HeadTarget<H>& target, int position, int i,
                                   float a, float b) const {
    const int half = p.kv.head_dim / 2;
    const float* const cosines = p.rope + At(position, p.kv.head_dim);
    const float cosine = LoadF32(cosines + i), sine = LoadF32(cosines + half + i);
    const float scale = is_query ? p.scale : 1.0f;
    target.Store(i, device::Mul(device::Fma(a, cosine, -device::Mul(b, sine)), scale));
    target.Store(i + half, device::Mul(device::Fma(b, cosine, device::Mul(a, sine)), scale));
  }
};

template <typename H>
PREFIXD_DEVICE void Qkv(const QkvParams& p) {
  const int heads = p.heads + 2 * p.kv.kv_heads, dim = p.kv.head_dim;
  const HeadOfRow of(p, WarpRow() / heads, WarpRow() % heads);
  if (of.row >= p.rows) return;
  const auto place = device::LoadStruct(p.places + of.row);
  if (place.sequence < 0) return;
  const float* const x = p.qkv + At(of.row, heads * dim) + of.head * dim;
  const HeadTarget<H> target = of.TargetOf<H>(p, place);
  if (of.is_value) {
    for (int i = device::Lane(); i < dim; i += device::kWarp) target.Store(i, LoadF32(x + i));
    return;
  }
  const NormedHead normed = NormHead(x, of.is_query ? p.q_norm : p.k_norm, p.eps, dim);
  const int half = dim / 2;
  for (int i = device::Lane(); i < half; i += device::kWarp)
    of.StoreRotated(p, target, place.position, i, normed.At(i), normed.At(i + half));
}

}  // namespace prefixd::cuda
