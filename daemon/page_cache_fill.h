// PageCacheFill: brings files into the page cache, so that the next start finds the weights there. A start
// that found them on the disk alone has read them past the page cache (model/weight_reader.h), which is
// faster; what is left is done after it, by a thread that stays behind all others and leaves the disk half of
// the time to them.
//
// Threads: any. The thread may outlive its owner by a read, however long the disk takes for it: nobody waits.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

namespace prefixd {

class PageCacheFill {
 public:
  // Begins with the first file, unless all of them have more than `most_bytes`. A file that cannot be read is
  // left out, since nothing depends on it.
  PageCacheFill(std::vector<std::filesystem::path> files, uint64_t most_bytes);
  // The thread ends with the read at hand.
  ~PageCacheFill();
  PageCacheFill(const PageCacheFill&) = delete;
  PageCacheFill& operator=(const PageCacheFill&) = delete;

  void Stop();
  // Whether the thread has ended.
  bool ended() const;

 private:
  class Work;
  const std::shared_ptr<Work> work_;  // of both threads
};

}  // namespace prefixd
