// Gemm: y = x W^T by tensor cores, for 16-bit weights, and by fma for f32. Device code; kernel_table.h states
// what it does, numerics.h its arithmetic: one accumulator for each output, k ascending.
//
// A block of 4 warps makes 64 x 64 outputs. It walks over K in stages of 64 columns, of which the next is
// copied while one is used. Warp w has rows 16 w .. 16 w + 15 of x as A, and all weight rows as B.
#pragma once

#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/row_kernels.h"
#include "kernels/cuda/types.h"

namespace prefixd::cuda {

// The rows [first, first + kGemmTile) of a matrix [rows][k] of 16-bit elements, as a stage has them.
struct GemmOperand {
  const uint16_t* data;
  int first, rows, k;

  // Copies the columns [column, column + kGemmTileK) to `shared`; what does not exist is 0. The block does
  // it.
  PREFIXD_DEVICE void Copy(int column, std::byte* shared) const {
    constexpr int kChunk = 8;  // elements of 16 bytes
    constexpr int kChunks = kGemmTileK / kChunk;
    for (int i = device::ThreadIndex(); i < kGemmTile * kChunks; i += kGemmThreads) {
      const int row = i / kChunks, at = column + i % kChunks * kChunk;
      std::byte* const to = shared + row * kGemmRowBytes + i % kChunks * 16;
      const bool there = first + row < rows;
      if (k % kChunk == 0) {
        const bool valid = there && at < k;
        device::CopyAsync16(to, valid ? data + At(first + row, k) + at : data, valid);
        continue;
      }
      // Rows that do not begin at 16 bytes are copied by elements.
      for (int e = 0; e < kChunk; ++e) {
        const bool valid = there && at + e < k;
        const uint16_t value =
            valid ? device::LoadGlobal<uint16_t>(data + At(first + row, k) + at + e) : uint16_t{0};
        device::StoreShared(to + 2 * e, value);
      }
    }
  }
};

// Adds the products of 16 columns of a stage, from column `k` of it on, to the accumulators of this warp.
template <typename T>
PREFIXD_DEVICE void GemmStep(const std::byte* x, const std::byte* w, int k, float (&c)[kGemmTile / 8][4]) {
  const int lane = device::Lane(), matrix = lane / 8, line = lane % 8;
  uint32_t a[4];
  const int x_row = device::Warp() * 16 + matrix % 2 * 8 + line;
  device::LoadMatrix4(a, x + x_row * kGemmRowBytes + (k + matrix / 2 * 8) * 2);
  for (int n = 0; n < kGemmTile; n += 16) {
    uint32_t b[4];
    const int w_row = n + matrix / 2 * 8 + line;
    device::LoadMatrix4(b, w + w_row * kGemmRowBytes + (k + matrix % 2 * 8) * 2);
    const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
    device::Mma16816<Rounded<T>::kHalf>(c[n / 8], a, low);
    device::Mma16816<Rounded<T>::kHalf>(c[n / 8 + 1], a, high);
  }
}

PREFIXD_DEVICE void GemmStore(const GemmParams& p, int row, int column, float sum) {
  if (row >= p.rows || column >= p.n) return;
  if (p.bias != nullptr) sum = device::Add(sum, LoadF32(p.bias + column));
  float* const y = p.y + At(row, p.stride == 0 ? p.n : p.stride) + column;
  device::StoreGlobal(y, p.accumulate ? device::Add(LoadF32(y), sum) : sum);
}

template <typename T>
PREFIXD_DEVICE void Gemm(const GemmParams& p) {
  constexpr int kStageBytes = 2 * kGemmTile * kGemmRowBytes;
  const GemmOperand x{static_cast<const uint16_t*>(p.x), device::BlockY() * kGemmTile, p.rows, p.k};
  const GemmOperand w{static_cast<const uint16_t*>(p.w), device::BlockX() * kGemmTile, p.n, p.k};
  std::byte* const shared = device::SharedMemory();
  const auto begin_stage = [&](int stage) {
    std::byte* const at = shared + stage % kGemmStages * kStageBytes;
    x.Copy(stage * kGemmTileK, at);
    w.Copy(stage * kGemmTileK, at + kGemmTile * kGemmRowBytes);
  };
  float c[kGemmTile / 8][4] = {};
  const int stages = (p.k + kGemmTileK - 1) / kGemmTileK;
  begin_stage(0);
  device::CommitCopies();
  for (int stage = 0; stage < stages; ++stage) {
    if (stage + 1 < stages) begin_stage(stage + 1);
    device::CommitCopies();
    device::WaitCopies<1>();
    device::SyncThreads();
    const std::byte* const at = shared + stage % kGemmStages * kStageBytes;
    for (int k = 0; k < kGemmTileK && stage * kGemmTileK + k < p.k; k += 16)
      GemmStep<T>(at, at + kGemmTile * kGemmRowBytes, k, c);
    device::SyncThreads();  // the next copies overwrite this stage
  }
  const int row = x.first + device::Warp() * 16 + device::Lane() / 4;
  for (int n = 0; n < kGemmTile / 8; ++n) {
    for (int i = 0; i < 4; ++i)
      GemmStore(p, row + i / 2 * 8, w.first + n * 8 + device::Lane() % 4 * 2 + i % 2, c[n][i]);
  }
}

PREFIXD_DEVICE void GemmF32(const GemmParams& p) {
  for (int i = device::ThreadIndex(); i < kGemmTile * kGemmTile; i += kGemmThreads) {
    const int row = device::BlockY() * kGemmTile + i / kGemmTile;
    const int column = device::BlockX() * kGemmTile + i % kGemmTile;
    if (row >= p.rows || column >= p.n) continue;
    const float* const x = static_cast<const float*>(p.x) + At(row, p.k);
    const float* const w = static_cast<const float*>(p.w) + At(column, p.k);
    float sum = 0;
    for (int k = 0; k < p.k; ++k) sum = device::Fma(LoadF32(x + k), LoadF32(w + k), sum);
    GemmStore(p, row, column, sum);
  }
}

}  // namespace prefixd::cuda
