// The merges of a BPE model and the loop that applies them. Immutable after creation: any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/types.h"

namespace prefixd {

// (left, right) -> rank and product, in a flat hash table with linear probing, at most half full.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank;  // lower is better
    TokenId product;
  };

  explicit MergeTable(size_t merges);
  // The last insertion of a pair wins. At most `merges` of them; ids are >= 0.
  void Insert(TokenId left, TokenId right, Merge merge);
  // Null where the pair does not merge.
  const Merge* Find(TokenId left, TokenId right) const {
    const uint64_t key = Key(left, right);
    for (size_t at = SlotOf(key);; at = (at + 1) & mask_) {
      if (slots_[at].key == key) return &slots_[at].merge;
      if (slots_[at].key == kEmpty) return nullptr;
    }
  }

  // Merges `symbols` in place until nothing merges: lowest rank first, leftmost of equals. Time and memory
  // are O(n) where, as in trained vocabularies, a merge makes way for worse ones only; at worst time is O(n
  // log n).
  void MergeAll(std::vector<TokenId>* symbols) const;

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge{};
  };

  static uint64_t Key(TokenId left, TokenId right) {
    return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  }
  // Fibonacci hashing; the table's size is 2^(64 - shift_).
  size_t SlotOf(uint64_t key) const { return (key ^ key >> 29) * 0x9E3779B97F4A7C15ull >> shift_; }
  void MergeFew(std::vector<TokenId>* symbols) const;
  void MergeMany(std::vector<TokenId>* symbols) const;

  std::vector<Slot> slots_;
  size_t mask_;
  int shift_;
};

}  // namespace prefixd
