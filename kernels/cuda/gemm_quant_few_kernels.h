// GemmFewQuantized: the product of GemmQuantized for steps that decode: up to kFewRows rows of x. Device
// code; it has the bits of GemmQuantized.
//
// As in GemmFew the weights are A and x is B, a warp makes all outputs of 16 weight rows, and it walks over K
// in stages, most of which are on their way while one is used. A stage has 512 columns. A step takes two
// blocks of them, of which q4_0 has the integers in one ldmatrix, and the scales of a row are one word.
#pragma once

#include "kernels/cuda/gemm_kernels.h"
#include "kernels/cuda/quant_types.h"

namespace prefixd::cuda {

// kTokens: fragments of 8 rows of x.
template <typename W, int kTokens>
class FewQuantTile {
 public:
  PREFIXD_DEVICE explicit FewQuantTile(const GemmParams& p) : p_(p), first_(device::BlockX() * kFewTile) {}

  PREFIXD_DEVICE void Run() {
    const int stages = (p_.k + kQuantFewTileK - 1) / kQuantFewTileK;
    for (int stage = 0; stage < kStages - 1 && stage < stages; ++stage) CopyWeights(stage);
    device::AwaitPredecessor();
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
      const int left = (p_.k - stage * kQuantFewTileK) / kQuantBlock;
      if (left >= kBlocks) {
        PREFIXD_UNROLL
        for (int block = 0; block < kBlocks; block += 2) AddPair(StageAt(stage), block, true);
      } else {
        for (int block = 0; block < left; block += 2) AddPair(StageAt(stage), block, block + 1 < left);
      }
    }
    PREFIXD_UNROLL
    for (int n = 0; n < kTokens; ++n) {
      for (int i = 0; i < 4; ++i) {
        const int row = n * 8 + device::Lane() % 4 * 2 + i % 2;
        GemmStore(p_, row, first_ + device::Lane() / 4 + i / 2 * 8, acc_[n][i]);
      }
    }
  }

 private:
  static constexpr int kStages = QuantFewStages(W::kBits), kBlocks = kQuantFewTileK / kQuantBlock;
  static constexpr int kXRow = QuantFewXRowBytes(), kWRow = QuantFewRowBytes(W::kBits);
  static constexpr int kInts = IntegerBytes(W::kBits, kQuantFewTileK);  // of a weight row in a stage

  // A stage has its weight rows, and then its rows of x.
  PREFIXD_DEVICE std::byte* StageAt(int stage) const {
    return device::SharedMemory() + stage % kStages * (kFewTile * kWRow + p_.rows * kXRow);
  }

  // Copies 16 bytes of a row, from byte `at` on; what lies at or beyond `end` does not exist and is 0.
  PREFIXD_DEVICE static void CopyChunk(const void* rows, int row, int count, int row_bytes, int at, int end,
                                       std::byte* to) {
    const bool valid = row < count && at < end;
    const auto* const from = static_cast<const std::byte*>(rows);
    device::CopyAsync16(to, valid ? from + At(row, row_bytes) + at : from, valid);
  }

  PREFIXD_DEVICE void CopyWeights(int stage) const {
    constexpr int kChunks = kInts / 16, kAtOnce = device::kWarp / kChunks;  // rows
    const int ints = IntegerBytes(W::kBits, p_.k), bytes = QuantRowBytes(W::kBits, p_.k);
    const int chunk = device::Lane() % kChunks * 16;
    PREFIXD_UNROLL
    for (int first = 0; first < kFewTile; first += kAtOnce) {
      const int row = first + device::Lane() / kChunks;
      CopyChunk(p_.w, first_ + row, p_.n, bytes, stage * kInts + chunk, ints,
                StageAt(stage) + row * kWRow + chunk);
    }
    static_assert(kBlocks * 2 == 32 &&
                  kFewTile * 2 == device::kWarp);  // the scales: a half row for each lane
    const int row = device::Lane() / 2, scales = device::Lane() % 2 * 16;
    CopyChunk(p_.w, first_ + row, p_.n, bytes, ints + stage * kBlocks * 2 + scales, bytes,
              StageAt(stage) + row * kWRow + kInts + scales);
  }
  PREFIXD_DEVICE void CopyX(int stage) const {
    static_assert(kQuantFewTileK == 16 * device::kWarp && kBlocks * 4 == 64);
    std::byte* const to = StageAt(stage) + kFewTile * kWRow;
    const int bytes = QuantXRowBytes(p_.k), chunk = device::Lane() * 16;
    for (int row = 0; row < p_.rows; ++row)
      CopyChunk(p_.x, row, p_.rows, bytes, stage * kQuantFewTileK + chunk, p_.k, to + row * kXRow + chunk);
    for (int i = device::Lane(); i < p_.rows * 4; i += device::kWarp) {
      CopyChunk(p_.x, i / 4, p_.rows, bytes, p_.k + stage * kBlocks * 4 + i % 4 * 16, bytes,
                to + i / 4 * kXRow + kQuantFewTileK + i % 4 * 16);
    }
  }

