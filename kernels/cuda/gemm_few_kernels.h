// GemmFew: the product of Gemm for steps that decode: up to kFewRows rows of x, 16-bit types, and rows that
// begin at 16 bytes. Device code; numerics.h, rule 1, has the arithmetic, so its bits are those of Gemm.
//
// Such a product is a read of the weights, so they are A of the tensor cores, which has 16 rows, and x is B,
// which has 8: no row of x is padded to 64. A warp makes all outputs of 16 weight rows, so that even a small
// matrix has a warp for every part of a device. It walks over K in stages, of which kFewStages - 1 are on
// their way while one is used. The weights of the first ones are asked for while the launch before still
// runs: no launch of a step writes weights.
#pragma once

#include "kernels/cuda/gemm_kernels.h"
#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/row_kernels.h"
#include "kernels/cuda/types.h"

namespace prefixd::cuda {

// kTokens: fragments of 8 rows of x.
template <typename T, int kTokens>
class FewRowsTile {
 public:
  PREFIXD_DEVICE explicit FewRowsTile(const GemmParams& p) : p_(p), first_(device::BlockX() * kFewTile) {}

  PREFIXD_DEVICE void Run() {
    const int stages = (p_.k + kFewTileK - 1) / kFewTileK;
    for (int stage = 0; stage < kFewStages - 1 && stage < stages; ++stage) CopyWeights(stage);
    device::AwaitPredecessor();
    for (int stage = 0; stage < kFewStages - 1; ++stage) {
      if (stage < stages) CopyX(stage);
      device::CommitCopies();
    }
    for (int stage = 0; stage < stages; ++stage) {
      device::WaitCopies<kFewStages - 2>();
      device::SyncWarp();  // the stage is there, and all lanes have used the one that is overwritten next
      if (const int next = stage + kFewStages - 1; next < stages) {
        CopyWeights(next);
        CopyX(next);
      }
      device::CommitCopies();  // an empty group for a stage that does not exist
      const int left = p_.k - stage * kFewTileK;
      if (left >= kFewTileK) {
        PREFIXD_UNROLL
        for (int k = 0; k < kFewTileK; k += 16) Step(stage, k);
      } else {
        for (int k = 0; k < left; k += 16) Step(stage, k);
      }
    }
    PREFIXD_UNROLL
    for (int n = 0; n < kTokens; ++n) {
      for (int i = 0; i < 4; ++i) {
        const int row = n * 8 + device::Lane() % 4 * 2 + i % 2;
        GemmStore(p_, row, first_ + device::Lane() / 4 + i / 2 * 8, c_[n][i]);
      }
    }
  }

 private:
  PREFIXD_DEVICE std::byte* StageAt(int stage) const {
    return device::SharedMemory() + stage % kFewStages * (kFewTile + p_.rows) * kFewRowBytes;
  }

  PREFIXD_DEVICE void CopyWeights(int stage) {
    PREFIXD_UNROLL
    for (int row = 0; row < kFewTile; ++row) CopyRow(stage, row, p_.w, first_ + row, p_.n);
  }
  PREFIXD_DEVICE void CopyX(int stage) {
    for (int row = 0; row < p_.rows; ++row) CopyRow(stage, kFewTile + row, p_.x, row, p_.rows);
  }

  // Copies what a stage has of row `row` of a matrix with so many rows; what does not exist is 0.
  PREFIXD_DEVICE void CopyRow(int stage, int to, const void* matrix, int row, int rows) {
    constexpr int kChunk = 8;  // elements of 16 bytes
    const int column = stage * kFewTileK + device::Lane() * kChunk;
    const bool valid = row < rows && column < p_.k;
    const auto* const from = static_cast<const uint16_t*>(matrix);
    device::CopyAsync16(StageAt(stage) + to * kFewRowBytes + device::Lane() * 16,
                        valid ? from + At(row, p_.k) + column : from, valid);
  }

  // Adds the products of 16 columns of a stage.
  PREFIXD_DEVICE void Step(int stage, int k) {
    const int matrix = device::Lane() / 8, line = device::Lane() % 8;
    const std::byte* const at = StageAt(stage);
    uint32_t a[4];
    device::LoadMatrix4(a, at + (matrix % 2 * 8 + line) * kFewRowBytes + (k + matrix / 2 * 8) * 2);
    PREFIXD_UNROLL
    for (int n = 0; n < kTokens; ++n) {
      const int row = n * 8 + device::Lane() / 4;
      const std::byte* const x = at + (kFewTile + row) * kFewRowBytes + (k + device::Lane() % 4 * 2) * 2;
      uint32_t b[2] = {};
      for (int i = 0; i < 2; ++i)
        if (row < p_.rows) b[i] = device::LoadShared<uint32_t>(x + 16 * i);
      device::Mma16816<Rounded<T>::kHalf>(c_[n], a, b);
    }
  }

  const GemmParams& p_;
  const int first_;  // weight row
  float c_[kTokens][4] = {};
};

template <typename T>
PREFIXD_DEVICE void GemmFew(const GemmParams& p) {
  if (p.rows <= 8)
    FewRowsTile<T, 1>(p).Run();
  else
    FewRowsTile<T, 2>(p).Run();
}

}  // namespace prefixd::cuda
