// Finds places where a piece of text can be cut before byte-pair merging without changing its tokens: between
// two characters that no merge can ever join. Immutable after creation; any thread.
//
// Why a cut is exact: a merge joins two neighbouring symbols, and each symbol is a run of characters. To join
// across the border between characters a and b, the text of its left part must end with a, and that of its
// right part must begin with b. If there is no such merge, no merge ever applies across the border, whatever
// was merged before. The two sides then do not influence each other, and "lowest rank first, leftmost of
// equals" does the same on each side as it would do on that side alone.
//
// Only characters that are symbols themselves allow a cut. Others become byte tokens or unknown tokens, which
// may fuse with their neighbours.
#pragma once

#include <bitset>
#include <cstdint>
#include <utility>
#include <vector>

#include "text/tokenizer/merges.h"

namespace prefixd {

class MergeBorders {
 public:
  // `symbols` are the characters that are symbols. `joined` has a pair for each merge: the last character of
  // its left part and the first character of its right part.
  MergeBorders(const std::vector<char32_t>& symbols, std::vector<std::pair<char32_t, char32_t>> joined);

  // Returns whether a cut between the two characters is exact.
  bool CanCut(char32_t left, char32_t right) const {
    if (left < kLow && right < kLow)
      return !joined_low_[left * kLow + right] && symbols_[left] && symbols_[right];
    return symbols_[left] && symbols_[right] &&
           joined_.Find(static_cast<TokenId>(left), static_cast<TokenId>(right)) == nullptr;
  }

 private:
  static constexpr size_t kLow = 256;

  std::vector<bool> symbols_;            // by code point
  std::bitset<kLow * kLow> joined_low_;  // pairs of low code points, the most frequent ones
  MergeTable joined_;                    // the other pairs
};

}  // namespace prefixd
