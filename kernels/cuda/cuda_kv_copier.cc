#include "kernels/cuda/cuda_kv_copier.h"

#include <cstring>
#include <utility>

#include "base/check.h"

namespace prefixd::cuda {

Result<std::unique_ptr<KvCopier>> CudaKvCopier::Create(CudaRuntime* runtime, size_t block_bytes,
                                                       const PinnedRanges* pinned) {
  std::unique_ptr<CudaKvCopier> copier(new CudaKvCopier(runtime, block_bytes, pinned));
  MutexLock lock(copier->mutex_);
  for (PinnedMemory& memory : copier->memory_) {
    PREFIXD_ASSIGN_OR_RETURN(memory, PinnedMemory::Allocate(runtime, block_bytes));
    copier->free_.push_back(memory.data());
  }
  return std::unique_ptr<KvCopier>(std::move(copier));
}

std::byte* CudaKvCopier::Take() {
  MutexLock lock(mutex_);
  while (free_.empty()) given_back_.Wait(mutex_);
  std::byte* const buffer = free_.back();
  free_.pop_back();
  return buffer;
}

void CudaKvCopier::GiveBack(std::byte* buffer) {
  {
    MutexLock lock(mutex_);
    free_.push_back(buffer);
  }
  given_back_.NotifyOne();
}

template <typename Copy>
Status CudaKvCopier::Run(Stream stream, Mutex& mutex, const KvPool& pool, const Copy& copy) {
  Event event;
  {
    MutexLock lock(mutex);
    PREFIXD_RETURN_IF_ERROR(runtime_->WaitFor(stream, static_cast<const CudaKvPool&>(pool).last_copy()));
    PREFIXD_RETURN_IF_ERROR(copy());
    PREFIXD_ASSIGN_OR_RETURN(event, runtime_->Record(stream));
  }
  return runtime_->Synchronize(event);
}

Status CudaKvCopier::CopyOut(const KvPool& pool, BlockId from, std::byte* pinned) {
  return Run(Stream::kSpill, spill_, pool,
             [&] { return runtime_->CopyToHost(Stream::kSpill, pinned, pool.block(from), block_bytes_); });
}

Status CudaKvCopier::CopyIn(const std::byte* pinned, KvPool& pool, BlockId to) {
  return Run(Stream::kLoad, load_, pool,
             [&] { return runtime_->CopyToDevice(Stream::kLoad, pool.block(to), pinned, block_bytes_); });
}

Status CudaKvCopier::Read(const KvPool& pool, BlockId from, std::span<std::byte> to) {
  PREFIXD_CHECK(to.size() == block_bytes_) << to.size();
  if (pinned_->Has(to)) return CopyOut(pool, from, to.data());
  std::byte* const buffer = Take();
  const Status status = CopyOut(pool, from, buffer);
  if (status.ok()) std::memcpy(to.data(), buffer, to.size());
  GiveBack(buffer);
  return status;
}

Status CudaKvCopier::Write(std::span<const std::byte> from, KvPool& pool, BlockId to) {
  PREFIXD_CHECK(from.size() == block_bytes_) << from.size();
  if (pinned_->Has(from)) return CopyIn(from.data(), pool, to);
  std::byte* const buffer = Take();
  std::memcpy(buffer, from.data(), from.size());
  const Status status = CopyIn(buffer, pool, to);
  GiveBack(buffer);
  return status;
}

}  // namespace prefixd::cuda
