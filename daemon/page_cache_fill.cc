#include "daemon/page_cache_fill.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <utility>

#include "base/background_thread.h"

namespace prefixd {
namespace {

constexpr size_t kReadBytes = size_t{1} << 20;

}  // namespace

PageCacheFill::PageCacheFill(std::vector<std::filesystem::path> files, const Clock* clock)
    : files_(std::move(files)), clock_(*clock), thread_([this] { Run(); }) {}

PageCacheFill::~PageCacheFill() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

bool PageCacheFill::done() const {
  MutexLock lock(mutex_);
  return done_;
}

void PageCacheFill::Run() {
  RunInBackground();
  for (const std::filesystem::path& path : files_) Fill(path);
  MutexLock lock(mutex_);
  done_ = true;
}

void PageCacheFill::Fill(const std::filesystem::path& path) {
  // Without O_NONBLOCK, opening a named pipe would wait for a writer. Regular files ignore the flag.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return;
  std::vector<std::byte> read(kReadBytes);
  for (;;) {
    const int64_t begun = clock_.NowNanos();
    const ssize_t got = ::read(fd, read.data(), read.size());
    if (got == 0 || (got < 0 && errno != EINTR)) break;
    if (!Pause(std::chrono::nanoseconds(clock_.NowNanos() - begun))) break;
  }
  ::close(fd);
}

bool PageCacheFill::Pause(std::chrono::nanoseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  MutexLock lock(mutex_);
  while (!stopping_ && changed_.WaitUntil(mutex_, end)) {
  }
  return !stopping_;
}

}  // namespace prefixd
