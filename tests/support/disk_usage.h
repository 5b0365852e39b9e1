// What `du` says of a folder, measured by walking it: the reference for the accounts of the disk cache.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <system_error>
#include <utility>

namespace prefixd::testing_support {

// Physical bytes of the distinct inodes at and below `path`. Files that vanish during the walk do not count.
inline uint64_t DiskUsage(const std::string& path) {
  namespace fs = std::filesystem;
  std::set<std::pair<dev_t, ino_t>> seen;
  uint64_t bytes = 0;
  const auto add = [&](const fs::path& file) {
    struct stat info {};
    if (::lstat(file.c_str(), &info) == 0 && seen.emplace(info.st_dev, info.st_ino).second)
      bytes += static_cast<uint64_t>(info.st_blocks) * 512;
  };
  add(path);
  std::error_code error;
  for (fs::recursive_directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error))
    add(entry->path());
  return bytes;
}

}  // namespace prefixd::testing_support
