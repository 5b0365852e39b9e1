// Caches the tokens of short words, so that a repeated word is not merged again. A direct-mapped table of
// fixed size. Any thread: each slot has a try-lock; if another thread holds it, the lookup is a miss.
//
// A hit costs the hash of the key and one cache line, which holds key and tokens. A miss costs at least one
// lookup in the merge table per byte, and each of these is a cache line of a table too large for the near
// caches.
//
// Invariants
//   1. Find returns only ids that were put under exactly this key.
//   2. Memory is kSlots slots of one cache line, allocated once.
//   3. A word that was found since another word last wanted its slot keeps the slot once more (second
//      chance). So words that occur once do not evict words in use, and do not keep a slot that another word
//      needs.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace prefixd {

class WordCache {
 public:
  static constexpr size_t kSlots = 1 << 15;
  static constexpr size_t kMaxKey = 25;  // bytes
  static constexpr size_t kMaxIds = 9;

  WordCache() : slots_(std::make_unique<Slot[]>(kSlots)) {}

  // Appends the ids of `key` to `out` and returns true; on a miss returns false. `hash` is a good hash of
  // the key.
  bool Find(std::string_view key, size_t hash, std::vector<TokenId>* out) {
    if (key.size() > kMaxKey) return false;
    Slot& slot = slots_[hash % kSlots];
    if (slot.busy.exchange(true, std::memory_order_acquire)) return false;
    const bool found = slot.key_size == key.size() && std::memcmp(slot.key, key.data(), key.size()) == 0;
    if (found) {
      out->insert(out->end(), slot.ids, slot.ids + slot.id_count);
      slot.used = 1;
    }
    slot.busy.store(false, std::memory_order_release);
    return found;
  }

  // Stores the ids of `key`, or does nothing: for a long key, many ids, or a slot that is locked or in use.
  void Put(std::string_view key, size_t hash, std::span<const TokenId> ids) {
    if (key.empty() || key.size() > kMaxKey || ids.size() > kMaxIds) return;
    Slot& slot = slots_[hash % kSlots];
    if (slot.busy.exchange(true, std::memory_order_acquire)) return;
    if (slot.used == 0) {
      slot.key_size = static_cast<uint8_t>(key.size());
      slot.id_count = static_cast<uint8_t>(ids.size()) & 0x7F;
      std::memcpy(slot.key, key.data(), key.size());
      std::copy(ids.begin(), ids.end(), slot.ids);
    }
    slot.used = 0;
    slot.busy.store(false, std::memory_order_release);
  }

 private:
  struct alignas(64) Slot {
    std::atomic<bool> busy{false};
    uint8_t key_size = 0;  // 0: the slot is empty
    uint8_t id_count : 7 = 0;
    uint8_t used : 1 = 0;
    char key[kMaxKey];
    TokenId ids[kMaxIds];
  };
  static_assert(sizeof(Slot) == 64);

  std::unique_ptr<Slot[]> slots_;
};

}  // namespace prefixd
