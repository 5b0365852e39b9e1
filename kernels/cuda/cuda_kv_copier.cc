#include "kernels/cuda/cuda_kv_copier.h"

#include <utility>

#include "base/check.h"

namespace prefixd::cuda {

Result<std::unique_ptr<KvCopier>> CudaKvCopier::Create(CudaRuntime* runtime, size_t block_bytes,
                                                       PinnedRanges* pinned) {
  PREFIXD_ASSIGN_OR_RETURN(PinnedMemory buffers, PinnedMemory::Allocate(runtime, kMostBuffers * block_bytes));
  return std::unique_ptr<KvCopier>(new CudaKvCopier(runtime, block_bytes, std::move(buffers), pinned));
}

CudaKvCopier::CudaKvCopier(CudaRuntime* runtime, size_t block_bytes, PinnedMemory buffers,
                           PinnedRanges* pinned)
    : runtime_(runtime), block_bytes_(block_bytes), buffers_(std::move(buffers)), pinned_(pinned) {
  pinned_->Add({buffers_.data(), buffers_.bytes()});
}

CudaKvCopier::~CudaKvCopier() { pinned_->Remove(buffers_.data()); }

void CudaKvCopier::CheckHostSide(std::span<const std::byte> block) const {
  PREFIXD_CHECK(block.size() == block_bytes_ && pinned_->Has(block))
      << block.size() << " bytes, or memory that is not pinned";
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

Status CudaKvCopier::Read(const KvPool& pool, BlockId from, std::span<std::byte> to) {
  CheckHostSide(to);
  return Run(Stream::kSpill, spill_, pool,
             [&] { return runtime_->CopyToHost(Stream::kSpill, to.data(), pool.block(from), block_bytes_); });
}

Status CudaKvCopier::Write(std::span<const std::byte> from, KvPool& pool, BlockId to) {
  CheckHostSide(from);
  return Run(Stream::kLoad, load_, pool, [&] {
    return runtime_->CopyToDevice(Stream::kLoad, pool.block(to), from.data(), block_bytes_);
  });
}

}  // namespace prefixd::cuda
