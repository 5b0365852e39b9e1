// GemmQuantized: y = x W^T for quantised weights, q8_0 or q4_0, by the tensor cores' products of integers.
// Device code; kernel_table.h states what it does. Its bits are those of rule 9 of kernels/numerics.h, and of
// the CPU, for any number of rows: the sum of a block is an exact integer, so that its order is free, and
// blocks are added to one accumulator for each output, ascending.
//
// A block of 4 warps makes 64 x 64 outputs, as that of Gemm does. It walks over K in stages of 256 columns,
// of which the next is copied while one is used. Warp w has rows 16 w .. 16 w + 15 of x as A, and all weight
// rows as B.
#pragma once

#include "kernels/cuda/gemm_kernels.h"
#include "kernels/cuda/quant_types.h"

namespace prefixd::cuda {

// Rows of integers with their scales, of which a stage has 64, from `first` on.
struct QuantOperand {
  const std::byte* data;
  int first, rows, integer_bytes, row_bytes;

  // Copies what a stage has of the rows, kInts bytes of integers and kScales of scales each, to `shared`, in
  // rows of kRow bytes; what does not exist is 0. The block does it.
  template <int kInts, int kScales, int kRow>
  PREFIXD_DEVICE void Copy(int stage, std::byte* shared) const {
    constexpr int kChunks = (kInts + kScales) / 16;
    for (int i = device::ThreadIndex(); i < kGemmTile * kChunks; i += kGemmThreads) {
      const int row = i / kChunks, chunk = i % kChunks * 16;
      const bool scales = chunk >= kInts;
      const int at = scales ? integer_bytes + stage * kScales + chunk - kInts : stage * kInts + chunk;
      const bool valid = first + row < rows && at < (scales ? row_bytes : integer_bytes);
      device::CopyAsync16(shared + row * kRow + chunk, valid ? data + At(first + row, row_bytes) + at : data,
                          valid);
    }
  }
};

template <typename W>
class QuantTile {
 public:
  PREFIXD_DEVICE explicit QuantTile(const GemmParams& p)
      : p_(p),
        x_{static_cast<const std::byte*>(p.x), device::BlockY() * kGemmTile, p.rows, p.k,
           QuantXRowBytes(p.k)},
        w_{static_cast<const std::byte*>(p.w), device::BlockX() * kGemmTile, p.n, IntegerBytes(W::kBits, p.k),
           QuantRowBytes(W::kBits, p.k)} {}

  PREFIXD_DEVICE void Run() {
    const int stages = (p_.k + kQuantTileK - 1) / kQuantTileK;
    Copy(0);
    device::CommitCopies();
    for (int stage = 0; stage < stages; ++stage) {
      if (stage + 1 < stages) Copy(stage + 1);
      device::CommitCopies();
      device::WaitCopies<1>();
      device::SyncThreads();
      const int blocks = (p_.k - stage * kQuantTileK) / kQuantBlock;
      for (int block = 0; block < kBlocks && block < blocks; block += 2)
        AddPair(StageAt(stage), block, block + 1 < blocks);
      device::SyncThreads();  // the next copies overwrite this stage
    }
    const int row = x_.first + device::Warp() * 16 + device::Lane() / 4;
    for (int n = 0; n < kGemmTile / 8; ++n) {
      for (int i = 0; i < 4; ++i)
        GemmStore(p_, row + i / 2 * 8, w_.first + n * 8 + device::Lane() % 4 * 2 + i % 2, acc_[n][i]);
    }
  }

 private:
  static constexpr int kBlocks = kQuantTileK / kQuantBlock;
  static constexpr int kXRow = QuantTileXRowBytes(), kWRow = QuantTileRowBytes(W::kBits);
  static constexpr int kWInts = IntegerBytes(W::kBits, kQuantTileK);

  PREFIXD_DEVICE static std::byte* StageAt(int stage) {
    return device::SharedMemory() + stage % kGemmStages * kGemmTile * (kXRow + kWRow);
  }
  PREFIXD_DEVICE void Copy(int stage) const {
    x_.Copy<kQuantTileK, 4 * kBlocks, kXRow>(stage, StageAt(stage));
    w_.Copy<kWInts, 2 * kBlocks, kWRow>(stage, StageAt(stage) + kGemmTile * kXRow);
  }

  // B of the 16 weight rows from `rows` on, for two blocks, as [block][half of the rows].
  PREFIXD_DEVICE static void LoadWeights(const std::byte* rows, int block, uint32_t (&b)[2][2][2]) {
    const int matrix = device::Lane() / 8;
    const std::byte* const row = rows + (matrix / 2 * 8 + device::Lane() % 8) * kWRow;
    uint32_t words[4];
    if constexpr (W::kBits == 4) {
      device::LoadMatrix4(words, row + (block + matrix % 2) * 16);
      PREFIXD_UNROLL
      for (int i = 0; i < 4; ++i) {
        b[i % 2][i / 2][0] = W::Low(words[i]);
        b[i % 2][i / 2][1] = W::High(words[i]);
      }
    } else {
      PREFIXD_UNROLL
      for (int h = 0; h < 2; ++h) {
        device::LoadMatrix4(words, row + (block + h) * 32 + matrix % 2 * 16);
        for (int i = 0; i < 4; ++i) b[h][i / 2][i % 2] = words[i];
      }
    }
  }

  // Adds the products of a block of the stage, and of the next one if there are two.
  PREFIXD_DEVICE void AddPair(const std::byte* stage, int block, bool two) {
    const int lane = device::Lane(), matrix = lane / 8;
    const std::byte* const x = stage + device::Warp() * 16 * kXRow;
    uint32_t a[2][4];
    float of_x[2][2];
    PREFIXD_UNROLL
    for (int h = 0; h < 2; ++h) {
      device::LoadMatrix4(a[h], x + (matrix % 2 * 8 + lane % 8) * kXRow + (block + h) * 32 + matrix / 2 * 16);
      for (int i = 0; i < 2; ++i) {
        const std::byte* const scales = x + (lane / 4 + 8 * i) * kXRow + kQuantTileK;
        of_x[h][i] = device::LoadShared<float>(scales + (block + h) * 4);
      }
    }
    const std::byte* const w = stage + kGemmTile * kXRow;
    PREFIXD_UNROLL
    for (int n = 0; n < kGemmTile; n += 16) {
      uint32_t b[2][2][2];
      LoadWeights(w + n * kWRow, block, b);
      PREFIXD_UNROLL
      for (int half = 0; half < 2; ++half) {
        float of_w[2][2];
        for (int i = 0; i < 2; ++i) {
          const std::byte* const row = w + (n + half * 8 + lane % 4 * 2 + i) * kWRow;
          WidenScales(device::LoadShared<uint32_t>(row + kWInts + block * 2), &of_w[0][i], &of_w[1][i]);
        }
        AddBlock<W>(a[0], b[0][half], of_x[0], of_w[0], acc_[n / 8 + half]);
        if (two) AddBlock<W>(a[1], b[1][half], of_x[1], of_w[1], acc_[n / 8 + half]);
      }
    }
  }

  const GemmParams& p_;
  const QuantOperand x_, w_;
  float acc_[kGemmTile / 8][4] = {};
};

template <typename W>
PREFIXD_DEVICE void GemmQuantized(const GemmParams& p) {
  QuantTile<W>(p).Run();
}

}  // namespace prefixd::cuda
