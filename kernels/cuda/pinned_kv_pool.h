// PinnedKvPool: the blocks of the host tier, in memory that copies use without a detour. It is pinned in
// pieces: the system takes long for many GiB, and a start says meanwhile how far it is.
//
// Threads: as KvPool; one creates it.
//
// Invariants
//   1. A block lies in one piece, so a copy of it does, too.
//   2. While it lives, `ranges` has its pieces.
#pragma once

#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/cuda_memory.h"

namespace prefixd::cuda {

class PinnedKvPool final : public KvPool {
 public:
  static constexpr size_t kPieceBytes = size_t{1} << 30;  // some tenths of a second

  // Pieces have as many blocks as fit into `piece_bytes`, and at least one. `progress` as in
  // Backend::AllocateHostKv. `runtime` and `ranges` outlive the result, whose blocks are not initialised.
  static Result<std::unique_ptr<KvPool>> Create(CudaRuntime* runtime, PinnedRanges* ranges,
                                                const KvLayout& layout, uint32_t blocks,
                                                const MemoryProgress& progress,
                                                size_t piece_bytes = kPieceBytes);
  ~PinnedKvPool() override;

 private:
  std::byte* Block(BlockId id) const override;
  PinnedKvPool(const KvLayout& layout, uint32_t blocks, size_t piece_bytes, PinnedRanges* ranges);

  const uint32_t blocks_of_piece_;
  PinnedRanges* const ranges_;
  std::vector<PinnedMemory> pieces_;
};

}  // namespace prefixd::cuda
