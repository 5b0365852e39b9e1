// GemmFew: y = x W^T for steps that decode: up to kFewRows rows of x, 16-bit types, and rows that
// begin at 16 bytes. Device code; numerics.h, rule 1, has the arithmetic, so its bits are those of Gemm.
//
// Such a product is a read of the weights, so they are A of the tensor cores, which has 16 rows, and x is B,
// which has 8: no row of x is padded to 64. A warp makes all outputs of 16 weight rows, so that even a small
// matrix has a warp for every part of a device. It walks over K in stages, of which all but one are on their
// way while that one is used. The weights of the first ones are asked for while the launch before still runs:
// no launch of a step writes weights.
#pragma once

#include "kernels/cuda/gemm_kernels.h"
#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/row_kernels.h"
#include "kernels/cuda/types.h"

namespace prefixd::cuda {

// What a warp makes: the weight rows low .. low + 7 and high .. high + 7. Rows that do not exist are zeros.
struct FewTile {
  int low, high;
};

// kTokens: fragments of 8 rows of x. kNorms: x is the norm of the rows of FewNorm, which the block makes
// first and keeps; otherwise the rows of GemmParams, copied with each stage.
template <typename T, int kTokens, bool kNorms>
class FewRowsTile {
 public:
  PREFIXD_DEVICE FewRowsTile(const GemmParams& p, const FewNorm& norm, FewTile tile)
      : p_(p), norm_(norm), tile_(tile) {}

