// Backend memory in plain RAM, and access to the stored elements in it. All CPU backends share this code.
// Values, factories and pure functions; any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "base/status.h"
#include "kernels/backend_memory.h"

namespace prefixd {

// Owns zeroed RAM, 64-byte aligned. Large allocations ask the operating system for huge pages. A page is not
// backed by RAM before its first use.
class HostMemory {
 public:
  // Returns kResourceExhausted, with a message that gives `bytes`, when the memory is not available.
  static Result<HostMemory> Allocate(size_t bytes);
  HostMemory() = default;

  std::byte* data() const { return data_; }

 private:
  friend class HostArena;
  HostMemory(std::shared_ptr<void> owned, std::byte* data) : owned_(std::move(owned)), data_(data) {}
  std::shared_ptr<void> owned_;
  std::byte* data_ = nullptr;  // the first aligned byte inside `owned_`
};

// HostArena: hands out parts of large allocations, so that what is too small for a huge page of its own
// shares one with others: the matrices of a small model are, and a step reads them all. One owner; what it
// hands out may outlive it.
class HostArena {
 public:
  // As HostMemory::Allocate, but the bytes of a message may be those of a chunk. The RAM of a chunk is free
  // when all that was handed out of it is, and the arena has gone on to another or is gone.
  Result<HostMemory> Allocate(size_t bytes);

 private:
  static constexpr size_t kChunkBytes = size_t{64} << 20;
  static constexpr size_t kLargest = kChunkBytes / 8;  // what is larger has an allocation of its own
  HostMemory chunk_;
  size_t used_ = kChunkBytes;  // of chunk_
};

// Implement Backend::Allocate, AllocateKv, AllocateHostKv, CreateKvCopier, Upload and CopyBlock for host
// memory. The copier is for pools of any order, and takes any memory of the host.
Result<std::unique_ptr<Buffer>> AllocateHostBuffer(size_t bytes);
Result<std::unique_ptr<KvPool>> AllocateHostKv(const KvLayout& layout, uint32_t blocks, KvOrder order);
Result<std::unique_ptr<KvCopier>> CreateHostKvCopier(const KvLayout& layout);
void UploadToHost(Buffer& to, size_t offset, std::span<const std::byte> from);
void CopyHostBlock(KvPool& pool, BlockId from, BlockId to);

// Reads element i of an array of `dtype`, widened to f32. The array may have any alignment.
float LoadElement(const void* array, DType dtype, size_t i);
// Rounds `value` to `dtype` and stores it as element i.
void StoreElement(void* array, DType dtype, size_t i, float value);

}  // namespace prefixd
