// Finds stop strings in a text that comes in pieces. One owner.
//
// Which stop counts is a property of the text alone, not of how it was cut into pieces: the one that is
// complete first, and among those that are complete at the same byte the longest. Knuth, Morris, Pratt: "Fast
// pattern matching in strings", 1977.
//
// Invariants
//   1. What was given out never holds a stop string, nor a beginning of one that the text to come could
//   complete.
//   2. At most as many bytes are held back as the longest stop string has.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace prefixd {

class StopMatcher {
 public:
  // None of `stops` is empty. `include`: the stop itself is given out too.
  StopMatcher(std::vector<std::string> stops, bool include);

  // Appends to *out what is certain now. True when a stop is complete; what follows it is dropped, now and
  // later.
  bool Push(std::string_view text, std::string* out);
  // As Push, for text that is exempt: nothing that begins in it or before it can be a stop.
  void PushExempt(std::string_view text, std::string* out);
  // The end of the text: appends what was held back.
  void Flush(std::string* out);

  // The stop that was found, nullptr while there is none.
  const std::string* found() const {
    return found_ < 0 ? nullptr : &patterns_[static_cast<size_t>(found_)].text;
  }
  size_t held_bytes() const { return held_.size(); }

 private:
  struct Pattern {
    std::string text;
    std::vector<size_t>
        border;          // of every prefix: length of its longest proper prefix that is also its suffix
    size_t matched = 0;  // bytes of text that the text read so far ends with
  };
  bool Advance(Pattern& pattern, char c);

  std::vector<Pattern> patterns_;
  const bool include_;
  std::string held_;
  int found_ = -1;
};

}  // namespace prefixd
