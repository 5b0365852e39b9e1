// Python's textwrap.wrap, with its default of dropping white space at line ends and without the expansion of
// tabs. Source of the rules: the regular expressions and loops of CPython's textwrap.py.
#include <algorithm>

#include "text/jinja/text.h"

namespace prefixd::jinja {
namespace {

bool IsWrapSpace(char32_t c) { return (c >= 0x09 && c <= 0x0D) || c == ' '; }

// A paragraph as characters, and where it may be parted.
class Chunker {
 public:
  explicit Chunker(std::string_view text, bool break_on_hyphens) : hyphens_(break_on_hyphens) {
    for (size_t at = 0; at < text.size(); at += CharacterSize(text, at)) text_ += CharacterAt(text, at);
  }

  // They point into this object.
  std::vector<std::u32string_view> Run() const {
    std::vector<std::u32string_view> chunks;
    for (size_t at = 0; at < text_.size();) {
      const size_t end = EndOfChunk(at);
      chunks.push_back(std::u32string_view(text_).substr(at, end - at));
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
    if (at == 0 || !IsWordOrPunctuation(at - 1)) return at;  // first, so that no run of dashes is read twice
    size_t end = at;
    while (end < text_.size() && text_[end] == '-') ++end;
    return end >= at + 2 && end < text_.size() && IsWord(end) ? end : at;
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

bool IsBlank(std::u32string_view chunk) { return std::all_of(chunk.begin(), chunk.end(), IsSpace); }

// How much of a chunk too long for any line goes into the `space` that is left in this one.
size_t PartOfLongChunk(std::u32string_view chunk, size_t space, bool break_on_hyphens) {
  if (!break_on_hyphens || chunk.size() <= space || space == 0) return space;
  const size_t hyphen = chunk.rfind(U'-', space - 1);
  const bool parts = hyphen != std::u32string_view::npos && hyphen > 0 &&
                     std::any_of(chunk.begin(), chunk.begin() + static_cast<ptrdiff_t>(hyphen),
                                 [](char32_t c) { return c != '-'; });
  return parts ? hyphen + 1 : space;
}

}  // namespace

std::vector<std::string> WrapParagraph(std::string_view text, const WrapStyle& style) {
  const Chunker chunker(text, style.break_on_hyphens);
  std::vector<std::u32string_view> chunks = chunker.Run();
  std::vector<std::string> lines;
  for (size_t at = 0; at < chunks.size();) {
    std::vector<std::u32string_view> line;
    size_t length = 0;
    if (!lines.empty() && IsBlank(chunks[at])) ++at;
    while (at < chunks.size() && length + chunks[at].size() <= style.width) {
      length += chunks[at].size();
      line.push_back(chunks[at++]);
    }
    if (at < chunks.size() && chunks[at].size() > style.width) {
      if (style.break_long_words) {
        const size_t part = PartOfLongChunk(chunks[at], style.width - length, style.break_on_hyphens);
        line.push_back(chunks[at].substr(0, part));
        chunks[at].remove_prefix(part);
      } else if (line.empty()) {
        line.push_back(chunks[at++]);
      }
    }
    if (!line.empty() && IsBlank(line.back())) line.pop_back();
    if (line.empty()) continue;
    std::string& out = lines.emplace_back();
    for (const auto chunk : line) {
      for (const char32_t c : chunk) AppendUtf8(&out, c);
    }
  }
  return lines;
}

}  // namespace prefixd::jinja
