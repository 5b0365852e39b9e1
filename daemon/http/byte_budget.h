// ByteBudget: bytes that many may hold together, never more than a limit. Any thread; outlives its shares.
//
// Invariant: the shares that are alive sum to at most the limit.
#pragma once

#include <atomic>
#include <cstddef>
#include <optional>
#include <utility>

namespace prefixd {

class ByteBudget {
 public:
  explicit ByteBudget(size_t limit) : limit_(limit) {}
  ByteBudget(const ByteBudget&) = delete;
  ByteBudget& operator=(const ByteBudget&) = delete;

  // Bytes taken from a budget, given back by the destructor. One owner.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept
        : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Share& operator=(Share&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Share() {
      if (budget_ != nullptr) budget_->held_ -= bytes_;
    }

   private:
    friend class ByteBudget;
    Share(ByteBudget* budget, size_t bytes) : budget_(budget), bytes_(bytes) {}
    ByteBudget* budget_ = nullptr;
    size_t bytes_ = 0;
  };

  // Nothing when less than `bytes` is left.
  std::optional<Share> Take(size_t bytes) {
    size_t held = held_.load();
    do {
      if (bytes > limit_ - held) return std::nullopt;
    } while (!held_.compare_exchange_weak(held, held + bytes));
    return Share(this, bytes);
  }
  size_t held() const { return held_.load(); }

 private:
  const size_t limit_;
  std::atomic<size_t> held_{0};
};

}  // namespace prefixd
