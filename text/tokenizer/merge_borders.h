// Where a piece of text may be cut before byte-pair merging without changing its tokens: between two
// characters that no merge can ever join. Immutable after creation: any thread.
//
// Why that is exact. A merge joins two neighbouring symbols, each a run of characters. To join across the
// border between characters a and b, the text of its left part must end with a and that of its right part
// begin with b. If no merge is of that kind, none ever applies across the border, whatever was merged before;
// what lies on the one side then has no influence on the other, and "lowest rank first, leftmost of equals"
// does on each side what it would do there alone.
//
// Only characters that are symbols of their own count: others become byte tokens or unknown tokens, which may
// fuse with their neighbours.
#pragma once

#include <bitset>
#include <cstdint>
#include <utility>
#include <vector>

#include "text/tokenizer/merges.h"

namespace prefixd {

class MergeBorders {
 public:
  // The characters that are symbols; and what stands at the inner ends of each merge's parts: the last
  // character of the left one, the first of the right one.
  MergeBorders(const std::vector<char32_t>& symbols, std::vector<std::pair<char32_t, char32_t>> joined);

  bool CanCut(char32_t left, char32_t right) const {
    if (left < kLow && right < kLow)
      return !joined_low_[left * kLow + right] && symbols_[left] && symbols_[right];
    return symbols_[left] && symbols_[right] &&
           joined_.Find(static_cast<TokenId>(left), static_cast<TokenId>(right)) == nullptr;
  }

 private:
  static constexpr size_t kLow = 256;

  std::vector<bool> symbols_;            // by code point
  std::bitset<kLow * kLow> joined_low_;  // pairs of low code points, which are most
  MergeTable joined_;                    // the other pairs
};

}  // namespace prefixd
