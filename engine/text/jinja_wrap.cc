// Python's textwrap.wrap, with its default of dropping white space at line ends and without the expansion of
// tabs. Source of the rules: the regular expressions and loops of CPython's textwrap.py.
#include <algorithm>
#include <deque>

#include "engine/text/jinja_text.h"

namespace prefixd::jinja {
namespace {

bool IsWrapSpace(char32_t c) { return (c >= 0x09 && c <= 0x0D) || c == ' '; }

// A paragraph as characters, and where it may be parted.
class Chunker {
 public:
  explicit Chunker(std::string_view text, bool break_on_hyphens) : hyphens_(break_on_hyphens) {
    for (size_t at = 0; at < text.size(); at += CharacterSize(text, at)) text_ += CharacterAt(text, at);
  }

  std::deque<std::u32string> Run() const {
    std::deque<std::u32string> chunks;
    for (size_t at = 0; at < text_.size();) {
      const size_t end = EndOfChunk(at);
      chunks.push_back(text_.substr(at, end - at));
      at = end;
    }
    return chunks;
  }

 private:
  bool In(CharacterClass which, size_t at) const {
    std::string character;
    AppendUtf8(&character, text_[at]);
    return AllOf(character, which);
  }
  bool IsWord(size_t at) const { return text_[at] == '_' || In(CharacterClass::kAlnum, at); }
  bool IsLetter(size_t at) const { return IsWord(at) && !In(CharacterClass::kDecimal, at); }
  bool IsWordOrPunctuation(size_t at) const {
    return std::u32string_view(U"!\"'&.,?").find(text_[at]) != std::u32string_view::npos || IsWord(at);
  }

  // The end of two or more dashes between words that begin at `at`, or `at`.
  size_t EndOfDashes(size_t at) const {
    size_t end = at;
    while (end < text_.size() && text_[end] == '-') ++end;
    const bool between =
        end >= at + 2 && end < text_.size() && IsWord(end) && at > 0 && IsWordOrPunctuation(at - 1);
    return between ? end : at;
  }

  // Whether the hyphen at `at` parts a word of letters.
  bool IsHyphenInWord(size_t at) const {
    const auto letter_back = [&](size_t n) { return at >= n && IsLetter(at - n); };
    if (!letter_back(1) || !(letter_back(2) || (at >= 3 && text_[at - 2] == '-' && letter_back(3))))
      return false;
    size_t next = at + 1;
    if (next >= text_.size() || !IsLetter(next)) return false;
    ++next;
    if (next < text_.size() && text_[next] == '-') ++next;
    return next < text_.size() && IsLetter(next);
  }

  size_t EndOfChunk(size_t at) const {
    if (IsWrapSpace(text_[at])) {
      while (at < text_.size() && IsWrapSpace(text_[at])) ++at;
      return at;
    }
    if (hyphens_) {
      if (const size_t dashes = EndOfDashes(at); dashes > at) return dashes;
    }
    for (size_t end = at + 1; end < text_.size(); ++end) {
      if (IsWrapSpace(text_[end])) return end;
      if (!hyphens_ || text_[end] != '-') continue;
      if (IsHyphenInWord(end)) return end + 1;
      if (EndOfDashes(end) > end) return end;
    }
    return text_.size();
  }

  std::u32string text_;
  const bool hyphens_;
};

bool IsBlank(const std::u32string& chunk) { return std::all_of(chunk.begin(), chunk.end(), IsSpace); }

// How much of a chunk too long for any line goes into the `space` that is left in this one.
size_t PartOfLongChunk(const std::u32string& chunk, size_t space, bool break_on_hyphens) {
  if (!break_on_hyphens || chunk.size() <= space || space == 0) return space;
  const size_t hyphen = chunk.rfind(U'-', space - 1);
  const bool parts = hyphen != std::u32string::npos && hyphen > 0 &&
                     std::any_of(chunk.begin(), chunk.begin() + static_cast<ptrdiff_t>(hyphen),
                                 [](char32_t c) { return c != '-'; });
  return parts ? hyphen + 1 : space;
}

}  // namespace

std::vector<std::string> WrapParagraph(std::string_view text, const WrapStyle& style) {
  std::deque<std::u32string> chunks = Chunker(text, style.break_on_hyphens).Run();
  std::vector<std::string> lines;
  while (!chunks.empty()) {
    std::vector<std::u32string> line;
    size_t length = 0;
    const auto take = [&](std::u32string chunk) {
      length += chunk.size();
      line.push_back(std::move(chunk));
    };
    if (!lines.empty() && IsBlank(chunks.front())) chunks.pop_front();
    while (!chunks.empty() && length + chunks.front().size() <= style.width) {
      take(std::move(chunks.front()));
      chunks.pop_front();
    }
    if (!chunks.empty() && chunks.front().size() > style.width) {
      if (style.break_long_words) {
        const size_t part = PartOfLongChunk(chunks.front(), style.width - length, style.break_on_hyphens);
        take(chunks.front().substr(0, part));
        chunks.front().erase(0, part);
      } else if (line.empty()) {
        take(std::move(chunks.front()));
        chunks.pop_front();
      }
    }
    if (!line.empty() && IsBlank(line.back())) line.pop_back();
    if (line.empty()) continue;
    std::string& out = lines.emplace_back();
    for (const auto& chunk : line) {
      for (const char32_t c : chunk) AppendUtf8(&out, c);
    }
  }
  return lines;
}

}  // namespace prefixd::jinja
