// PageCacheFill: brings files into the page cache, so that the next start finds the weights there. A start
// that found them on the disk alone has read them past the page cache (model/weight_reader.h), which is
// faster; what is left is done after it, by a thread that stays behind all others and leaves the disk half of
// the time to them.
//
// Threads: one owner constructs and destroys it.
#pragma once

#include <chrono>
#include <filesystem>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"

namespace prefixd {

class PageCacheFill {
 public:
  // Begins with the first file. A file that cannot be read is left out, since nothing depends on it.
  PageCacheFill(std::vector<std::filesystem::path> files, const Clock* clock);
  // Ends with the read at hand, which may take as long as the disk does.
  ~PageCacheFill();
  PageCacheFill(const PageCacheFill&) = delete;
  PageCacheFill& operator=(const PageCacheFill&) = delete;

  bool done() const;

 private:
  void Run();
  void Fill(const std::filesystem::path& path);
  // Leaves the disk to others. Returns false when the owner wants the end.
  bool Pause(std::chrono::nanoseconds time);

  const std::vector<std::filesystem::path> files_;
  const Clock& clock_;
  mutable Mutex mutex_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool done_ GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last member: it starts when the others are constructed
};

}  // namespace prefixd
