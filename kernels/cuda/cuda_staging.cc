#include "kernels/cuda/cuda_staging.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace prefixd::cuda {
namespace {

constexpr size_t kPiece = kStagingBytes / kStagingPieces;

}  // namespace

Result<std::unique_ptr<CudaStaging>> CudaStaging::Create(CudaRuntime* runtime) {
  PREFIXD_ASSIGN_OR_RETURN(PinnedMemory memory, PinnedMemory::Allocate(runtime, kStagingBytes));
  return std::unique_ptr<CudaStaging>(new CudaStaging(runtime, std::move(memory)));
}

CudaStaging::CudaStaging(CudaRuntime* runtime, PinnedMemory memory)
    : runtime_(runtime), memory_(std::move(memory)) {
  for (size_t i = 0; i < kStagingPieces; ++i) pieces_.push_back({memory_.data() + i * kPiece, {}});
}

CudaStaging::Piece CudaStaging::Take() {
  MutexLock lock(mutex_);
  while (pieces_.empty()) given_back_.Wait(mutex_);
  const Piece piece = pieces_.front();
  pieces_.pop_front();
  return piece;
}

// Under the lock, so that calls for the stream come one at a time, and pieces lie in the order of their
// copies.
Result<Event> CudaStaging::Copy(Piece piece, std::byte* to, size_t bytes) {
  MutexLock lock(mutex_);
  Status copied = runtime_->CopyToDevice(Stream::kCompute, to, piece.at, bytes);
  if (copied.ok()) {
    const Result<Event> event = runtime_->Record(Stream::kCompute);
    copied = event.status();
    if (event.ok()) piece.copied = *event;
  }
  pieces_.push_back(piece);
  given_back_.NotifyOne();
  PREFIXD_RETURN_IF_ERROR(copied);
  return piece.copied;
}

Status CudaStaging::CopyIn(std::byte* to, std::span<const std::byte> from) {
  Event last;  // copies of a stream end in their order
  while (!from.empty()) {
    const size_t bytes = std::min(from.size(), kPiece);
    const Piece piece = Take();
    // A device that is lost reads the piece no more: the next call returns the same error.
    if (runtime_->Synchronize(piece.copied).ok()) std::memcpy(piece.at, from.data(), bytes);
    PREFIXD_ASSIGN_OR_RETURN(last, Copy(piece, to, bytes));
    to += bytes;
    from = from.subspan(bytes);
  }
  return runtime_->Synchronize(last);
}

}  // namespace prefixd::cuda
