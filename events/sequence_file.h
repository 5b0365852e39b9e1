// SequenceFile: numbers that never fall, also over restarts and kill -9. Some subscribers ignore numbers
// below the last one that they saw. The file has a number from which on none was given out. It is written
// ahead, once for kReserved numbers, so a process that was killed leaves a gap of at most that many.
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace prefixd {

class SequenceFile {
 public:
  static constexpr uint64_t kReserved = 1000;

  // Without a path the numbers begin at 0. A file that is absent is created. kInvalidArgument: it cannot be
  // read or written, or has something else.
  static Result<SequenceFile> Open(std::string path);

  uint64_t next() const { return next_; }  // the number that Take returns next
  // A file that can no longer be written is tried again after as many numbers more.
  uint64_t Take();
  // At an orderly end: leaves no gap.
  Status Close() { return path_.empty() ? Status::Ok() : Write(next_); }

 private:
  SequenceFile(std::string path, uint64_t next) : path_(std::move(path)), next_(next), reserved_(next) {}
  Status Write(uint64_t number) const;

  std::string path_;
  uint64_t next_;
  uint64_t reserved_;  // numbers below it may be given out
};

}  // namespace prefixd
