// ReaderDeadline: how long the client of one response may take for the next part of it. The body of a
// request, which a client sends, has the same rules.
//
// Threads: one owner, the strand of the connection.
//
// Invariants
//   1. No part may take longer than `stall_seconds`. A client that reads nothing is cut off after that time.
//   2. All parts together may take `stall_seconds`, and the time of their bytes at `bytes_per_second`. So no
//      client can hold a long answer by reading a little before every deadline.
//   3. Only the time in which bytes wait for the client counts, not that in which there is nothing to send.
#pragma once

#include <algorithm>
#include <cstddef>

namespace prefixd {

class ReaderDeadline {
 public:
  ReaderDeadline(double stall_seconds, double bytes_per_second)
      : stall_seconds_(stall_seconds), bytes_per_second_(bytes_per_second) {}

  // The time for the next `bytes` bytes. Not above 0: the client has been too slow already.
  double SecondsFor(size_t bytes) const {
    const double earned = static_cast<double>(taken_ + bytes) / bytes_per_second_;
    return std::min(stall_seconds_, stall_seconds_ + earned - waited_);
  }
  // The client took `bytes` bytes; that took `seconds`.
  void Record(size_t bytes, double seconds) {
    taken_ += bytes;
    waited_ += seconds;
  }
  // Whether the client is too slow for a higher rate, too.
  bool SlowerThan(double bytes_per_second) const {
    return waited_ > stall_seconds_ + static_cast<double>(taken_) / bytes_per_second;
  }
  size_t taken() const { return taken_; }

 private:
  const double stall_seconds_, bytes_per_second_;
  size_t taken_ = 0;
  double waited_ = 0;
};

}  // namespace prefixd
