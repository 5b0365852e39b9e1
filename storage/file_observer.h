// FileObserver: is told of every file operation of a disk store, before and after it, and may make it fail,
// cut it short or change what it reads. A store that serves has none; tests pass one that injects faults and
// checks laws. Called from any thread that uses the store.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"

namespace prefixd {

enum class FileOperation : uint8_t {
  kCreate,
  kOpen,  // for reading
  kAppend,
  kRead,
  kSync,
  kClose,  // of a file that was written
  kRename,
  kLink,
  kDelete,
  kSyncDirectory,
};

struct FileCall {
  FileOperation operation = FileOperation::kRead;
  const std::string& path;    // of kRename and kLink: the source
  const std::string& target;  // of kRename and kLink; otherwise empty
  uint64_t offset = 0;        // of kAppend and kRead
  uint64_t bytes = 0;         // of kAppend and kRead
};

class FileObserver {
 public:
  virtual ~FileObserver() = default;
  // Called before the operation. An error ends it: kResourceExhausted as a full disk, any other as an error
  // of the medium. A kAppend that fails takes place for the first `*part` bytes, which are 0 unless set. A
  // kRead that does not fail gives at most `*part` bytes, which are all unless set.
  virtual Status Before(const FileCall& call, uint64_t* part) = 0;
  // Called after a kRead with what it has read, which may be less than was asked for.
  virtual void AfterRead(const FileCall& call, std::span<char> data) = 0;
  // Called after an operation that succeeded.
  virtual void After(const FileCall& call) = 0;
};

}  // namespace prefixd
