// ByteBudget: the account of the bytes in flight. One server has one. It counts, over all connections, the
// bodies of requests, what is made of them while they are worked on, what is generated for an answer, and
// answers until they are sent.
//
// Threads: any, for the budget. A Reservation has one owner at a time. The budget outlives its reservations.
//
// Invariants
//   1. The bytes that TryGrow granted and that are not returned yet are at most limit(). Add may exceed it by
//      8 KiB per connection: the head of an answer, a short body or last piece, and their frames.
//   2. Large reservations leave an eighth of the limit free. Only a reservation whose own total stays at or
//      below the small size of its use may take from that part, so short requests are answered while large
//      ones fill the rest.
//   3. Bodies together take at most a quarter of the part for large reservations, or the largest body if that
//      is more. So bodies that arrive or wait do not take the room in which others are worked on. Answers and
//      other work may have taken it: a body that was accepted may still be answered 503.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/check.h"

namespace prefixd {

// A budget at one moment, for the metrics.
struct InflightStats {
  uint64_t bytes = 0, limit = 0;
  uint64_t refusals = 0;      // reservations that found no room
  uint64_t slow_readers = 0;  // connections closed because the client did not read
};

class ByteBudget {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr Clock::duration kWantedTime = std::chrono::seconds(10);
  enum class Use : uint8_t {
    kBody,    // the body of a request
    kWork,    // what a handler makes of it: JSON values, texts, token ids and what computing them takes
    kAnswer,  // kept until the end of the answer: prompts, generated tokens, bytes to send
  };

  // `largest_body` is the size of the largest body that the server accepts. The limit is at least eight times
  // as large, so that one such body can be accepted and parsed.
  ByteBudget(size_t limit, size_t largest_body)
      : limit_(LimitFor(limit, largest_body)),
        body_limit_(LargeLimit() / 4 > largest_body ? LargeLimit() / 4 : largest_body) {}
  ByteBudget(const ByteBudget&) = delete;
  ByteBudget& operator=(const ByteBudget&) = delete;

  // The limit of a budget with these arguments.
  static constexpr size_t LimitFor(size_t limit, size_t largest_body) {
    return limit > 8 * largest_body ? limit : 8 * largest_body;
  }

  // Bytes held from a budget. The destructor returns them. Movable.
  class Reservation {
   public:
    Reservation() = default;  // holds nothing and cannot grow
    Reservation(ByteBudget& budget, Use use) : budget_(&budget), use_(use) {}
    Reservation(Reservation&& other) noexcept
        : budget_(other.budget_), bytes_(std::exchange(other.bytes_, 0)), use_(other.use_) {}
    Reservation& operator=(Reservation&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(bytes_, other.bytes_);
      std::swap(use_, other.use_);
      other.Shrink(other.bytes_);
      return *this;
    }
    ~Reservation() { Shrink(bytes_); }

    // Takes `bytes` more, or returns false and changes nothing when the budget has no room for them.
    [[nodiscard]] bool TryGrow(size_t bytes) {
      PREFIXD_CHECK(budget_ != nullptr) << bytes << " bytes of no budget";
      if (bytes == 0) return true;
      if (!budget_->TryTake(use_, bytes, bytes_)) return false;
      bytes_ += bytes;
      return true;
    }
    // Takes `bytes` more, whatever the budget has. For small amounts that exist already.
    void Add(size_t bytes) {
      PREFIXD_CHECK(budget_ != nullptr) << bytes << " bytes of no budget";
      budget_->held_ += bytes;
      if (use_ == Use::kBody) budget_->bodies_ += bytes;
      bytes_ += bytes;
    }
    // Returns `bytes` of the bytes held, or all of them if that is less.
    void Shrink(size_t bytes) {
      bytes = bytes < bytes_ ? bytes : bytes_;
      if (bytes > 0) budget_->Return(use_, bytes);
      bytes_ -= bytes;
    }
    void ShrinkTo(size_t bytes) { Shrink(bytes_ > bytes ? bytes_ - bytes : 0); }
    // Takes over the bytes of `other`, which has the same budget and use, or holds nothing.
    void Absorb(Reservation&& other) {
      PREFIXD_CHECK(other.bytes_ == 0 || (other.budget_ == budget_ && other.use_ == use_)) << other.bytes_;
      bytes_ += std::exchange(other.bytes_, 0);
    }

