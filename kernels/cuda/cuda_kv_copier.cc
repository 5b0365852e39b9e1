#include "kernels/cuda/cuda_kv_copier.h"

#include <cstring>
#include <utility>

#include "base/check.h"

namespace prefixd::cuda {

Result<std::unique_ptr<KvCopier>> CudaKvCopier::Create(CudaRuntime* runtime, size_t block_bytes) {
  std::unique_ptr<CudaKvCopier> copier(new CudaKvCopier(runtime, block_bytes));
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
Status CudaKvCopier::Run(Stream stream, Mutex& mutex, const Copy& copy) {
  Event event;
  {
    MutexLock lock(mutex);
    PREFIXD_RETURN_IF_ERROR(copy());
    PREFIXD_ASSIGN_OR_RETURN(event, runtime_->Record(stream));
  }
  return runtime_->Synchronize(event);
}

Status CudaKvCopier::Read(const KvPool& pool, BlockId from, std::span<std::byte> to) {
  PREFIXD_CHECK(to.size() == block_bytes_) << to.size();
  std::byte* const buffer = Take();
  const Status status = Run(Stream::kSpill, spill_, [&] {
    return runtime_->CopyToHost(Stream::kSpill, buffer, pool.block(from), to.size());
  });
  if (status.ok()) std::memcpy(to.data(), buffer, to.size());
  GiveBack(buffer);
  return status;
}

Status CudaKvCopier::Write(std::span<const std::byte> from, KvPool& pool, BlockId to) {
  PREFIXD_CHECK(from.size() == block_bytes_) << from.size();
  std::byte* const buffer = Take();
  std::memcpy(buffer, from.data(), from.size());
  const Status status = Run(Stream::kLoad, load_, [&] {
    return runtime_->CopyToDevice(Stream::kLoad, pool.block(to), buffer, from.size());
  });
  GiveBack(buffer);
  return status;
}

}  // namespace prefixd::cuda
