// A file mapped read-only into memory, and a function that reads a small file whole. Any thread. The bytes
// live as long as the MappedFile. If another process truncates a mapped file, the reader dies of SIGBUS, so
// model folders must not change while a daemon uses them.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "base/status.h"

namespace prefixd {

class MappedFile {
 public:
  // Maps the file at `path`. kNotFound or kIo; kCorrupt for a git-lfs pointer, which stands for a file that
  // was not fetched. The message names the path.
  static Result<MappedFile> Open(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  // Takes the pages of a part of bytes() out of the memory of this process, so that a large file that is read
  // once never counts as a whole. A later read gets them again, from the page cache or the file.
  void DropPages(std::span<const std::byte> part) const;

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

// Returns the bytes of a file. The errors of MappedFile::Open, or kInvalidArgument for a file over `limit`
// bytes; the message names the path.
Result<std::string> ReadSmallFile(const std::filesystem::path& path, size_t limit);

}  // namespace prefixd
