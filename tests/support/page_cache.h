// What the page cache has of a file, for tests of what is read when it is not there. Any thread.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace prefixd::testing_support {

// Brings a file into the page cache.
inline void ReadIntoPageCache(const std::filesystem::path& path) {
  std::string bytes(std::filesystem::file_size(path), 0);
  std::ifstream(path, std::ios::binary).read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// Returns the share of the pages of a file that are in the page cache, or 1 where the kernel does not say.
inline double CachedShare(const std::filesystem::path& path) {
  const size_t size = std::filesystem::file_size(path), page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void* const mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  ::close(fd);
  if (mapped == MAP_FAILED) return 1;
  std::vector<unsigned char> pages((size + page - 1) / page);
  const bool says = ::mincore(mapped, size, pages.data()) == 0;
  ::munmap(mapped, size);
  const auto cached = std::ranges::count_if(pages, [](unsigned char state) { return (state & 1) != 0; });
  return says ? static_cast<double>(cached) / static_cast<double>(pages.size()) : 1;
}

// Takes a file out of the page cache. Returns false where that does not work or cannot be seen: the kernel
// keeps pages that are mapped, a file system in memory has no other place for them, and some never use the
// page cache. On a busy machine the kernel may keep or lack a page for a moment, so it tries again.
inline bool DropFromPageCache(const std::filesystem::path& path) {
  for (int tries = 0; tries < 5; ++tries, ::usleep(20'000)) {
    ReadIntoPageCache(path);  // a page that is just being read stays
    if (CachedShare(path) < 1) continue;
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    (void)::fsync(fd);  // a page that is not on the disk stays
    (void)::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
    if (CachedShare(path) == 0) return true;
  }
  return false;
}

}  // namespace prefixd::testing_support
