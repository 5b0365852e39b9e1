// Finds added tokens in text. A match is the leftmost one and, of those, the longest. Any thread, except that
// MarkControl comes before every other use.
//
// Invariant: a search takes O(text * longest added token) time, and about O(text) unless many positions of
// the text share a long prefix with a token.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_range.h"
#include "base/types.h"
#include "text/tokenizer/pretokenizer_regex.h"

namespace prefixd {

class AddedTokens {
 public:
  struct Entry {
    std::string text;  // not empty; as it is spelled in the text that is searched
    TokenId id = 0;
    bool single_word = false, lstrip = false, rstrip = false, special = false;
    bool control = false;  // it is not found in text that came from a request
  };
  struct Piece {
    TextRange range;
    TokenId id;  // -1: text between added tokens
  };

  // If entries have equal text, the first one is used.
  explicit AddedTokens(std::vector<Entry> entries);

  bool empty() const { return entries_.empty(); }
  // Splits the text into pieces from left to right. Without `parse_special`, text that spells a special token
  // stays text. As in the tokenizers library, it still hides other tokens that overlap it.
  // Control tokens are found only where no byte of them is in `input`, the sorted parts of `text` that came
  // from a request. In those parts they hide what overlaps them, as without `parse_special`.
  std::vector<Piece> Split(std::string_view text, bool parse_special,
                           std::span<const ByteRange> input = {}) const;
  bool has_control() const { return has_control_; }
  // Makes a token a control token. Does nothing where the entries lack it.
  void MarkControl(TokenId id);
  bool IsControl(TokenId id) const;  // takes time in the number of entries

 private:
  // A control token must end at or before `control_end`.
  const Entry* LongestAt(std::string_view text, size_t at, size_t control_end) const;

  struct Range {
    size_t begin = 0, end = 0;
  };
  std::vector<Entry> entries_;  // sorted by text
  std::array<Range, 256> by_first_byte_;
  bool has_control_ = false;
};

}  // namespace prefixd
