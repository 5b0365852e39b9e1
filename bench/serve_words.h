// Writer: draws the made-up texts that bench/serve sends. Equal seeds give equal texts. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/prng.h"
#include "bench/word_tokenizer.h"

namespace prefixd::bench {

// Two texts that begin with Distinct() differ in their first word, up to 10,000 texts.
class Writer {
 public:
  explicit Writer(uint64_t seed) : random_(seed), words_(TwoSyllableWords()), firsts_(words_) {}

  std::string Text(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += (i == 0 ? "" : " ") + words_[random_.Below(words_.size())];
    return text;
  }
  std::string Distinct(int count) {
    if (firsts_.empty()) firsts_ = words_;
    const size_t at = random_.Below(firsts_.size());
    std::string text = firsts_[at];
    firsts_.erase(firsts_.begin() + static_cast<std::ptrdiff_t>(at));
    return count > 1 ? text + " " + Text(count - 1) : text;
  }
  Prng& random() { return random_; }

 private:
  Prng random_;
  std::vector<std::string> words_, firsts_;
};

}  // namespace prefixd::bench