  // Calls store(row, i, output of the weight row low + i, that of high + i), also for rows that do not exist.
  // Collective over the block.
  template <typename Store>
  PREFIXD_DEVICE void Run(const Store& store) {
    const int stages = (p_.k + kFewTileK - 1) / kFewTileK;
    for (int stage = 0; stage < kStages - 1 && stage < stages; ++stage) CopyWeights(stage);
    if constexpr (kNorms) CopyNormWeights();
    device::AwaitPredecessor();
    if constexpr (kNorms) NormRows();
    for (int stage = 0; stage < kStages - 1; ++stage) {
      if (stage < stages) CopyX(stage);
      device::CommitCopies();
    }
    for (int stage = 0; stage < stages; ++stage) {
      device::WaitCopies<kStages - 2>();
      device::SyncWarp();  // the stage is there, and all lanes have used the one that is overwritten next
      if (const int next = stage + kStages - 1; next < stages) {
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
      for (int i = 0; i < 2; ++i)
        store(n * 8 + device::Lane() % 4 * 2 + i, device::Lane() / 4, c_[n][i], c_[n][2 + i]);
    }
  }

 private:
  static constexpr int kStages = kNorms ? kFewNormStages : kFewStages;
  static constexpr int kWarps = kNorms ? kFewNormWarps : 1;

  // That of the block has the stages of its warps one after the other.
  PREFIXD_DEVICE std::byte* StageAt(int stage, int warp) const {
    const int rows = kFewTile + (kNorms ? 0 : p_.rows);
    return device::SharedMemory() + (stage % kStages * kWarps + warp) * rows * kFewRowBytes;
  }
  PREFIXD_DEVICE std::byte* StageAt(int stage) const { return StageAt(stage, kNorms ? device::Warp() : 0); }
  PREFIXD_DEVICE std::byte* NormedRow(int row) const {
    return StageAt(0, kStages * kWarps) + static_cast<size_t>(row) * FewNormRowBytes(p_.k);
  }

  PREFIXD_DEVICE void CopyWeights(int stage) {
    PREFIXD_UNROLL
    for (int row = 0; row < kFewTile; ++row)
      CopyStageOfRow(stage, row, p_.w, row < 8 ? tile_.low + row : tile_.high + row - 8, p_.n);
  }
  PREFIXD_DEVICE void CopyX(int stage) {
    if constexpr (!kNorms)
      for (int row = 0; row < p_.rows; ++row) CopyStageOfRow(stage, kFewTile + row, p_.x, row, p_.rows);
  }

  // Copies what a stage has of row `row` of a matrix with so many rows; what does not exist is 0.
  PREFIXD_DEVICE void CopyStageOfRow(int stage, int to, const void* matrix, int row, int rows) {
    constexpr int kChunk = 8;  // elements of 16 bytes
    const int column = stage * kFewTileK + device::Lane() * kChunk;
    const bool valid = row < rows && column < p_.k;
    const auto* const from = static_cast<const uint16_t*>(matrix);
    device::CopyAsync16(StageAt(stage) + to * kFewRowBytes + device::Lane() * 16,
                        valid ? from + At(row, p_.k) + column : from, valid);
  }

  // What the norm needs before the last stage is filled.
  PREFIXD_DEVICE float* NormWeights() const { return reinterpret_cast<float*>(StageAt(kStages - 1, 0)); }
  PREFIXD_DEVICE void CopyNormWeights() {
    for (int i = device::ThreadIndex() * 4; i < p_.k; i += device::BlockThreads() * 4)
      device::CopyAsync16(NormWeights() + i, norm_.weight + i, true);
  }
  PREFIXD_DEVICE void NormRows() {
    const float* const weights = NormWeights();
    float* const x = NormWeights() + p_.k;
    for (int row = 0; row < p_.rows; ++row) {
      if (row > 0) device::SyncThreads();  // all have used the row before
      CopyRow(norm_.x + At(row, p_.k), p_.k, x);
      const float scale = NormScale(x, p_.k, norm_.eps);
      std::byte* const to = NormedRow(row);
      for (int begin = device::Warp() * kRowPiece; begin < p_.k; begin += kWarps * kRowPiece) {
        ForColumns(
            {row, begin, begin + kRowPiece < p_.k ? begin + kRowPiece : p_.k},
            [&](int i) {
              return Weighted{device::LoadShared<float>(x + i), device::LoadShared<float>(weights + i)};
            },
            [&](int i, Weighted of) {
              const float value = device::Mul(device::Mul(of.x, scale), of.weight);
              device::StoreShared(to + 2 * i, Rounded<T>::From(value));
            });
      }
      // The last 16 columns may be 8.
      if (device::ThreadIndex() < 8)
        device::StoreShared(to + 2 * (p_.k + device::ThreadIndex()), uint16_t{0});
    }
    device::SyncThreads();
  }
  struct Weighted {
    float x, weight;
  };

  // Where the columns of a stage begin.
  PREFIXD_DEVICE const std::byte* RowOfX(int stage, int row) const {
    if constexpr (kNorms)
      return NormedRow(row) + stage * kFewTileK * 2;
    else
      return StageAt(stage) + (kFewTile + row) * kFewRowBytes;
  }

  // Adds the products of 16 columns of a stage.
  PREFIXD_DEVICE void Step(int stage, int k) {
    const int matrix = device::Lane() / 8, line = device::Lane() % 8;
    uint32_t a[4];
    device::LoadMatrix4(a,
                        StageAt(stage) + (matrix % 2 * 8 + line) * kFewRowBytes + (k + matrix / 2 * 8) * 2);
    PREFIXD_UNROLL
    for (int n = 0; n < kTokens; ++n) {
      const int row = n * 8 + device::Lane() / 4;
      const std::byte* const x = RowOfX(stage, row) + (k + device::Lane() % 4 * 2) * 2;
      uint32_t b[2] = {};
      for (int i = 0; i < 2; ++i)
        if (row < p_.rows) b[i] = device::LoadShared<uint32_t>(x + 16 * i);
      device::Mma16816<Rounded<T>::kHalf>(c_[n], a, b);
    }
  }

  const GemmParams& p_;
  const FewNorm& norm_;
  const FewTile tile_;
  float c_[kTokens][4] = {};
};

// The sums of a tile for up to kFewRows rows; collective over the block.
template <typename T, typename Store>
PREFIXD_DEVICE void FewSums(const GemmParams& p, FewTile tile, const Store& store) {
  const FewNorm none;
  if (p.rows <= 8)
    FewRowsTile<T, 1, false>(p, none, tile).Run(store);
  else
    FewRowsTile<T, 2, false>(p, none, tile).Run(store);
}

template <typename T>
PREFIXD_DEVICE void GemmFew(const GemmParams& p) {
  const int first = device::BlockX() * kFewTile;
  FewSums<T>(p, {first, first + 8}, [&](int row, int i, float low, float high) {
    GemmStore(p, row, first + i, low);
    GemmStore(p, row, first + 8 + i, high);
  });
}

}  // namespace prefixd::cuda
