// BoundedQueue: a first-in first-out queue between threads. Any thread may call any member.
//
// Invariants
//   1. The queue holds at most `capacity` items. TryPush returns false and changes nothing when the queue is
//      full or closed.
//   2. Items leave in the order in which they were pushed. Items that are in the queue at Close() can still
//      be popped.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"

namespace prefixd {

template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) { PREFIXD_CHECK(capacity > 0); }

  // Moves `item` into the queue. Returns false and leaves `item` unchanged when the queue is full or closed.
  [[nodiscard]] bool TryPush(T&& item) {
    {
      MutexLock lock(mutex_);
      if (closed_ || items_.size() >= capacity_) return false;
      items_.push_back(std::move(item));
    }
    ready_.NotifyOne();
    return true;
  }

  // Returns nothing when the queue is empty.
  std::optional<T> TryPop() {
    MutexLock lock(mutex_);
    return PopLocked();
  }

  // Waits for an item. Returns nothing when the queue is closed and empty.
  std::optional<T> Pop() {
    MutexLock lock(mutex_);
    while (!closed_ && items_.empty()) ready_.Wait(mutex_);
    return PopLocked();
  }

  // Every later TryPush returns false; a Pop that waits returns once the queue is empty.
  void Close() {
    {
      MutexLock lock(mutex_);
      closed_ = true;
    }
    ready_.NotifyAll();
  }

  size_t size() const {
    MutexLock lock(mutex_);
    return items_.size();
  }

 private:
  std::optional<T> PopLocked() REQUIRES(mutex_) {
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    return item;
  }

  const size_t capacity_;
  mutable Mutex mutex_;
  CondVar ready_;  // an item was pushed, or the queue was closed
  std::deque<T> items_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace prefixd
