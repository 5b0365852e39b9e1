// A file mapped read-only into memory, and small files read whole. Any thread; the bytes live as long as the
// MappedFile. Another process that truncates a mapped file kills the reader (SIGBUS): model folders are not
// changed under a daemon.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "base/status.h"

namespace prefixd {

class MappedFile {
 public:
  // kNotFound or kIo, naming the path.
  static Result<MappedFile> Open(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

// kNotFound, kIo, or kInvalidArgument for a file over `limit` bytes; all name the path.
Result<std::string> ReadSmallFile(const std::filesystem::path& path, size_t limit);

}  // namespace prefixd
