// ByteAccount: how many bytes several owners have taken together, of at most so many, and ByteShare: what one
// of them has. Threads: any may use an account; a share has one owner at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

#include "base/check.h"

namespace prefixd::grammar {

class ByteAccount {
 public:
  explicit ByteAccount(size_t most) : most_(most) {}
  size_t most() const { return most_; }
  size_t taken() const { return taken_; }

 private:
  friend class ByteShare;
  bool TryTake(size_t bytes) {
    size_t before = taken_;
    do {
      if (bytes > most_ || before > most_ - bytes) return false;
    } while (!taken_.compare_exchange_weak(before, before + bytes));
    return true;
  }

  const size_t most_;
  std::atomic<size_t> taken_{0};
};

// Gives back what it has at its end. Without an account it has no bound.
class ByteShare {
 public:
  explicit ByteShare(std::shared_ptr<ByteAccount> account = nullptr) : account_(std::move(account)) {}
  ByteShare(ByteShare&& other) noexcept
      : account_(std::move(other.account_)), bytes_(std::exchange(other.bytes_, 0)) {}
  ByteShare& operator=(ByteShare&&) = delete;
  ~ByteShare() { Shrink(0); }

  size_t bytes() const { return bytes_; }
  // False: the account has no room for so many more, and nothing changes.
  [[nodiscard]] bool TryGrow(size_t more) {
    if (account_ != nullptr && !account_->TryTake(more)) return false;
    bytes_ += more;
    return true;
  }
  // Requires to <= bytes().
  void Shrink(size_t to) {
    PREFIXD_CHECK(to <= bytes_) << to << " of " << bytes_;
    if (account_ != nullptr) account_->taken_ -= bytes_ - to;
    bytes_ = to;
  }

 private:
  std::shared_ptr<ByteAccount> account_;
  size_t bytes_ = 0;
};

}  // namespace prefixd::grammar
