// What makes prefixd_fault of the objects of prefixd: file operations on the disk cache fail as the
// environment says, FAULTY_DISK=SKIP:COUNT:io|full. After SKIP operations, COUNT of them fail; 0: all that
// follow.
#include <cstdio>
#include <cstdlib>

#include "daemon/disk_observer.h"
#include "tests/support/faulty_disk.h"

namespace prefixd {

FileObserver* DiskObserver(const std::string& directory) {
  const char* script = std::getenv("FAULTY_DISK");
  if (script == nullptr) return nullptr;
  unsigned long long skip = 0;
  unsigned long long count = 0;
  char kind[8] = {};
  if (std::sscanf(script, "%llu:%llu:%7s", &skip, &count, kind) != 3) {
    std::fprintf(stderr, "prefixd_fault: FAULTY_DISK is '%s' (expected: SKIP:COUNT:io or SKIP:COUNT:full)\n",
                 script);
    std::exit(2);
  }
  static testing_support::FaultyDisk disk(directory, 0);
  disk.FailFrom(skip, count == 0 ? UINT64_MAX : count,
                std::string(kind) == "full" ? Code::kResourceExhausted : Code::kIo);
  return &disk;
}

}  // namespace prefixd
