#include "kernels/host_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "base/check.h"
#include "kernels/check_arguments.h"
#include "kernels/kv_staging.h"
#include "kernels/numerics.h"

namespace prefixd {
namespace {

// It finds accesses past the end of what is allocated apart. GCC and clang say differently that it is on.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kAddressSanitizer = true;
#elif defined(__has_feature)
constexpr bool kAddressSanitizer = __has_feature(address_sanitizer);
#else
constexpr bool kAddressSanitizer = false;
#endif

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;

class HostBuffer final : public Buffer {
 public:
  HostBuffer(HostMemory memory, size_t bytes) : Buffer(memory.data(), bytes), memory_(std::move(memory)) {}

 private:
  HostMemory memory_;
};

class HostKvPool final : public KvPool {
 public:
  HostKvPool(const KvLayout& layout, uint32_t blocks, KvOrder order, HostMemory memory)
      : KvPool(layout, blocks, order), memory_(std::move(memory)) {
    base_ = memory_.data();
  }

 private:
  HostMemory memory_;
};

class HostKvCopier final : public KvCopier {
 public:
  HostKvCopier(size_t block_bytes, HostMemory buffers)
      : block_bytes_(block_bytes), buffers_(std::move(buffers)) {}

  std::shared_ptr<std::byte> Stage() override { return staging_.Lend(); }
  Status Read(const KvPool& pool, BlockId from, std::span<std::byte> to) override {
    CheckSizes(pool, to.size());
    const size_t bytes = pool.layout().LayerBytes();
    for (int layer = 0; layer < pool.layout().layers; ++layer)
      std::memcpy(to.data() + layer * bytes, pool.layer(from, layer), bytes);
    return Status::Ok();
  }
  Status Write(std::span<const std::byte> from, KvPool& pool, BlockId to) override {
    CheckSizes(pool, from.size());
    const size_t bytes = pool.layout().LayerBytes();
    for (int layer = 0; layer < pool.layout().layers; ++layer)
      std::memcpy(pool.layer(to, layer), from.data() + layer * bytes, bytes);
    return Status::Ok();
  }

 private:
  void CheckSizes(const KvPool& pool, size_t bytes) const {
    PREFIXD_CHECK(bytes == block_bytes_ && pool.layout().BlockBytes() == block_bytes_)
        << bytes << " bytes of a block of " << pool.layout().BlockBytes() << ", not " << block_bytes_;
  }
  const size_t block_bytes_;
  const HostMemory buffers_;
  KvStaging staging_{buffers_.data(), kMostBuffers, block_bytes_};
};

}  // namespace

Result<HostMemory> HostMemory::Allocate(size_t bytes) {
  const size_t alignment = bytes >= 2 * kHugePage ? kHugePage : kAlignment;
  size_t with_slack = 0;
  // calloc does not write to pages that come fresh from the operating system: they are zero already.
  void* owned = __builtin_add_overflow(bytes, alignment, &with_slack) ? nullptr : std::calloc(with_slack, 1);
  if (owned == nullptr) return ResourceExhausted("no memory for " + std::to_string(bytes) + " bytes");
  const auto address = reinterpret_cast<uintptr_t>(owned);
  auto* data = static_cast<std::byte*>(owned) + ((alignment - address % alignment) % alignment);
  if (alignment == kHugePage)
    madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);  // only advice: a failure is ignored
  return HostMemory(std::shared_ptr<void>(owned, std::free), data);
}

Result<HostMemory> HostArena::Allocate(size_t bytes) {
  if (bytes <= kLargest && !kAddressSanitizer) {
    if (bytes > kChunkBytes - used_) {
      PREFIXD_ASSIGN_OR_RETURN(chunk_, HostMemory::Allocate(kChunkBytes));
      used_ = 0;
    }
    HostMemory part(chunk_.owned_, chunk_.data_ + used_);
    used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return part;
  }
  return HostMemory::Allocate(bytes);
}

Result<std::unique_ptr<Buffer>> AllocateHostBuffer(size_t bytes) {
  PREFIXD_ASSIGN_OR_RETURN(HostMemory memory, HostMemory::Allocate(bytes));
  return std::unique_ptr<Buffer>(new HostBuffer(std::move(memory), bytes));
}

Result<std::unique_ptr<KvPool>> AllocateHostKv(const KvLayout& layout, uint32_t blocks, KvOrder order) {
  CheckLayout(layout);
  size_t bytes = 0;
  if (__builtin_mul_overflow(layout.BlockBytes(), size_t{blocks}, &bytes)) {
    return ResourceExhausted("no memory for " + std::to_string(blocks) + " KV blocks of " +
                             std::to_string(layout.BlockBytes()) + " bytes");
  }
  PREFIXD_ASSIGN_OR_RETURN(HostMemory memory, HostMemory::Allocate(bytes));
  return std::unique_ptr<KvPool>(new HostKvPool(layout, blocks, order, std::move(memory)));
}

Result<std::unique_ptr<KvCopier>> CreateHostKvCopier(const KvLayout& layout) {
  CheckLayout(layout);
  const size_t block_bytes = layout.BlockBytes();
  PREFIXD_ASSIGN_OR_RETURN(HostMemory buffers, HostMemory::Allocate(KvCopier::kMostBuffers * block_bytes));
  return std::unique_ptr<KvCopier>(new HostKvCopier(block_bytes, std::move(buffers)));
}

void UploadToHost(Buffer& to, size_t offset, std::span<const std::byte> from) {
  PREFIXD_CHECK(offset <= to.bytes() && from.size() <= to.bytes() - offset)
      << "upload of " << from.size() << " bytes at " << offset << " into " << to.bytes();
  if (!from.empty()) std::memcpy(static_cast<std::byte*>(to.data()) + offset, from.data(), from.size());
}

void CopyHostBlock(KvPool& pool, BlockId from, BlockId to) {
  CheckCopy(pool, from, to);
  for (int layer = 0; layer < pool.layout().layers; ++layer)
    std::memmove(pool.layer(to, layer), pool.layer(from, layer), pool.layout().LayerBytes());
}

float LoadElement(const void* array, DType dtype, size_t i) {
  const size_t width = DTypeBytes(dtype);
  const std::byte* at = static_cast<const std::byte*>(array) + i * width;
  if (dtype == DType::kF32) {
    float value;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  uint16_t half;
  std::memcpy(&half, at, sizeof(half));
  return dtype == DType::kF16 ? numerics::F32FromF16(half) : numerics::F32FromBF16(half);
}

void StoreElement(void* array, DType dtype, size_t i, float value) {
  std::byte* at = static_cast<std::byte*>(array) + i * DTypeBytes(dtype);
  if (dtype == DType::kF32) {
    std::memcpy(at, &value, sizeof(value));
    return;
  }
  const uint16_t half = dtype == DType::kF16 ? numerics::F32ToF16(value) : numerics::F32ToBF16(value);
  std::memcpy(at, &half, sizeof(half));
}

}  // namespace prefixd
