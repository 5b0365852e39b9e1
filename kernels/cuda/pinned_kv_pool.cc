#include "kernels/cuda/pinned_kv_pool.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "kernels/check_arguments.h"

namespace prefixd::cuda {

PinnedKvPool::PinnedKvPool(const KvLayout& layout, uint32_t blocks, size_t piece_bytes, PinnedRanges* ranges)
    : KvPool(layout, blocks),
      blocks_of_piece_(static_cast<uint32_t>(
          std::clamp<size_t>(piece_bytes / layout.BlockBytes(), 1, std::max(blocks, 1u)))),
      ranges_(ranges) {}

PinnedKvPool::~PinnedKvPool() {
  for (const PinnedMemory& piece : pieces_) ranges_->Remove(piece.data());
}

Result<std::unique_ptr<KvPool>> PinnedKvPool::Create(CudaRuntime* runtime, PinnedRanges* ranges,
                                                     const KvLayout& layout, uint32_t blocks,
                                                     const MemoryProgress& progress, size_t piece_bytes) {
  CheckLayout(layout);
  std::unique_ptr<PinnedKvPool> pool(new PinnedKvPool(layout, blocks, piece_bytes, ranges));
  for (uint32_t done = 0; done < blocks;) {
    const uint32_t more = std::min(pool->blocks_of_piece_, blocks - done);
    Result<PinnedMemory> piece = PinnedMemory::Allocate(runtime, more * layout.BlockBytes());
    if (!piece.ok()) {
      if (piece.status().code() != Code::kResourceExhausted) return piece.status();
      return ResourceExhausted(piece.status().message() + ", after " +
                               FormatSize(done * layout.BlockBytes()) + " of " +
                               FormatSize(blocks * layout.BlockBytes()) + " for the host cache");
    }
    ranges->Add({piece->data(), piece->bytes()});
    pool->pieces_.push_back(*std::move(piece));
    done += more;
    if (progress) progress(static_cast<double>(done) / blocks);
  }
  return std::unique_ptr<KvPool>(std::move(pool));
}

std::byte* PinnedKvPool::Block(BlockId id) const {
  PREFIXD_CHECK(id < blocks_) << "block " << id << " of " << blocks_;
  return pieces_[id / blocks_of_piece_].data() + id % blocks_of_piece_ * layout_.BlockBytes();
}

}  // namespace prefixd::cuda
