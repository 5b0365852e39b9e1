// WriteEconomy: whether what daemons write to a store that they share is read often enough to be worth it. It
// reads what the server says of its own traffic, which is that of all daemons: one that only computes for
// others, or only reads, could not tell by itself.
//
// One thread at a time.
#pragma once

#include <cstdint>
#include <optional>

namespace prefixd {

class WriteEconomy {
 public:
  // Bytes read from the store for each byte that is written there, below which writing is slowed down. A
  // block that is read once has paid for itself; of blocks that were used twice, one in ten at least should.
  static constexpr double kFloor = 0.1;
  static constexpr uint64_t kWindow = uint64_t{1} << 30;  // bytes of traffic for one figure
  static constexpr uint64_t kSlower = 10;                 // the rate of writes is divided by it

  // What the server has received and sent since its start.
  void Add(uint64_t received, uint64_t sent) {
    const bool has_restarted = received < received_ || sent < sent_;
    if (!has_begun_ || has_restarted) {
      has_begun_ = true;
    } else if (received - received_ + (sent - sent_) < kWindow) {
      return;
    } else {
      ratio_ = static_cast<double>(sent - sent_) /
               static_cast<double>(received == received_ ? 1 : received - received_);
    }
    received_ = received;
    sent_ = sent;
  }
  // Of the last window; nothing: there was none.
  std::optional<double> ratio() const { return ratio_; }
  bool IsLow() const { return ratio_ && *ratio_ < kFloor; }

 private:
  bool has_begun_ = false;
  uint64_t received_ = 0, sent_ = 0;  // when the window began
  std::optional<double> ratio_;
};

}  // namespace prefixd
