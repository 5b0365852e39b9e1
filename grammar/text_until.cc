#include "grammar/text_until.h"

#include <compare>
#include <optional>
#include <vector>

#include "base/check.h"

namespace prefixd::grammar {
namespace {

// Which bytes the code point that has begun still needs: `more` of them, the next one in low .. high.
struct Utf8Place {
  uint8_t more = 0, low = 0x80, high = 0xBF;
  auto operator<=>(const Utf8Place&) const = default;
};

std::optional<Utf8Place> Next(const Utf8Place& at, uint8_t byte) {
  if (at.more > 0) {
    if (byte < at.low || byte > at.high) return std::nullopt;
    return Utf8Place{static_cast<uint8_t>(at.more - 1)};
  }
  if (byte < 0x80) return Utf8Place();
  if (byte < 0xC2 || byte > 0xF4) return std::nullopt;
  if (byte < 0xE0) return Utf8Place{1};
  // No overlong forms, no surrogates, and nothing beyond U+10FFFF.
  if (byte == 0xE0) return Utf8Place{2, 0xA0, 0xBF};
  if (byte == 0xED) return Utf8Place{2, 0x80, 0x9F};
  if (byte < 0xF0) return Utf8Place{2};
  if (byte == 0xF0) return Utf8Place{3, 0x90, 0xBF};
  return byte == 0xF4 ? Utf8Place{3, 0x80, 0x8F} : Utf8Place{3};
}

struct Place {
  Utf8Place utf8;
  uint32_t matched = 0;     // of the word, at the end of the text so far
  bool after_line = false;  // a line feed stands right before that
  auto operator<=>(const Place&) const = default;
};

// By how much of the word a text ends that ended with its first `matched` bytes, after one more byte
// (Knuth, Morris and Pratt, 1977).
class Word {
 public:
  explicit Word(std::string_view text) : text_(text), border_(text.size(), 0) {
    for (size_t i = 1; i < text.size(); ++i) border_[i] = After(border_[i - 1], text[i]);
  }
  uint32_t After(uint32_t matched, char c) const {
    while (matched > 0 && text_[matched] != c) matched = border_[matched - 1];
    return matched + (text_[matched] == c ? 1 : 0);
  }

 private:
  const std::string_view text_;
  std::vector<uint32_t> border_;  // of text_[0 .. i]
};

}  // namespace

Result<ByteAutomaton> TextUntil(std::string_view word, TextEnds ends, AutomatonBudget* budget) {
  PREFIXD_CHECK(!word.empty() && static_cast<uint8_t>(word[0]) < 0x80) << word;
  const Word matcher(word);
  const auto whole = static_cast<uint32_t>(word.size());
  const auto next = [&](const Place& at, uint8_t byte) -> std::optional<Place> {
    if (at.matched == whole) return std::nullopt;
    const std::optional<Utf8Place> utf8 = Next(at.utf8, byte);
    if (!utf8) return std::nullopt;
    Place to{*utf8, matcher.After(at.matched, static_cast<char>(byte))};
    if (ends == TextEnds::kWithLineAndWord) {
      // What is matched began there if it grew; otherwise it begins later.
      to.after_line = byte == '\n' || (at.after_line && to.matched > at.matched);
      if (to.matched == whole && !to.after_line) return std::nullopt;
    }
    if (to.matched == whole && ends == TextEnds::kBefore) return std::nullopt;
    return to;
  };
  const auto is_final = [&](const Place& at) {
    return ends == TextEnds::kBefore ? at.utf8.more == 0 : at.matched == whole;
  };
  return Explore<Place>(next, is_final, budget);
}

Result<ByteAutomaton> TextBesides(const std::vector<std::string>& words, AutomatonBudget* budget) {
  // How much of a word a text has, and of which one: the first of those that begin alike.
  struct Begun {
    Utf8Place utf8;
    uint32_t bytes = 0;
    size_t word = 0;
    bool differs = false;  // from every word
    auto operator<=>(const Begun&) const = default;
  };
  const auto next = [&](const Begun& at, uint8_t byte) -> std::optional<Begun> {
    const std::optional<Utf8Place> utf8 = Next(at.utf8, byte);
    if (!utf8) return std::nullopt;
    if (at.differs) return Begun{.utf8 = *utf8, .differs = true};
    std::string begin = words.empty() ? "" : words[at.word].substr(0, at.bytes);
    begin += static_cast<char>(byte);
    for (size_t i = 0; i < words.size(); ++i) {
      if (words[i] == begin) return std::nullopt;
      if (words[i].starts_with(begin)) return Begun{*utf8, at.bytes + 1, i, false};
    }
    return Begun{.utf8 = *utf8, .differs = true};
  };
  return Explore<Begun>(
      next, [](const Begun& at) { return at.utf8.more == 0; }, budget);
}

}  // namespace prefixd::grammar
