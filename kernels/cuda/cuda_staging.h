// CudaStaging: copies memory of the host to the device through pinned memory, in pieces. One is filled while
// others are copied, by one thread as by several. Any thread.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <span>

#include "base/mutex.h"
#include "kernels/cuda/cuda_memory.h"

namespace prefixd::cuda {

inline constexpr size_t kStagingPieces = 4;

class CudaStaging {
 public:
  // Has kStagingBytes of pinned memory.
  static Result<std::unique_ptr<CudaStaging>> Create(CudaRuntime* runtime);

  // Copies in Stream::kCompute, which nothing else uses at the time. Has ended on return. After an error the
  // device is lost.
  Status CopyIn(std::byte* to, std::span<const std::byte> from);

 private:
  struct Piece {
    std::byte* at;
    Event copied;  // the last copy from it
  };
  CudaStaging(CudaRuntime* runtime, PinnedMemory memory);
  // The piece whose last copy is the oldest; waits for one that no thread fills.
  Piece Take();
  // Gives `piece` back with the copy of its first `bytes` under way.
  Result<Event> Copy(Piece piece, std::byte* to, size_t bytes);

  CudaRuntime* const runtime_;
  const PinnedMemory memory_;
  Mutex mutex_;
  CondVar given_back_;
  std::deque<Piece> pieces_ GUARDED_BY(mutex_);  // that no thread fills, the oldest copy first
};

}  // namespace prefixd::cuda