    // Gives `bytes` of the bytes held, or all of them if that is less, to the reservation that it returns.
    Reservation Split(size_t bytes) {
      Reservation part(*budget_, use_);
      part.bytes_ = bytes < bytes_ ? bytes : bytes_;
      bytes_ -= part.bytes_;
      return part;
    }

    size_t bytes() const { return bytes_; }
    ByteBudget& budget() const { return *budget_; }
    // Whether TryGrow would have granted the bytes at once. False after Absorb made a large reservation of
    // small ones while the budget has room only for small ones.
    bool WithinShare() const {
      return bytes_ <= budget_->SmallBytes(use_) || budget_->held() <= budget_->LargeLimit();
    }

   private:
    ByteBudget* budget_ = nullptr;
    size_t bytes_ = 0;
    Use use_ = Use::kWork;
  };

  size_t limit() const { return limit_; }
  // What one large request can get at most.
  size_t LargeLimit() const { return limit_ - limit_ / 8; }
  size_t held() const { return held_.load(); }
  // Whether a body of this size would find room now. It takes nothing; "no" counts as a refusal.
  bool HasRoomForBody(size_t bytes) {
    const size_t bodies = bodies_, held = held_;
    if (bodies > body_limit_ || bytes > body_limit_ - bodies) return Refuse();
    return (held <= LargeLimit() && bytes <= LargeLimit() - held) || RefuseFor(bytes);
  }
  // Whether the reservation that was refused last, within kWantedTime, would still find no room. One that is
  // too large for an empty budget does not count.
  bool NeedsRoom(Clock::time_point now) const {
    const size_t wanted = wanted_, held = held_;
    return wanted > 0 && now.time_since_epoch() - Clock::duration(wanted_at_) <= kWantedTime &&
           (held > LargeLimit() || wanted > LargeLimit() - held);
  }
  void CountSlowReader() { ++slow_readers_; }
  InflightStats stats() const {
    return {.bytes = held_.load(),
            .limit = limit_,
            .refusals = refusals_.load(),
            .slow_readers = slow_readers_.load()};
  }

  // Reservations up to these sizes may take the last eighth. Work on a small body is short: only the threads
  // of the server do it. Answers of this size are those of short requests; a slow reader may keep them long.
  static constexpr size_t kSmallWorkBytes = 1 << 20;
  static constexpr size_t kSmallAnswerBytes = 64 << 10;

 private:
  static size_t SmallBytes(Use use) {
    return use == Use::kWork ? kSmallWorkBytes : use == Use::kAnswer ? kSmallAnswerBytes : 0;
  }
  bool TryTake(Use use, size_t bytes, size_t own) {
    if (use == Use::kBody && !Take(&bodies_, body_limit_, bytes)) return Refuse();
    const size_t small = SmallBytes(use);
    const bool is_small = bytes <= small && own <= small - bytes;
    if (Take(&held_, is_small ? limit_ : LargeLimit(), bytes)) return true;
    if (use == Use::kBody) bodies_ -= bytes;
    return own > LargeLimit() || bytes > LargeLimit() - own ? Refuse() : RefuseFor(bytes);
  }
  static bool Take(std::atomic<size_t>* counter, size_t limit, size_t bytes) {
    size_t held = counter->load();
    do {
      if (held > limit || bytes > limit - held) return false;
    } while (!counter->compare_exchange_weak(held, held + bytes));
    return true;
  }
  bool Refuse() {
    ++refusals_;
    return false;
  }
  bool RefuseFor(size_t bytes) {
    wanted_at_ = Clock::now().time_since_epoch().count();
    wanted_ = bytes;
    return Refuse();
  }
  void Return(Use use, size_t bytes) {
    held_ -= bytes;
    if (use == Use::kBody) bodies_ -= bytes;
  }

  const size_t limit_;
  const size_t body_limit_;
  std::atomic<size_t> held_{0};
  std::atomic<size_t> bodies_{0};  // the part of held_ with the use kBody
  std::atomic<size_t> wanted_{0};  // bytes of the latest reservation that found no room
  std::atomic<Clock::rep> wanted_at_{0};
  std::atomic<uint64_t> refusals_{0};
  std::atomic<uint64_t> slow_readers_{0};
};

}  // namespace prefixd
