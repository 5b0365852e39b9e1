// What makes prefixd_fault of the objects of prefixd: file operations on the disk cache fail, or take their
// time, as the environment says.
//
//   FAULTY_DISK=SKIP:COUNT:io|full  After SKIP operations, COUNT of them fail; 0: all that follow.
//   FAULTY_DISK=hang:PATH           Operations that begin while there is a file PATH do not end before it is
//                                   removed.
//   DISK_SPEED=FILE                 FILE says how fast reads are, see tests/support/slow_disk.h.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#include "daemon/disk_observer.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/slow_disk.h"

namespace prefixd {
namespace {

class HangingDisk final : public FileObserver {
 public:
  explicit HangingDisk(std::string path) : path_(std::move(path)) {}
  Status Before(const FileCall&, uint64_t*) override {
    while (::access(path_.c_str(), F_OK) == 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return Status::Ok();
  }
  void AfterRead(const FileCall&, std::span<char>) override {}
  void After(const FileCall&) override {}

 private:
  const std::string path_;
};

FileObserver* FaultsOf(const char* script, const std::string& directory) {
  if (script == nullptr) return nullptr;
  constexpr std::string_view kHang = "hang:";
  if (std::string_view(script).starts_with(kHang)) {
    static HangingDisk hanging(script + kHang.size());
    return &hanging;
  }
  unsigned long long skip = 0;
  unsigned long long count = 0;
  char kind[8] = {};
  if (std::sscanf(script, "%llu:%llu:%7s", &skip, &count, kind) != 3) {
    std::fprintf(
        stderr,
        "prefixd_fault: FAULTY_DISK is '%s' (expected: SKIP:COUNT:io, SKIP:COUNT:full or hang:PATH)\n",
        script);
    std::exit(2);
  }
  static testing_support::FaultyDisk disk(directory, 0);
  disk.FailFrom(skip, count == 0 ? UINT64_MAX : count,
                std::string(kind) == "full" ? Code::kResourceExhausted : Code::kIo);
  return &disk;
}

void WaitUntil(int64_t nanos) {
  std::this_thread::sleep_until(std::chrono::steady_clock::time_point(std::chrono::nanoseconds(nanos)));
}

}  // namespace

FileObserver* DiskObserver(const std::string& directory) {
  FileObserver* const faults = FaultsOf(std::getenv("FAULTY_DISK"), directory);
  const char* file = std::getenv("DISK_SPEED");
  if (file == nullptr) return faults;
  static const SystemClock clock{};
  static testing_support::SlowDisk disk(file, &clock, WaitUntil, faults);
  const Status loaded = disk.Load();
  if (!loaded.ok()) {
    std::fprintf(stderr, "prefixd_fault: DISK_SPEED: %s\n", loaded.message().c_str());
    std::exit(2);
  }
  return &disk;
}

}  // namespace prefixd
