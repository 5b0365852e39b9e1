#include "tests/support/cuda_emulation/device_space.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace prefixd::cuda_emulation {
namespace {

constexpr size_t kGap = 256;

std::byte* Reserve(size_t bytes, int protection) {
  void* const range = ::mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  PREFIXD_CHECK(range != MAP_FAILED) << bytes;
  return static_cast<std::byte*>(range);
}

}  // namespace

DeviceSpace& DeviceSpace::Get() {
  static DeviceSpace* const space = new DeviceSpace();  // until the process ends
  return *space;
}

DeviceSpace::DeviceSpace()
    : device_(Reserve(kRange, PROT_NONE)), host_(Reserve(kRange, PROT_READ | PROT_WRITE)) {}

std::byte* DeviceSpace::Allocate(size_t bytes, size_t alignment) {
  if (bytes == 0 || bytes > kRange / 2) return nullptr;
  MutexLock lock(mutex_);
  const auto aligned = [&](uintptr_t offset) { return (offset + alignment - 1) / alignment * alignment; };
  uintptr_t at = aligned(kGap);
  for (const auto& [offset, length] : allocations_) {
    if (at + bytes + kGap <= offset) break;
    at = aligned(offset + length + kGap);
  }
  if (at + bytes + kGap > kRange) return nullptr;
  allocations_[at] = bytes;
  if (bytes <= kFilledBytes) std::memset(host_ + at, 0xFF, bytes);
  return device_ + at;
}

void DeviceSpace::Free(std::byte* address) {
  MutexLock lock(mutex_);
  const auto it = allocations_.find(static_cast<uintptr_t>(address - device_));
  PREFIXD_CHECK(it != allocations_.end()) << "freed twice, or never allocated";
  // The pages go back, so that a large one costs nothing once it is gone.
  const uintptr_t begin = (it->first + 4095) / 4096 * 4096, end = (it->first + it->second) / 4096 * 4096;
  if (begin < end) (void)::madvise(host_ + begin, end - begin, MADV_DONTNEED);
  allocations_.erase(it);
}

DeviceSpace::Range DeviceSpace::Find(const void* address) const {
  const auto* const at = static_cast<const std::byte*>(address);
  if (at < device_ || at >= device_ + kRange) return {};
  const auto offset = static_cast<uintptr_t>(at - device_);
  MutexLock lock(mutex_);
  auto it = allocations_.upper_bound(offset);
  if (it == allocations_.begin()) return {};
  --it;
  if (offset >= it->first + it->second) return {};
  return {device_ + it->first, it->second, host_ + it->first};
}

std::byte* DeviceSpace::Bytes(const void* address, size_t bytes) const {
  const Range range = Find(address);
  if (range.bytes == 0) return nullptr;
  const auto offset = static_cast<size_t>(static_cast<const std::byte*>(address) - range.begin);
  return offset + bytes <= range.bytes ? range.host + offset : nullptr;
}

bool DeviceSpace::Contains(const void* address) const { return Bytes(address, 1) != nullptr; }

size_t DeviceSpace::allocations() const {
  MutexLock lock(mutex_);
  return allocations_.size();
}

}  // namespace prefixd::cuda_emulation
