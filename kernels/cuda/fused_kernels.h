// GemmFewQkv and GemmFewGate: what a layer of a step that decodes does around two of its products, in the
// launch of the product: the norm of its rows before it, and rope with the append, or the activation, after
// it. Device code; kernel_table.h states what each does. A tile of GemmFew can have any two times 8 weight
// rows, so both elements that rope rotates are in one lane, and so are a column of the gate and that of up.
// Each element is computed as by the kernels alone.
#pragma once

#include "kernels/cuda/gemm_few_kernels.h"
#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/qkv_kernels.h"
#include "kernels/cuda/row_kernels.h"
#include "kernels/cuda/types.h"

namespace prefixd::cuda {

// The tile of this warp. A block with a norm has several.
template <typename Params>
PREFIXD_DEVICE int FusedTile(const Params& p) {
  return p.norm.x != nullptr ? device::BlockX() * kFewNormWarps + device::Warp() : device::BlockX();
}

template <typename T, typename Params, typename Store>
PREFIXD_DEVICE void FusedSums(const Params& p, FewTile tile, const Store& store) {
  if (p.norm.x != nullptr)
    FewRowsTile<T, 1, true>(p.product, p.norm, tile).Run(store);
  else
    FewSums<T>(p.product, tile, store);
}

PREFIXD_DEVICE float WithBias(const GemmParams& p, int column, float sum) {
  return p.bias == nullptr ? sum : device::Add(sum, LoadF32(p.bias + column));
}

template <typename T>
PREFIXD_DEVICE void GemmFewQkv(const FewQkvParams& p) {
  const QkvParams& append = p.append;
  const int dim = append.kv.head_dim, half = dim / 2, tiles = dim / kFewTile;  // of a head
  const int head = FusedTile(p) / tiles, first = FusedTile(p) % tiles * 8;
  const int low = head * dim + first;
  FusedSums<T>(p, {low, low + half}, [&](int row, int i, float a, float b) {
    if (row >= p.product.rows || low >= p.product.n) return;
    a = WithBias(p.product, low + i, a);
    b = WithBias(p.product, low + half + i, b);
    const HeadOfRow of(append, row, head);
    const auto place = device::LoadStruct(append.places + row);
    if (place.sequence < 0) return;
    const auto target = of.TargetOf<T>(append, place);
    if (!of.is_value) return of.StoreRotated(append, target, place.position, first + i, a, b);
    target.Store(first + i, a);
    target.Store(first + i + half, b);
  });
}

template <typename T>
PREFIXD_DEVICE void GemmFewGate(const FewGateParams& p) {
  const int width = p.activate.width, first = FusedTile(p) * 8;
  FusedSums<T>(p, {first, width + first}, [&](int row, int i, float gate, float up) {
    const int column = first + i;
    if (row >= p.product.rows || column >= width) return;
    gate = ActivationOf(p.activate.activation, WithBias(p.product, column, gate));
    up = WithBias(p.product, width + column, up);
    device::StoreGlobal(static_cast<T*>(p.activate.out) + At(row, width) + column,
                        Rounded<T>::From(device::Mul(gate, up)));
  });
}

}  // namespace prefixd::cuda
