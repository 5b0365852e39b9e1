#include "text/tokenizer/merge_borders.h"

#include <algorithm>

namespace prefixd {

MergeBorders::MergeBorders(const std::vector<char32_t>& symbols,
                           std::vector<std::pair<char32_t, char32_t>> joined)
    : symbols_(0x110000), joined_(0) {
  for (const char32_t symbol : symbols) symbols_[symbol] = true;
  std::sort(joined.begin(), joined.end());  // many merges share a pair
  joined.erase(std::unique(joined.begin(), joined.end()), joined.end());
  joined_ = MergeTable(joined.size());
  for (const auto& [left, right] : joined) {
    if (left < kLow && right < kLow) {
      joined_low_[left * kLow + right] = true;
    } else {
      joined_.Insert(static_cast<TokenId>(left), static_cast<TokenId>(right), {0, 0});
    }
  }
}

}  // namespace prefixd
