// CudaKvCopier: the KvCopier of pools in device memory. A block of a pool of AllocateHostKv is pinned, and is
// copied at once. Others go through pinned buffers, a block each, of which a call waits for a free one; so
// the host memory under way is bounded. Reads use the stream kSpill and writes kLoad, beside the steps.
//
// Invariants
//   1. A buffer is used by one call at a time, until its copy has ended.
//   2. Calls give work to a stream one at a time.
//   3. A copy begins after the last CopyBlock of its pool, at the time of the call, has ended.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "kernels/cuda/cuda_memory.h"

namespace prefixd::cuda {

class CudaKvCopier final : public KvCopier {
 public:
  // `pinned` has the memory of the pools of AllocateHostKv, and outlives the result.
  static Result<std::unique_ptr<KvCopier>> Create(CudaRuntime* runtime, size_t block_bytes,
                                                  const PinnedRanges* pinned);

  Status Read(const KvPool& pool, BlockId from, std::span<std::byte> to) override;
  Status Write(std::span<const std::byte> from, KvPool& pool, BlockId to) override;

 private:
  CudaKvCopier(CudaRuntime* runtime, size_t block_bytes, const PinnedRanges* pinned)
      : runtime_(runtime), block_bytes_(block_bytes), pinned_(pinned) {}
  std::byte* Take();
  void GiveBack(std::byte* buffer);
  // Give a copy of a block from or to pinned memory to the stream, and wait for its end.
  Status CopyOut(const KvPool& pool, BlockId from, std::byte* pinned);
  Status CopyIn(const std::byte* pinned, KvPool& pool, BlockId to);
  template <typename Copy>
  Status Run(Stream stream, Mutex& mutex, const KvPool& pool, const Copy& copy);

  CudaRuntime* const runtime_;
  const size_t block_bytes_;
  const PinnedRanges* const pinned_;
  std::array<PinnedMemory, kMostBuffers> memory_;
  Mutex mutex_;
  CondVar given_back_;
  std::vector<std::byte*> free_ GUARDED_BY(mutex_);
  Mutex load_, spill_;  // of who gives work to the stream
};

}  // namespace prefixd::cuda
