// Kernels over rows: dummy weights, embedding, norm, gather, activation. Device code; kernel_table.h states
// what each does, numerics.h its arithmetic.
//
// A step that decodes has few rows, so a row is shared by many warps, and what a lane loads is in flight at
// once: with a warp for each row, such a step would wait for the memory hundreds of times, one load after the
// other.
#pragma once

#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/quant_types.h"
#include "kernels/cuda/types.h"
#include "kernels/dummy_weights.h"

namespace prefixd::cuda {

// The row (or head) of this warp.
PREFIXD_DEVICE int WarpRow() { return device::BlockX() * kRowWarps + device::Warp(); }

PREFIXD_DEVICE size_t At(int row, int width) { return static_cast<size_t>(row) * static_cast<size_t>(width); }

// The columns of a row that this warp has.
struct RowPiece {
  int row, begin, end;
};
// A row at or above the number of rows does not exist.
PREFIXD_DEVICE RowPiece PieceOf(int width) {
  const int pieces = RowPieces(width), begin = WarpRow() % pieces * kRowPiece;
  return {WarpRow() / pieces, begin, begin + kRowPiece < width ? begin + kRowPiece : width};
}

// store(i, load(i)) for the columns of a piece. A lane loads all that it has before it stores any of it: the
// compiler may not move a load across a store that could change it.
template <typename Load, typename Store>
PREFIXD_DEVICE void ForColumns(const RowPiece& piece, const Load& load, const Store& store) {
  constexpr int kEach = kRowPiece / device::kWarp;
  decltype(load(0)) values[kEach] = {};
  PREFIXD_UNROLL
  for (int j = 0; j < kEach; ++j) {
    const int i = piece.begin + device::Lane() + j * device::kWarp;
    if (i < piece.end) values[j] = load(i);
  }
  PREFIXD_UNROLL
  for (int j = 0; j < kEach; ++j) {
    const int i = piece.begin + device::Lane() + j * device::kWarp;
    if (i < piece.end) store(i, values[j]);
  }
}

// A row of activations, as weights of T multiply it.
template <typename T>
struct ActivationRow {
  T* to;
  PREFIXD_DEVICE ActivationRow(void* rows, int row, int width) : to(static_cast<T*>(rows) + At(row, width)) {}
  PREFIXD_DEVICE void Store(int i, float value) const {
    device::StoreGlobal(to + i, Rounded<T>::From(value));
  }
};
template <>
struct ActivationRow<Quantized> {
  std::byte* to;
  int width;
  PREFIXD_DEVICE ActivationRow(void* rows, int row, int width)
      : to(static_cast<std::byte*>(rows) + At(row, QuantXRowBytes(width))), width(width) {}
  // Collective over the warp, whose lanes have the 32 numbers of a block.
  PREFIXD_DEVICE void Store(int i, float value) const {
    const QuantizedNumber number = QuantizeOfBlock(value);
    device::StoreGlobal(to + i, number.integer);
    if (device::Lane() == 0) device::StoreGlobal(to + width + i / kQuantBlock * 4, number.scale);
  }
};

// Copies a row of floats, 16-byte aligned where its width is a multiple of 4, to shared memory. Collective
// over the block.
PREFIXD_DEVICE void CopyRow(const float* row, int width, float* shared) {
  if (width % 4 == 0) {
    for (int i = device::ThreadIndex() * 4; i < width; i += device::BlockThreads() * 4)
      device::CopyAsync16(shared + i, row + i, true);
    device::CommitCopies();
    device::WaitCopies<0>();
  } else {
    for (int i = device::ThreadIndex(); i < width; i += device::BlockThreads())
      device::StoreShared(shared + i, LoadF32(row + i));
  }
  device::SyncThreads();
}

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

PREFIXD_DEVICE int TokenOf(const EmbedParams& p, int row) {
  const auto token = device::LoadGlobal<int32_t>(p.tokens + row);
  return token < 0 ? device::LoadGlobal<int32_t>(&p.drawn[-1 - token].token) : token;
}

template <typename T>
PREFIXD_DEVICE void Embed(const EmbedParams& p) {
  const RowPiece piece = PieceOf(p.dim);
  if (piece.row >= p.rows) return;
  const T* const from = static_cast<const T*>(p.table) + At(TokenOf(p, piece.row), p.dim);
  float* const to = p.out + At(piece.row, p.dim);
  ForColumns(
      piece, [&](int i) { return device::LoadGlobal<T>(from + i); },
      [&](int i, T value) { device::StoreGlobal(to + i, ToF32(value)); });
}

template <typename W>
PREFIXD_DEVICE void EmbedQuantized(const EmbedParams& p) {
  const RowPiece piece = PieceOf(p.dim);
  if (piece.row >= p.rows) return;
  const std::byte* const from =
      static_cast<const std::byte*>(p.table) + At(TokenOf(p, piece.row), QuantRowBytes(W::kBits, p.dim));
  float* const to = p.out + At(piece.row, p.dim);
  ForColumns(
      piece,
      [&](int i) {
        const std::byte* const scale = from + IntegerBytes(W::kBits, p.dim) + i / kQuantBlock * 2;
        return device::Mul(device::WidenF16(device::LoadGlobal<uint16_t>(scale)),
                           static_cast<float>(W::Integer(from, i)));
      },
      [&](int i, float value) { device::StoreGlobal(to + i, value); });
}

// The factor of the norm of a row in shared memory. Collective over the warp; every warp makes it.
PREFIXD_DEVICE float NormScale(const float* x, int dim, float eps) {
  float sum = 0;
  for (int i = device::Lane(); i < dim; i += device::kWarp) {
    const auto value = device::LoadShared<float>(x + i);
    sum = device::Fma(value, value, sum);
  }
  const float mean = device::Div(WarpSum(sum), static_cast<float>(dim));
  return device::Div(1.0f, device::Sqrt(device::Add(mean, eps)));
}

template <typename T>
PREFIXD_DEVICE void RmsNorm(const RmsNormParams& p) {
  const int row = device::BlockX();
  auto* const x = reinterpret_cast<float*>(device::SharedMemory());
  CopyRow(p.x + At(row, p.dim), p.dim, x);
  const ActivationRow<T> out(p.out, row, p.dim);
  const float scale = NormScale(x, p.dim, p.eps);
  for (int begin = device::Warp() * kRowPiece; begin < p.dim; begin += kRowWarps * kRowPiece) {
    ForColumns(
        {row, begin, begin + kRowPiece < p.dim ? begin + kRowPiece : p.dim},
        [&](int i) { return LoadF32(p.weight + i); },
        [&](int i, float weight) {
          const float scaled = device::Mul(device::LoadShared<float>(x + i), scale);
          out.Store(i, device::Mul(scaled, weight));
        });
  }
}

PREFIXD_DEVICE void Gather(const GatherParams& p) {
  const int words = p.row_bytes / 4;
  const RowPiece piece = PieceOf(words);
  if (piece.row >= p.rows) return;
  const auto row = device::LoadGlobal<int32_t>(p.indices + piece.row);
  const auto* const from = static_cast<const uint32_t*>(p.x) + At(row, words);
  auto* const to = static_cast<uint32_t*>(p.out) + At(piece.row, words);
  ForColumns(
      piece, [&](int i) { return device::LoadGlobal<uint32_t>(from + i); },
      [&](int i, uint32_t word) { device::StoreGlobal(to + i, word); });
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

struct GateAndUp {
  float gate, up;
};

template <typename T>
PREFIXD_DEVICE void Activate(const ActivationParams& p) {
  const RowPiece piece = PieceOf(p.width);
  if (piece.row >= p.rows) return;
  const float* const x = p.x + At(piece.row, 2 * p.width);
  const ActivationRow<T> out(p.out, piece.row, p.width);
  ForColumns(
      piece,
      [&](int i) {
        return GateAndUp{LoadF32(x + i), LoadF32(x + p.width + i)};
      },
      [&](int i, GateAndUp value) {
        const float gate = ActivationOf(p.activation, value.gate);
        out.Store(i, device::Mul(gate, value.up));
      });
}

}  // namespace prefixd::cuda
