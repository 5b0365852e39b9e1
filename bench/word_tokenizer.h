// A byte-level BPE tokenizer of made-up words, for models whose weights are made up too. Pure values; any
// thread.
//
// Ids: 0 .. 255 the bytes; 100 syllables ("ba"); 100 words of one syllable (" ba"); up to 10,000 of two ("
// bade"); then of three
// (" badego"), as many as fit; the last three are <|endoftext|>, <|im_start|> and <|im_end|>. Every word is
// one token, and its merges lead to it, so that any BPE implementation reads the file the same way.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace prefixd::bench {

class WordTokenizer {
 public:
  explicit WordTokenizer(int vocab);  // at least 1000

  std::string TokenizerJson() const;
  std::string TokenizerConfigJson() const;  // with a ChatML template
  int end_of_text() const { return vocab_ - 3; }
  int start_of_turn() const { return vocab_ - 2; }
  int end_of_turn() const { return vocab_ - 1; }

 private:
  int vocab_;
  std::vector<std::string> tokens_;  // by id, without the special ones, as the file spells them
  std::vector<std::pair<std::string, std::string>> merges_;
};

}  // namespace prefixd::bench
