// DeviceSpace: the memory of the emulated device. Its addresses lie in a range that the host cannot touch: a
// dereference there ends the process with a signal, as a kernel argument that is used on the host should. The
// emulation reaches the bytes through Bytes(), which checks that they lie in one allocation.
//
// Invariants
//   1. Allocations do not overlap, and at least 256 bytes that belong to none lie between two of them.
//   2. A new allocation of at most kFilledBytes is filled with 0xFF, which is a NaN in every float type. A
//      larger one reads as zeros, and takes memory only where it is written.
//   3. An address that was freed belongs to no allocation until it is allocated again.
//
// One for the process. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "base/mutex.h"

namespace prefixd::cuda_emulation {

class DeviceSpace {
 public:
  static constexpr size_t kFilledBytes = size_t{64} << 20;

  static DeviceSpace& Get();

  // Aligned to 256 bytes, or to `alignment`, a power of two. Null: there is no such range left.
  std::byte* Allocate(size_t bytes, size_t alignment = 256);
  void Free(std::byte* address);
  // The bytes [address, address + bytes) where the host can reach them; null when they do not lie in one
  // allocation.
  std::byte* Bytes(const void* address, size_t bytes) const;
  bool Contains(const void* address) const;
  // The whole allocation that has the address; no bytes: there is none.
  struct Range {
    const std::byte* begin = nullptr;
    size_t bytes = 0;
    std::byte* host = nullptr;  // where the host reaches `begin`
  };
  Range Find(const void* address) const;
  size_t allocations() const;

 private:
  DeviceSpace();
  static constexpr size_t kRange = size_t{1} << 40;

  std::byte* const device_;  // addresses that nobody may use
  std::byte* const host_;    // as many, with the bytes
  mutable Mutex mutex_;
  std::map<uintptr_t, size_t> allocations_ GUARDED_BY(mutex_);  // by offset
};

}  // namespace prefixd::cuda_emulation
