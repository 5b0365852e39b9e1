// DirectFile: reads parts of a mapped file past the page cache (O_DIRECT). A cold start reads weights this
// way: pages of the page cache would cost it new memory, as much as the weights themselves take, and a copy.
// Any thread; several may read at a time, and should, because a disk is fast only when it has several
// requests.
//
// Invariant: what Read returns are the bytes that the mapping has at the same place, also where another
// process has written to the file; or nothing.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "model/mapped_file.h"

namespace prefixd {

// Memory for a read, aligned as the disk needs it.
class DirectBuffer {
 public:
  // For parts of up to `bytes` bytes.
  explicit DirectBuffer(size_t bytes);
  size_t part_bytes() const { return part_bytes_; }

 private:
  friend class DirectFile;
  struct Free {
    void operator()(std::byte* memory) const;
  };
  size_t part_bytes_;
  std::unique_ptr<std::byte, Free> memory_;
};

class DirectFile {
 public:
  // Returns nothing where the file system has no O_DIRECT, or the path leads to another file by now.
  static std::optional<DirectFile> Open(const MappedFile& file);
  DirectFile(DirectFile&& other) noexcept;
  DirectFile& operator=(DirectFile&&) = delete;
  ~DirectFile();

  // Whether the page cache has more than half of kLooks pages, and so most likely of the file, which is the
  // one given to Open. True where the kernel does not say.
  static constexpr size_t kLooks = 64;
  bool IsCached(const MappedFile& file) const;
  // Reads a part into `buffer`, which has room for it. Returns its bytes, which lie in the buffer, or nothing
  // when the read failed or the file ends before.
  std::span<const std::byte> Read(size_t offset, size_t bytes, DirectBuffer& buffer) const;

 private:
  DirectFile(int direct, int cached) : direct_(direct), cached_(cached) {}
  bool HasAtOnce(size_t offset) const;

  int direct_, cached_;  // descriptors with O_DIRECT and without
};

}  // namespace prefixd