  // A of the weight rows, for two blocks of a stage.
  PREFIXD_DEVICE static void LoadWeights(const std::byte* stage, int block, uint32_t (&a)[2][4]) {
    const int matrix = device::Lane() / 8;
    const std::byte* const row = stage + (matrix % 2 * 8 + device::Lane() % 8) * kWRow;
    if constexpr (W::kBits == 4) {
      uint32_t words[4];
      device::LoadMatrix4(words, row + (block + matrix / 2) * 16);
      PREFIXD_UNROLL
      for (int i = 0; i < 4; ++i) {
        a[i / 2][i % 2] = W::Low(words[i]);
        a[i / 2][2 + i % 2] = W::High(words[i]);
      }
    } else {
      PREFIXD_UNROLL
      for (int h = 0; h < 2; ++h) device::LoadMatrix4(a[h], row + (block + h) * 32 + matrix / 2 * 16);
    }
  }

  // Adds the products of a block of the stage, and of the next one if there are two.
  PREFIXD_DEVICE void AddPair(const std::byte* stage, int block, bool two) {
    const int g = device::Lane() / 4, t = device::Lane() % 4;
    uint32_t a[2][4];
    LoadWeights(stage, block, a);
    float of_w[2][2];
    for (int i = 0; i < 2; ++i) {
      const std::byte* const scales = stage + (g + 8 * i) * kWRow + kInts + block * 2;
      WidenScales(device::LoadShared<uint32_t>(scales), &of_w[0][i], &of_w[1][i]);
    }
    const std::byte* const x = stage + kFewTile * kWRow;
    PREFIXD_UNROLL
    for (int n = 0; n < kTokens; ++n) {
      uint32_t b[2][2] = {};
      float of_x[2][2] = {};
      if (const int row = n * 8 + g; row < p_.rows) {
        for (int i = 0; i < 4; ++i)
          b[i / 2][i % 2] = device::LoadShared<uint32_t>(x + row * kXRow + block * 32 + i * 16 + t * 4);
      }
      for (int i = 0; i < 2; ++i) {
        const int row = n * 8 + 2 * t + i;
        if (row >= p_.rows) continue;
        const auto pair = device::LoadShared<uint64_t>(x + row * kXRow + kQuantFewTileK + block * 4);
        of_x[0][i] = std::bit_cast<float>(static_cast<uint32_t>(pair));
        of_x[1][i] = std::bit_cast<float>(static_cast<uint32_t>(pair >> 32));
      }
      AddBlock<W>(a[0], b[0], of_w[0], of_x[0], acc_[n]);
      if (two) AddBlock<W>(a[1], b[1], of_w[1], of_x[1], acc_[n]);
    }
  }

  const GemmParams& p_;
  const int first_;  // weight row
  float acc_[kTokens][4] = {};
};

template <typename W>
PREFIXD_DEVICE void GemmFewQuantized(const GemmParams& p) {
  if (p.rows <= 8)
    FewQuantTile<W, 1>(p).Run();
  else
    FewQuantTile<W, 2>(p).Run();
}

}  // namespace prefixd::cuda
