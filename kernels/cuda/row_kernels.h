// Kernels with a warp for each row: dummy weights, embedding, norm, gather, activation. Device code;
// kernel_table.h states what each does, numerics.h its arithmetic.
#pragma once

#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/types.h"
#include "kernels/dummy_weights.h"

namespace prefixd::cuda {

// The row (or head) of this warp.
PREFIXD_DEVICE int WarpRow() { return device::BlockX() * kRowWarps + device::Warp(); }

PREFIXD_DEVICE size_t At(int row, int width) { return static_cast<size_t>(row) * static_cast<size_t>(width); }

template <typename T>
PREFIXD_DEVICE void Dummy(const DummyParams& p) {
  const int row = WarpRow();
  if (row >= p.rows) return;
  const size_t first = At(row, p.cols);
  T* const out = static_cast<T*>(p.out) + first;
  for (int i = device::Lane(); i < p.cols; i += device::kWarp)
    device::StoreGlobal(out + i,
                        Rounded<T>::From(DummyWeight(p.seed, first + static_cast<size_t>(i), p.largest)));
}

template <typename T>
PREFIXD_DEVICE void Embed(const EmbedParams& p) {
  const int row = WarpRow();
  if (row >= p.rows) return;
  auto token = device::LoadGlobal<int32_t>(p.tokens + row);
  if (token < 0) token = device::LoadGlobal<int32_t>(&p.drawn[-1 - token].token);
  const T* const from = static_cast<const T*>(p.table) + At(token, p.dim);
  float* const to = p.out + At(row, p.dim);
  for (int i = device::Lane(); i < p.dim; i += device::kWarp)
    device::StoreGlobal(to + i, ToF32(device::LoadGlobal<T>(from + i)));
}

template <typename T>
PREFIXD_DEVICE void RmsNorm(const RmsNormParams& p) {
  const int row = WarpRow();
  if (row >= p.rows) return;
  const float* const x = p.x + At(row, p.dim);
  T* const out = static_cast<T*>(p.out) + At(row, p.dim);
  float sum = 0;
  for (int i = device::Lane(); i < p.dim; i += device::kWarp) {
    const float value = LoadF32(x + i);
    sum = device::Fma(value, value, sum);
  }
  const float mean = device::Div(WarpSum(sum), static_cast<float>(p.dim));
  const float scale = device::Div(1.0f, device::Sqrt(device::Add(mean, p.eps)));
  for (int i = device::Lane(); i < p.dim; i += device::kWarp) {
    const float value = device::Mul(device::Mul(LoadF32(x + i), scale), LoadF32(p.weight + i));
    device::StoreGlobal(out + i, Rounded<T>::From(value));
  }
}

PREFIXD_DEVICE void Gather(const GatherParams& p) {
  const int row = WarpRow();
  if (row >= p.rows) return;
  const int words = p.row_bytes / 4;
  const auto* const from =
      static_cast<const uint32_t*>(p.x) + At(device::LoadGlobal<int32_t>(p.indices + row), words);
  auto* const to = static_cast<uint32_t*>(p.out) + At(row, words);
  for (int i = device::Lane(); i < words; i += device::kWarp)
    device::StoreGlobal(to + i, device::LoadGlobal<uint32_t>(from + i));
}

PREFIXD_DEVICE float ActivationOf(Activation activation, float x) {
  using device::Add;
  using device::Div;
  using device::Mul;
  if (activation == Activation::kSilu) return Div(x, Add(1.0f, Exp(-x)));
  if (activation == Activation::kRelu) return x < 0.0f ? 0.0f : x;
  const float exponent = Mul(x, device::Fma(numerics::kGelu3, Mul(x, x), numerics::kGelu1));
  return Div(x, Add(1.0f, Exp(exponent)));
}

template <typename T>
PREFIXD_DEVICE void Activate(const ActivationParams& p) {
  const int row = WarpRow();
  if (row >= p.rows) return;
  const float* const x = p.x + At(row, 2 * p.width);
  T* const out = static_cast<T*>(p.out) + At(row, p.width);
  for (int i = device::Lane(); i < p.width; i += device::kWarp) {
    const float gate = ActivationOf(p.activation, LoadF32(x + i));
    device::StoreGlobal(out + i, Rounded<T>::From(device::Mul(gate, LoadF32(x + p.width + i))));
  }
}

}  // namespace prefixd::cuda
