#include "engine/text/tokenizer_borders.h"

namespace prefixd {

MergeBorders::MergeBorders(size_t merges) : symbols_(0x110000), joined_(merges) {}

void MergeBorders::AddSymbol(char32_t character) { symbols_[character] = true; }

void MergeBorders::AddMerge(char32_t end_of_left, char32_t start_of_right) {
  if (end_of_left < kLow && start_of_right < kLow) joined_low_[end_of_left * kLow + start_of_right] = true;
  joined_.Insert(static_cast<TokenId>(end_of_left), static_cast<TokenId>(start_of_right), {0, 0});
}

}  // namespace prefixd
