// ByteLedger: the account of the physical bytes of a disk cache, and its law: the sum never exceeds the
// limit. Physical bytes are what `du` counts: the blocks of every distinct inode, directories included.
// Whoever changes a file below the directory tells the ledger: before it grows a file, and after it made one
// smaller. So the sum of the ledger is at least that of the disk at every moment. Any thread.
//
// Invariants
//   1. used() is the sum of the bytes of all distinct files and directories in the account.
//   2. used() <= limit() after every Grow that returned true. Only Measure and SetLimit can put used() above
//      the limit; then every Grow fails until enough was removed.
//   3. Two paths that Link has joined count once, and Remove of one of them frees nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "base/status.h"

namespace prefixd {

class ByteLedger {
 public:
  // The unit in which file systems give out space. One with larger units is measured when a file is closed.
  static constexpr uint64_t kUnit = 4096;

  explicit ByteLedger(uint64_t limit) : limit_(limit) {}

  // Takes every file and directory at and below `path` into the account, with the blocks that it has. Without
  // effect when there is no such path. Symbolic links are counted, not followed.
  Status Measure(const std::string& path);

  // Takes the file into the account with `size` bytes, rounded up to whole units, when this keeps the law. A
  // file never shrinks by it. Returns false, and changes nothing, when the sum would exceed the limit.
  [[nodiscard]] bool Grow(const std::string& path, uint64_t size);
  // Reads the blocks that a file or directory has now.
  void Remeasure(const std::string& path);
  void Link(const std::string& from, const std::string& to);
  void Rename(const std::string& from, const std::string& to);
  void Remove(const std::string& path);
  // Moves or removes every path at and below `from`.
  void RenameTree(const std::string& from, const std::string& to);
  void RemoveTree(const std::string& path);

  uint64_t used() const;
  uint64_t limit() const;
  // The largest used() so far.
  uint64_t peak() const;
  void SetLimit(uint64_t limit);
  // The bytes of the file, or of all files at and below a directory.
  uint64_t bytes_at(const std::string& path) const;
  bool Contains(const std::string& path) const;

  // Aborts when an invariant does not hold. O(files).
  void CheckInvariants() const;

 private:
  using File = std::shared_ptr<uint64_t>;  // the bytes of an inode
  void RemoveLocked(std::map<std::string, File>::iterator file) REQUIRES(mutex_);
  void SetLocked(const std::string& path, uint64_t bytes) REQUIRES(mutex_);
  // Calls `visit` for every path at and below `path`; it may erase the path it is given.
  void ForTreeLocked(const std::string& path,
                     const std::function<void(std::map<std::string, File>::iterator)>& visit)
      REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::map<std::string, File> files_ GUARDED_BY(mutex_);
  uint64_t used_ GUARDED_BY(mutex_) = 0;
  uint64_t peak_ GUARDED_BY(mutex_) = 0;
  uint64_t limit_ GUARDED_BY(mutex_);
};

}  // namespace prefixd
