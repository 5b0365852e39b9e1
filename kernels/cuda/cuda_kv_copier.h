// CudaKvCopier: the KvCopier of pools in device memory. The host's side of a copy is pinned: a block of a
// pool of AllocateHostKv, or one of the buffers that it lends, whose number bounds the memory under way.
// Reads use the stream kSpill and writes kLoad, beside the steps.
//
// Invariants
//   1. Calls give work to a stream one at a time.
//   2. A copy begins after the last CopyBlock of its pool, at the time of the call, has ended.
#pragma once

#include <memory>

#include "base/mutex.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/kv_staging.h"

namespace prefixd::cuda {

class CudaKvCopier final : public KvCopier {
 public:
  // `pinned` has the memory of the pools of AllocateHostKv, gets that of the buffers, and outlives the
  // result.
  static Result<std::unique_ptr<KvCopier>> Create(CudaRuntime* runtime, size_t block_bytes,
                                                  PinnedRanges* pinned);
  ~CudaKvCopier() override;

  std::shared_ptr<std::byte> Stage() override { return staging_.Lend(); }
  Status Read(const KvPool& pool, BlockId from, std::span<std::byte> to) override;
  Status Write(std::span<const std::byte> from, KvPool& pool, BlockId to) override;

 private:
  CudaKvCopier(CudaRuntime* runtime, size_t block_bytes, PinnedMemory buffers, PinnedRanges* pinned);
  void CheckHostSide(std::span<const std::byte> block) const;
  // Gives a copy of a block to the stream, and waits for its end.
  template <typename Copy>
  Status Run(Stream stream, Mutex& mutex, const KvPool& pool, const Copy& copy);

  CudaRuntime* const runtime_;
  const size_t block_bytes_;
  const PinnedMemory buffers_;
  PinnedRanges* const pinned_;
  KvStaging staging_{buffers_.data(), kMostBuffers, block_bytes_};
  Mutex load_, spill_;  // of who gives work to the stream
};

}  // namespace prefixd::cuda
