#include "daemon/page_cache_fill.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <thread>
#include <utility>

#include "base/background_thread.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"

namespace prefixd {
namespace {

constexpr uint64_t kReadBytes = uint64_t{1} << 20;

// A regular file, open for reading; `fd` is below 0 where there is none.
struct OpenFile {
  int fd = -1;
  uint64_t bytes = 0;
};

OpenFile Open(const std::filesystem::path& path) {
  // Without O_NONBLOCK, opening a named pipe would wait for a writer. Regular files ignore the flag.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat info {};
  if (fd < 0) return {};
  if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) return {fd, static_cast<uint64_t>(info.st_size)};
  ::close(fd);
  return {};
}

}  // namespace

class PageCacheFill::Work {
 public:
  Work(std::vector<std::filesystem::path> files, uint64_t most_bytes)
      : paths_(std::move(files)), most_bytes_(most_bytes) {}

  void Run() {
    RunInBackground();
    std::vector<OpenFile> files;
    uint64_t bytes = 0;
    for (const std::filesystem::path& path : paths_) {
      files.push_back(Open(path));
      bytes += files.back().bytes;
    }
    if (bytes <= most_bytes_) {
      Log(LogLevel::kInfo, "reading the weights into the page cache, for the next start",
          {{"bytes", FormatSize(bytes)}});
    }
    for (const OpenFile& file : files) {
      if (bytes <= most_bytes_) Fill(file);
      if (file.fd >= 0) ::close(file.fd);
    }
    MutexLock lock(mutex_);
    ended_ = true;
  }

  void Stop() {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }

  bool ended() const {
    MutexLock lock(mutex_);
    return ended_;
  }

 private:
  // Ends where the file did when it was opened, though it may grow.
  void Fill(const OpenFile& file) {
    std::vector<std::byte> read(kReadBytes);
    for (uint64_t done = 0; done < file.bytes;) {
      const int64_t begun = clock_.NowNanos();
      const ssize_t got = ::read(file.fd, read.data(), std::min(kReadBytes, file.bytes - done));
      if (got == 0 || (got < 0 && errno != EINTR)) return;
      if (got > 0) done += static_cast<uint64_t>(got);
      if (!Pause(std::chrono::nanoseconds(clock_.NowNanos() - begun))) return;
    }
  }

  // Leaves the disk to others. Returns false when the thread is to end.
  bool Pause(std::chrono::nanoseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    MutexLock lock(mutex_);
    while (!stopping_ && changed_.WaitUntil(mutex_, end)) {
    }
    return !stopping_;
  }

  const std::vector<std::filesystem::path> paths_;
  const uint64_t most_bytes_;
  const SystemClock clock_;  // that of an owner could be gone
  mutable Mutex mutex_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool ended_ GUARDED_BY(mutex_) = false;
};

PageCacheFill::PageCacheFill(std::vector<std::filesystem::path> files, uint64_t most_bytes)
    : work_(std::make_shared<Work>(std::move(files), most_bytes)) {
  std::thread([work = work_] { work->Run(); }).detach();
}

PageCacheFill::~PageCacheFill() { Stop(); }

void PageCacheFill::Stop() { work_->Stop(); }

bool PageCacheFill::ended() const { return work_->ended(); }

}  // namespace prefixd
