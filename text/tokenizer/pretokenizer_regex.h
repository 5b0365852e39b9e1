// Regular expressions of tokenizer files. They are written for Oniguruma with Ruby syntax; here they are
// translated for PCRE2, and what would not mean exactly the same there is refused. Immutable after creation:
// any thread.
//
// Invariants
//   1. A pattern that Create accepts finds the same matches as the original engine does with Unicode 16: `^`
//   and `$` stand
//      at lines, `\s` is White_Space (PCRE2's has U+180E too), `\p{..}` is a general category including those
//      that newer versions of Unicode added, and letters that fold to several code points stay out of `(?i:`.
//   2. Matching takes bounded steps, more for longer texts; a text that would need more is an error, never
//   other matches.
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
  // kUnsupported: valid in the original but refused here; the message names the construct. kCorrupt: not a
  // pattern.
  static Result<Regex> Create(std::string_view pattern);
  // The pattern that PCRE2 gets.
  static Result<std::string> Translate(std::string_view pattern);

  // Calls `on_match` with the matches in `text` (valid UTF-8) from left to right, without overlap. An empty
  // match that stands where the one before it ended is not one. kInvalidArgument: too many steps, with the
  // pattern.
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
