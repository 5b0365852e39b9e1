// KnownKeys: which keys a store is known to have, and not to have, for a while. It is bounded: what was noted
// first is forgotten first. Not thread-safe.
//
// Invariants
//   1. `order_` has each key of `notes_` once; there are at most `capacity`.
//   2. An answer of the store never replaces what was noted since the question was sent: one thread may
//      write a record while another waits to hear that it is absent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>

#include "hashing/block_key.h"

namespace prefixd {

class KnownKeys {
 public:
  static constexpr size_t kBytesPerKey = 96;

  explicit KnownKeys(size_t capacity) : capacity_(capacity) {}

  // How often something was done to a record.
  uint64_t turn() const { return turn_; }
  // What was done to the record. Times are nanoseconds of one clock.
  void Note(const BlockKey& key, bool present, int64_t until) { Set(key, {until, ++turn_, present}); }
  // What the store answered to a question that was sent at turn `asked`. False: something newer is known.
  bool NoteAnswer(const BlockKey& key, bool present, int64_t until, uint64_t asked) {
    const auto note = notes_.find(key);
    if (note != notes_.end() && note->second.turn > asked) return false;
    Set(key, {until, asked, present});
    return true;
  }
  // Nothing: it is not known at that time.
  std::optional<bool> Find(const BlockKey& key, int64_t now) const {
    const auto note = notes_.find(key);
    if (note == notes_.end() || now >= note->second.until) return std::nullopt;
    return note->second.present;
  }

  size_t size() const { return notes_.size(); }

 private:
  struct Known {
    int64_t until;
    uint64_t turn;
    bool present;
  };

  void Set(const BlockKey& key, const Known& known) {
    if (capacity_ == 0) return;
    if (!notes_.insert_or_assign(key, known).second) return;
    order_.push_back(key);
    if (order_.size() <= capacity_) return;
    notes_.erase(order_.front());
    order_.pop_front();
  }

  const size_t capacity_;
  std::unordered_map<BlockKey, Known> notes_;
  std::deque<BlockKey> order_;
  uint64_t turn_ = 0;
};

}  // namespace prefixd
