// How much memory this process may still take: what the machine has free, and what the cgroups it lives in (v2 and v1)
// leave it. Reads files on every call; any thread.
#pragma once

#include <cstdint>
#include <filesystem>

namespace prefixd {

// Bytes; 0 when nothing can be read. `root` is "/" except in tests, which plant /proc and /sys below it.
uint64_t AvailableMemory(const std::filesystem::path& root = "/");

}  // namespace prefixd
