// A progress bar on a terminal: share, bytes, rate and time left, drawn at most five times a second on one
// line of stderr. The cursor stays at its beginning, so that a line of log_sink.h takes its place; the bar is
// drawn again below. It draws nothing where stderr is not a terminal. One thread.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/duration.h"

namespace prefixd {

class ProgressBar {
 public:
  ProgressBar(uint64_t total, const Clock* clock, bool shown = isatty(STDERR_FILENO) == 1)
      : total_(total), clock_(clock), shown_(shown), begin_(clock->NowNanos()) {}
  ~ProgressBar() { Clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void Add(uint64_t bytes) { Set(done_ + bytes); }
  void Set(uint64_t done) {
    done_ = done;
    const int64_t now = clock_->NowNanos();
    if (!shown_ || now - last_ < 200'000'000) return;
    last_ = now;
    drawn_ = true;
    std::fputs((Line(done_, total_, static_cast<double>(now - begin_) * 1e-9) + "\x1b[K\r").c_str(), stderr);
  }

  // Leaves an empty line, until the next Set.
  void Clear() {
    if (drawn_) std::fputs("\x1b[K", stderr);
    drawn_ = false;
  }

  // "[######              ]  30 %  1.2 GiB of 4.0 GiB, 410.0 MiB/s, 7 s left"
  static std::string Line(uint64_t done, uint64_t total, double seconds) {
    constexpr int kWidth = 20;
    const double share =
        total == 0 ? 1 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
    const int filled = static_cast<int>(share * kWidth);
    constexpr double kMost = 1e18;  // fits any integer
    const double rate = seconds > 0 ? std::min(kMost, static_cast<double>(done) / seconds) : 0;
    char percent[16];
    std::snprintf(percent, sizeof percent, "%3d %%", static_cast<int>(share * 100));
    std::string line = "[" + std::string(filled, '#') + std::string(kWidth - filled, ' ') + "] " + percent +
                       "  " + FormatSize(done) + " of " + FormatSize(total);
    if (rate < 1) return line;
    const double left = std::min(kMost, total > done ? static_cast<double>(total - done) / rate : 0);
    return line + ", " + FormatSize(static_cast<uint64_t>(rate)) + "/s, " +
           FormatDuration(static_cast<int64_t>(left)) + " left";
  }

 private:
  const uint64_t total_;
  const Clock* const clock_;
  const bool shown_;
  const int64_t begin_;
  int64_t last_ = 0;
  uint64_t done_ = 0;
  bool drawn_ = false;
};

}  // namespace prefixd
