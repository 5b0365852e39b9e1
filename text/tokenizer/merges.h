// The merges of a BPE model and the loop that applies them. Immutable after creation; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/types.h"

namespace prefixd {

// Maps (left, right) to rank and product: a flat hash table with linear probing, at most half full.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank;  // lower is better
    TokenId product;
  };

  // `merges` is the largest number of insertions.
  explicit MergeTable(size_t merges);
  // If a pair is inserted twice, the last insertion wins. Ids are >= 0.
  void Insert(TokenId left, TokenId right, Merge merge);
  // Returns nullptr if the pair does not merge.
  const Merge* Find(TokenId left, TokenId right) const {
    const uint64_t key = Key(left, right);
    for (size_t at = SlotOf(key);; at = (at + 1) & mask_) {
      if (slots_[at].key == key) return &slots_[at].merge;
      if (slots_[at].key == kEmpty) return nullptr;
    }
  }

  // Merges `symbols` in place until no merge applies: lowest rank first, leftmost of equals. Time and memory
  // are O(n) if a merge enables only merges of higher rank, as in trained vocabularies. The worst case is
  // O(n log n) time.
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
  // Fibonacci hashing; the table has 2^(64 - shift_) slots.
  size_t SlotOf(uint64_t key) const { return (key ^ key >> 29) * 0x9E3779B97F4A7C15ull >> shift_; }
  void MergeFew(std::vector<TokenId>* symbols) const;
  void MergeMany(std::vector<TokenId>* symbols) const;

  std::vector<Slot> slots_;
  size_t mask_;
  int shift_;
};

}  // namespace prefixd
