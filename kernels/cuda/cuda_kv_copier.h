// CudaKvCopier: the KvCopier of pools in device memory. Copies go through pinned buffers, a block each, of
// which a call waits for a free one; so the host memory under way is bounded. Reads use the stream kSpill and
// writes kLoad, beside the steps.
//
// Invariants
//   1. A buffer is used by one call at a time, until its copy has ended.
//   2. Calls give work to a stream one at a time.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "kernels/cuda/cuda_memory.h"

namespace prefixd::cuda {

class CudaKvCopier final : public KvCopier {
 public:
  static Result<std::unique_ptr<KvCopier>> Create(CudaRuntime* runtime, size_t block_bytes);

  Status Read(const KvPool& pool, BlockId from, std::span<std::byte> to) override;
  Status Write(std::span<const std::byte> from, KvPool& pool, BlockId to) override;

 private:
  CudaKvCopier(CudaRuntime* runtime, size_t block_bytes) : runtime_(runtime), block_bytes_(block_bytes) {}
  std::byte* Take();
  void GiveBack(std::byte* buffer);
  // Gives the copy to the stream and waits for its end.
  template <typename Copy>
  Status Run(Stream stream, Mutex& mutex, const Copy& copy);

  CudaRuntime* const runtime_;
  const size_t block_bytes_;
  std::array<PinnedMemory, kMostBuffers> memory_;
  Mutex mutex_;
  CondVar given_back_;
  std::vector<std::byte*> free_ GUARDED_BY(mutex_);
  Mutex load_, spill_;  // of who gives work to the stream
};

}  // namespace prefixd::cuda
