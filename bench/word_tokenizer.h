// A byte-level BPE tokenizer of made-up words, for models with made-up weights. Pure values; any thread.
//
// Ids: 0 .. 255 are the bytes; then come 100 syllables ("ba"), 100 words of one syllable (" ba"), up to
// 10,000 words of two (" bade"), and as many words of three (" badego") as fit. The last three ids are
// <|endoftext|>, <|im_start|> and <|im_end|>. Every word is one token that the merges produce, so that every
// BPE implementation encodes it the same way.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace prefixd::bench {

// Returns the 10,000 words of two syllables, without the leading space, in the order of their ids. Each of
// them, after a space in a text, is one token of every WordTokenizer with at least 10,459 ids.
std::vector<std::string> TwoSyllableWords();

class WordTokenizer {
 public:
  explicit WordTokenizer(int vocab);  // number of ids, at least 1000

  std::string TokenizerJson() const;
  std::string TokenizerConfigJson() const;  // with a ChatML chat template
  int end_of_text() const { return vocab_ - 3; }
  int start_of_turn() const { return vocab_ - 2; }
  int end_of_turn() const { return vocab_ - 1; }

 private:
  int vocab_;
  std::vector<std::string> tokens_;  // by id, without the last three, as tokenizer.json spells them
  std::vector<std::pair<std::string, std::string>> merges_;
};

}  // namespace prefixd::bench
