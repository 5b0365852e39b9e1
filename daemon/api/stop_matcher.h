// StopMatcher: finds stop strings in a text that arrives in pieces. The algorithm is Knuth, Morris, Pratt:
// "Fast pattern matching in strings", 1977.
//
// The match depends on the text alone, not on its division into pieces. It is the stop string that is
// complete first; of those complete at the same byte, the longest.
//
// Threads: one owner.
//
// Invariants
//   1. The output never contains a stop string, nor the beginning of one that later text could complete.
//   2. The matcher holds back at most as many bytes as the longest stop string has.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace prefixd {

class StopMatcher {
 public:
  // Requires that no stop string is empty. `include`: the stop string itself is output too.
  StopMatcher(std::vector<std::string> stops, bool include);

  // Appends to *out the text that cannot become part of a stop string. Returns true when a stop string is
  // complete; all text after it is dropped, now and in later calls.
  bool Push(std::string_view text, std::string* out);
  // Like Push, for text that is exempt: a stop string cannot begin in it or before it.
  void PushExempt(std::string_view text, std::string* out);
  // The text has ended: appends the held-back bytes.
  void Flush(std::string* out);

  // The stop string that was found, or nullptr.
  const std::string* found() const {
    return found_ < 0 ? nullptr : &patterns_[static_cast<size_t>(found_)].text;
  }
  size_t held_bytes() const { return held_.size(); }

 private:
  struct Pattern {
    std::string text;
    // For every prefix of `text`: the length of its longest proper prefix that is also its suffix.
    std::vector<size_t> border;
    size_t matched = 0;  // length of the longest prefix of `text` that the input ends with
  };
  bool Advance(Pattern& pattern, char c);

  std::vector<Pattern> patterns_;
  const bool include_;
  std::string held_;
  int found_ = -1;
};

}  // namespace prefixd
