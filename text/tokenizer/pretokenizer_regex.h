// Regular expressions of tokenizer files. They are written for Oniguruma with Ruby syntax and are translated
// for PCRE2 here. A construct that PCRE2 would not match in exactly the same way is refused. Immutable after
// creation; any thread.
//
// Invariants
//   1. A pattern that Create accepts finds the same matches as Oniguruma does with Unicode 16: `^` and `$`
//      match at lines; `\s` is White_Space (PCRE2's own includes U+180E too); `\p{..}` is a general category
//      with the code points that newer versions of Unicode added; and letters that fold to several code
//      points are refused in `(?i:`.
//   2. A match takes a bounded number of steps, with a higher bound for longer texts. A text that needs more
//      is an error; it never changes the matches.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

namespace prefixd {

struct TextRange {
  size_t begin, end;  // bytes
  friend bool operator==(const TextRange&, const TextRange&) = default;
};

class Regex {
 public:
  // kUnsupported: valid in Oniguruma but refused here; the message names the construct. kCorrupt: not a valid
  // pattern.
  static Result<Regex> Create(std::string_view pattern);
  // Returns the pattern in the syntax of PCRE2.
  static Result<std::string> Translate(std::string_view pattern);

  // Calls `on_match` with each match in `text` (valid UTF-8) from left to right, without overlap. An empty
  // match at the end of the previous match is left out. kInvalidArgument: too many steps; the message has
  // the pattern.
  Status ForEachMatch(std::string_view text, const std::function<void(const TextRange&)>& on_match) const;
  bool MatchesEmpty() const { return matches_empty_; }

 private:
  struct Code;
  explicit Regex(std::shared_ptr<const Code> code, bool matches_empty)
      : code_(std::move(code)), matches_empty_(matches_empty) {}

  std::shared_ptr<const Code> code_;
  bool matches_empty_;
};

}  // namespace prefixd
