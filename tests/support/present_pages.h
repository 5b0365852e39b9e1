// How much of a mapping is in memory, for tests of what is mapped and dropped. Any thread.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <span>
#include <vector>

namespace prefixd::testing_support {

// Returns how many pages of `bytes` are in the memory of this process.
inline size_t PresentPages(std::span<const std::byte> bytes) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t first = begin / page, last = (begin + bytes.size() - 1) / page;
  std::vector<uint64_t> entries(last - first + 1);  // bit 63 of an entry: the page is there
  std::ifstream map;
  map.rdbuf()->pubsetbuf(nullptr, 0);  // the kernel refuses reads of parts of entries
  map.open("/proc/self/pagemap", std::ios::binary);
  map.seekg(static_cast<std::streamoff>(first * sizeof(uint64_t)));
  map.read(reinterpret_cast<char*>(entries.data()),
           static_cast<std::streamsize>(entries.size() * sizeof(uint64_t)));
  size_t present = 0;
  for (const uint64_t entry : entries) present += entry >> 63;
  return present;
}

}  // namespace prefixd::testing_support
