// SlowDisk: the observer of a disk store that gives its reads the times of a disk with a bandwidth. A file
// says how fast the disk is, in one line:
//
//   BYTES_PER_SECOND LATENCY_SECONDS HANG_SECONDS
//
// The file is read again when it was modified or, better, replaced by another under its name, which is
// checked at most every 10 ms. A line that is not like this leaves the speed as it was. All that is not time
// is left to another observer. Any thread.
//
// Invariants
//   1. There is one disk: with B bytes per second and latency L, reads that begin one after the other end no
//      earlier than the sum of their bytes / B + L after the first began. The latency of one read passes
//      beside the other reads.
//   2. With 0 bytes per second a read waits for a hang alone.
//   3. A read that begins before the modification time of the file + HANG_SECONDS ends no earlier than that.
//   4. What is written waits for nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "storage/file_observer.h"

namespace prefixd::testing_support {

struct DiskSpeed {
  double bytes_per_second = 0;  // 0: no limit, and no latency
  double latency = 0;           // seconds
  double hang = 0;              // seconds
};

// An error is a line that is not three numbers: 0 or 1000 .. 1e15 bytes per second, 0 .. 3600 seconds twice.
Result<DiskSpeed> ParseDiskSpeed(std::string_view line);

// When the reads of a disk end. Times are nanoseconds on the scale of a Clock. One thread at a time.
class DiskTimetable {
 public:
  // The disk has this speed from now on, and hangs until `changed` + speed.hang. Reads that have their place
  // keep it.
  void SetSpeed(const DiskSpeed& speed, int64_t changed);
  // Takes a place for a read that begins `now`. Returns when it ends.
  int64_t Take(int64_t now, uint64_t bytes);

 private:
  DiskSpeed speed_;
  int64_t hangs_until_ = INT64_MIN;
  int64_t free_at_ = INT64_MIN;  // the end of the last place
};

class SlowDisk final : public FileObserver {
 public:
  // Waits until the clock has this time.
  using Wait = std::function<void(int64_t nanos)>;
  // `next` may be null. `clock` and `next` must outlive this. Load comes before the first read.
  SlowDisk(std::string file, const Clock* clock, Wait wait, FileObserver* next);

  // Reads the file. An error is why it does not say a speed.
  Status Load();
  uint64_t reads() const { return reads_; }
  uint64_t read_bytes() const { return read_bytes_; }  // that were asked for

  Status Before(const FileCall& call, uint64_t* part) override;
  void AfterRead(const FileCall& call, std::span<char> data) override;
  void After(const FileCall& call) override;

 private:
  // What tells a new content of the file: its inode and the nanoseconds of its modification time.
  using Version = std::pair<uint64_t, int64_t>;

  Status LoadLocked(int64_t now) REQUIRES(mutex_);

  const std::string file_;
  const Clock* const clock_;
  const Wait wait_;
  FileObserver* const next_;
  std::atomic<uint64_t> reads_{0};
  std::atomic<uint64_t> read_bytes_{0};

  Mutex mutex_;
  DiskTimetable timetable_ GUARDED_BY(mutex_);
  Version version_ GUARDED_BY(mutex_);
  int64_t checked_ GUARDED_BY(mutex_) = 0;
};

}  // namespace prefixd::testing_support
