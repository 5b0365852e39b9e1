// Backend memory that is plain RAM, and how stored elements are read and written there: shared by all CPU
// backends. Values and factories; any thread.
#pragma once

#include <cstddef>
#include <memory>

#include "base/status.h"
#include "kernels/backend.h"

namespace prefixd {

// Zeroed RAM, 64-byte aligned; large pieces ask the kernel for huge pages. Pages are had on first touch.
class HostMemory {
 public:
  // kResourceExhausted, naming `bytes`, when there is no such memory.
  static Result<HostMemory> Allocate(size_t bytes);
  HostMemory() = default;

  std::byte* data() const { return data_; }

 private:
  struct Free {
    void operator()(void* p) const;
  };
  HostMemory(void* owned, std::byte* data) : owned_(owned), data_(data) {}
  std::unique_ptr<void, Free> owned_;
  std::byte* data_ = nullptr;  // the first aligned byte inside `owned_`
};

Result<std::unique_ptr<Buffer>> AllocateHostBuffer(size_t bytes);
Result<std::unique_ptr<KvPool>> AllocateHostKv(const KvLayout& layout, uint32_t blocks);
// Backend::Upload for host buffers.
void UploadToHost(Buffer& to, size_t offset, std::span<const std::byte> from);

// CHECKs what BatchView promises: spans cover the rows in order, block tables cover the positions.
void CheckBatch(const BatchView& batch);
// CHECKs what MatrixSource's caller promises, and returns the rows of the stack.
int CheckSources(std::span<const MatrixSource> sources);
// CHECKs what AttentionParams' caller promises.
void CheckAttention(const AttentionParams& params, const KvLayout& layout);

// Element i of an array of `dtype`, widened to f32; and the value stored there, rounded.
float LoadElement(const void* array, DType dtype, size_t i);
void StoreElement(void* array, DType dtype, size_t i, float value);

}  // namespace prefixd
