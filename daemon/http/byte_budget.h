// ByteBudget: a limit on the bytes that several owners hold together.
//
// Threads: any. The budget outlives its reservations.
//
// Invariant: the live reservations sum to at most the limit.
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

  // Bytes reserved from a budget. The destructor returns them. One owner; movable.
  class Reservation {
   public:
    Reservation() = default;
    Reservation(Reservation&& other) noexcept
        : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Reservation& operator=(Reservation&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Reservation() {
      if (budget_ != nullptr) budget_->held_ -= bytes_;
    }

   private:
    friend class ByteBudget;
    Reservation(ByteBudget* budget, size_t bytes) : budget_(budget), bytes_(bytes) {}
    ByteBudget* budget_ = nullptr;
    size_t bytes_ = 0;
  };

  // Reserves `bytes`, or returns nothing when fewer are left.
  std::optional<Reservation> TryReserve(size_t bytes) {
    size_t held = held_.load();
    do {
      if (bytes > limit_ - held) return std::nullopt;
    } while (!held_.compare_exchange_weak(held, held + bytes));
    return Reservation(this, bytes);
  }
  size_t held() const { return held_.load(); }

 private:
  const size_t limit_;
  std::atomic<size_t> held_{0};
};

}  // namespace prefixd
