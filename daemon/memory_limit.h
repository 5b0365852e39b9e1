// How much memory this process may take: what the machine has, and what the cgroups it lives in (v2 and v1) leave it. Reads
// files on every call; any thread.
#pragma once

#include <cstdint>
#include <filesystem>

namespace prefixd {

// Bytes; 0 what cannot be read.
struct MemoryState {
  uint64_t available = 0;  // may still be taken now
  uint64_t total = 0;      // of the machine, or the tightest limit of a group: never more than this
};

// `root` is "/" except in tests, which plant /proc and /sys below it.
MemoryState ReadMemoryState(const std::filesystem::path& root = "/");

}  // namespace prefixd
