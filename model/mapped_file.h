// A file mapped read-only into memory, and a function that reads a small file whole. Any thread. The bytes
// live as long as the MappedFile, and are best read in their order. If another process truncates a mapped
// file, a reader gets SIGBUS; see model/truncation_guard.h. CheckUnchanged finds other changes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

#include "base/status.h"

struct stat;

namespace prefixd {

class MappedFile {
 public:
  // Maps the file at `path`. kNotFound or kIo; kCorrupt for a git-lfs pointer, which stands for a file that
  // was not fetched. The message names the path.
  static Result<MappedFile> Open(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile();

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  // kCorrupt when the file at the path is another one now, or has another size or time of modification.
  Status CheckUnchanged() const;
  // Whether a descriptor is of this file, which has not changed meanwhile.
  bool IsOpenAt(int descriptor) const;
  // Returns the offset of a part of bytes(), which has it.
  size_t OffsetOf(std::span<const std::byte> part) const;
  // Whether the page cache has the page at an offset, as far as the kernel tells this user: the owner, or who
  // may write to the file. True for others, and where the kernel does not answer.
  bool IsResident(size_t offset) const;
  // Waits until the pages of a part of bytes() are in memory, so that reading them takes no time. It does
  // nothing for a part that the file no longer has.
  void ReadPages(std::span<const std::byte> part) const;
  // Takes the pages that lie wholly in a part of bytes() out of the memory of this process, so that a large
  // file that is read once never counts as a whole. A later read gets them again, from the page cache or the
  // file. Those at the ends stay, because another part may be in use.
  void DropPages(std::span<const std::byte> part) const;

 private:
  // What tells one state of a file from another.
  struct Version {
    uint64_t device = 0, inode = 0;
    int64_t bytes = 0, seconds = 0, nanoseconds = 0;  // size; time of modification
    friend bool operator==(const Version&, const Version&) = default;
  };
  static Version VersionOf(const struct stat& info);
  MappedFile(std::filesystem::path path, Version version, std::span<const std::byte> bytes)
      : path_(std::move(path)), version_(version), bytes_(bytes) {}

  std::filesystem::path path_;
  Version version_;  // when it was opened
  std::span<const std::byte> bytes_;
};

// Returns the bytes of a file. The errors of MappedFile::Open, or kInvalidArgument for a file over `limit`
// bytes; the message names the path.
Result<std::string> ReadSmallFile(const std::filesystem::path& path, size_t limit);

}  // namespace prefixd
