// QkvExpanded: Qkv for types of KV whose numbers are expanded (kv_types.h). A warp has a head, and stores 32
// dims of K or V at a time: of q8_0 that is a block. Device code; kernel_table.h states what it does,
// numerics.h its arithmetic.
#pragma once

#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/kv_types.h"
#include "kernels/cuda/qkv_kernels.h"

namespace prefixd::cuda {

// A head of q or k after rope.
struct RotatedHead {
  NormedHead normed;
  const float* cosines;  // [2][half]: cosines, then sines
  int half;

  PREFIXD_DEVICE float At(int d) const {
    const int i = d < half ? d : d - half;
    const float a = normed.At(i), b = normed.At(i + half);
    const float cosine = LoadF32(cosines + i), sine = LoadF32(cosines + half + i);
    return d < half ? device::Fma(a, cosine, -device::Mul(b, sine))
                    : device::Fma(b, cosine, device::Mul(a, sine));
  }
};

template <typename H>
PREFIXD_DEVICE void QkvExpanded(const QkvParams& p) {
  using Number = typename Kv<H>::Number;
  const int kv_heads = p.kv.kv_heads, heads = p.heads + 2 * kv_heads, dim = p.kv.head_dim;
  const int row = WarpRow() / heads, head = WarpRow() % heads;
  if (row >= p.rows) return;
  const auto place = device::LoadStruct(p.places + row);
  if (place.sequence < 0) return;
  const float* const x = p.qkv + At(row, heads * dim) + head * dim;
  const bool is_query = head < p.heads, is_value = head >= p.heads + kv_heads;
  const RotatedHead rotated{NormHead(x,
                                     is_value   ? nullptr
                                     : is_query ? p.q_norm
                                                : p.k_norm,
                                     p.eps, dim),
                            p.rope + At(place.position, dim), dim / 2};
  if (is_query) {
    Number* const q = static_cast<Number*>(p.q) + At(row, p.heads * dim) + head * dim;
    for (int d = device::Lane(); d < dim; d += device::kWarp)
      device::StoreGlobal(q + d, Rounded<Number>::From(device::Mul(rotated.At(d), p.scale)));
    return;
  }
  const int kv_head = is_value ? head - p.heads - kv_heads : head - p.heads;
  std::byte* const plane = PlaneOf<H>(p.kv, p.tables, place, kv_head, is_value);
  const int token = place.position % p.kv.block_tokens;
  for (int d = device::Lane(); d < dim; d += device::kWarp)
    Kv<H>::Store(p.kv, plane, token, d, is_value ? LoadF32(x + d) : rotated.At(d));
}

}  // namespace prefixd::cuda
