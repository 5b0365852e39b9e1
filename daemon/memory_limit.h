// The memory that this process may use: the machine's, limited by the process's cgroups (v2 and v1).
//
// Threads: any. Every call reads files.
#pragma once

#include <cstdint>
#include <filesystem>

namespace prefixd {

// In bytes; 0 for a value that cannot be read.
struct MemoryState {
  uint64_t available = 0;  // can be allocated now
  uint64_t total = 0;      // of the machine, or the lowest limit of its cgroups
};

// Without /proc, as in an empty chroot, the memory that the machine has free. `root` is "/"; tests create
// /proc and /sys below another folder.
MemoryState ReadMemoryState(const std::filesystem::path& root = "/");

// The largest resident memory that this process has had, in bytes; 0 if it cannot be read.
uint64_t PeakResidentBytes(const std::filesystem::path& root = "/");

}  // namespace prefixd
