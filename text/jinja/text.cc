#include "text/jinja/text.h"

#include <string.h>
#include <utf8proc.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace prefixd::jinja {
namespace {

constexpr size_t kAll = SIZE_MAX;
constexpr char32_t kReplacement = 0xFFFD;

// Decodes one character and returns its size. An invalid byte gives U+FFFD and the size 1.
size_t Decode(std::string_view text, size_t at, char32_t* code_point) {
  utf8proc_int32_t value = -1;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data() + at);
  const auto size =
      utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(std::min<size_t>(4, text.size() - at)), &value);
  if (size <= 0 || value < 0) {
    *code_point = kReplacement;
    return 1;
  }
  *code_point = static_cast<char32_t>(value);
  return static_cast<size_t>(size);
}

// Returns the start of the character that ends at `end`.
size_t PreviousCharacter(std::string_view text, size_t end) {
  for (size_t back = 1; back <= 4 && back <= end; ++back) {
    const size_t at = end - back;
    if ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) continue;
    return CharacterSize(text, at) == back ? at : end - 1;
  }
  return end - 1;
}

bool InSet(std::string_view set, char32_t c) {
  for (size_t at = 0; at < set.size();) {
    char32_t member;
    at += Decode(set, at, &member);
    if (member == c) return true;
  }
  return false;
}

bool IsLineEnd(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool IsAlpha(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

// Unicode's Numeric_Type=Digit without the decimal digits: superscripts, circled numbers and so on.
bool IsOtherDigit(char32_t c) {
  static constexpr std::pair<char32_t, char32_t> kRanges[] = {
      {0xB2, 0xB3},     {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},   {0x2070, 0x2070},
      {0x2074, 0x2079}, {0x2080, 0x2089},   {0x2460, 0x2468},   {0x2474, 0x247C},   {0x2488, 0x2490},
      {0x24EA, 0x24EA}, {0x24F5, 0x24FD},   {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},
      {0x278A, 0x2792}, {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}};
  return std::any_of(std::begin(kRanges), std::end(kRanges),
                     [&](const auto& range) { return c >= range.first && c <= range.second; });
}

bool IsInClass(char32_t c, CharacterClass which) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  const bool decimal = category == UTF8PROC_CATEGORY_ND;
  switch (which) {
    case CharacterClass::kSpace:
      return IsSpace(c);
    case CharacterClass::kAlpha:
      return IsAlpha(c);
    case CharacterClass::kDecimal:
      return decimal;
    case CharacterClass::kDigit:
      return decimal || IsOtherDigit(c);
    case CharacterClass::kAlnum:
      return IsAlpha(c) || decimal || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
    case CharacterClass::kPrintable:
      return c == ' ' || (category < UTF8PROC_CATEGORY_ZS && category != UTF8PROC_CATEGORY_CN);
  }
  return false;
}

}  // namespace

size_t CharacterSize(std::string_view text, size_t at) {
  char32_t ignored;
  return Decode(text, at, &ignored);
}

char32_t CharacterAt(std::string_view text, size_t at) {
  char32_t c;
  Decode(text, at, &c);
  return c;
}

void AppendUtf8(std::string* out, char32_t code_point) {
  utf8proc_uint8_t bytes[4];
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes);
  out->append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
}

size_t CountCharacters(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); at += CharacterSize(text, at)) ++count;
  return count;
}

bool IsValidUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    utf8proc_int32_t value = -1;
    const auto size =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + at),
                         static_cast<utf8proc_ssize_t>(std::min<size_t>(4, text.size() - at)), &value);
    if (size <= 0 || value < 0) return false;
    at += static_cast<size_t>(size);
  }
  return true;
}

bool IsSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::string_view Strip(std::string_view text, Side side, std::optional<std::string_view> set) {
  const auto strips = [&](char32_t c) { return set ? InSet(*set, c) : IsSpace(c); };
  if (side != Side::kRight) {
    while (!text.empty()) {
      char32_t c;
      const size_t size = Decode(text, 0, &c);
      if (!strips(c)) break;
      text.remove_prefix(size);
    }
  }
  if (side != Side::kLeft) {
    while (!text.empty()) {
      const size_t begin = PreviousCharacter(text, text.size());
      if (!strips(CharacterAt(text, begin))) break;
      text = text.substr(0, begin);
    }
  }
  return text;
}

std::vector<std::string_view> SplitSpace(std::string_view text, int64_t max, bool from_right) {
  std::vector<std::string_view> parts;
  // When `max` ends the splitting, the part at the far side keeps its white space.
  const Side near = from_right ? Side::kRight : Side::kLeft;
  while (!(text = Strip(text, near)).empty()) {
    if (max >= 0 && static_cast<int64_t>(parts.size()) == max) {
      parts.push_back(text);
      break;
    }
    if (from_right) {
      size_t begin = text.size();
      while (begin > 0) {
        const size_t previous = PreviousCharacter(text, begin);
        if (IsSpace(CharacterAt(text, previous))) break;
        begin = previous;
      }
      parts.push_back(text.substr(begin));
      text = text.substr(0, begin);
    } else {
      size_t end = 0;
      while (end < text.size() && !IsSpace(CharacterAt(text, end))) end += CharacterSize(text, end);
      parts.push_back(text.substr(0, end));
      text = text.substr(end);
    }
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> SplitOn(std::string_view text, std::string_view separator, int64_t max,
                                      bool from_right) {
  PREFIXD_CHECK(!separator.empty());
  std::vector<std::string_view> parts;
  while (max < 0 || static_cast<int64_t>(parts.size()) < max) {
    const size_t at = from_right ? text.rfind(separator) : FindText(text, separator);
    if (at == std::string_view::npos) break;
    parts.push_back(from_right ? text.substr(at + separator.size()) : text.substr(0, at));
    text = from_right ? text.substr(0, at) : text.substr(at + separator.size());
  }
  parts.push_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    char32_t c;
    size_t size = Decode(text, at, &c);
    if (IsLineEnd(c)) {
      if (c == '\r' && at + 1 < text.size() && text[at + 1] == '\n') size = 2;
      lines.push_back(text.substr(begin, at - begin + (keep_ends ? size : 0)));
      begin = at + size;
    }
    at += size;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

size_t FindText(std::string_view text, std::string_view what, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  const void* found = memmem(text.data() + from, text.size() - from, what.data(), what.size());
  return found ? static_cast<size_t>(static_cast<const char*>(found) - text.data()) : std::string_view::npos;
}

size_t CountOccurrences(std::string_view text, std::string_view old) {
  if (old.empty()) return CountCharacters(text) + 1;
  size_t count = 0;
  for (size_t at = FindText(text, old); at != std::string_view::npos;
       at = FindText(text, old, at + old.size()))
    ++count;
  return count;
}

MarkedText Replace(const MarkedText& marked, std::string_view old, const MarkedText& with, int64_t count) {
  const std::string_view text = marked.bytes();
  size_t left = count < 0 ? kAll : static_cast<size_t>(count);
  MarkedText out;
  size_t at = 0;
  while (left > 0) {
    const size_t found = FindText(text, old, at);
    if (found == std::string_view::npos) break;
    out.AppendPart(marked, at, found);
    out += with;
    --left;
    at = found + old.size();
    if (!old.empty()) continue;
    if (at == text.size()) return out;
    const size_t size = CharacterSize(text, at);
    out.AppendPart(marked, at, at + size);
    at += size;
  }
  out.AppendPart(marked, at, text.size());
  return out;
}

bool AllOf(std::string_view text, CharacterClass which) {
  for (size_t at = 0; at < text.size();) {
    char32_t c;
    at += Decode(text, at, &c);
    if (!IsInClass(c, which)) return false;
  }
  return !text.empty();
}

SliceRange ResolveSlice(std::optional<Int> start, std::optional<Int> stop, Int step, size_t length) {
  PREFIXD_CHECK(step != 0);
  const Int size = static_cast<Int>(length);
  // Python's slice.indices: a negative bound counts from the end. Bounds are clamped to the positions that a
  // slice in this direction can visit.
  const Int low = step < 0 ? -1 : 0;
  const Int high = step < 0 ? size - 1 : size;
  const auto resolve = [&](std::optional<Int> bound, Int absent) {
    if (!bound) return absent;
    const Int at = *bound < 0 ? *bound + size : *bound;
    return std::clamp(at, low, std::max(low, high));
  };
  const Int from = resolve(start, step < 0 ? high : low);
  const Int to = resolve(stop, step < 0 ? low : high);
  const Int distance = step < 0 ? from - to : to - from;
  const Int stride = std::min(step < 0 ? -step : step, size + 1);  // a longer stride visits no second element
  SliceRange range;
  range.start = static_cast<int64_t>(from);
  range.step = static_cast<int64_t>(step < 0 ? -stride : stride);
  range.count = distance <= 0 ? 0 : static_cast<size_t>((distance + stride - 1) / stride);
  return range;
}

MarkedText SliceText(const MarkedText& marked, const SliceRange& range, size_t length) {
  if (range.count == 0) return {};
  const std::string_view text = marked.bytes();
  std::vector<size_t> offsets;  // of all characters, and the end
  offsets.reserve(length + 1);
  for (size_t at = 0; at < text.size(); at += CharacterSize(text, at)) offsets.push_back(at);
  offsets.push_back(text.size());
  if (range.step == 1) {
    const size_t begin = offsets[static_cast<size_t>(range.start)];
    return marked.Part(begin, offsets[static_cast<size_t>(range.start) + range.count]);
  }
  MarkedText out;
  for (size_t i = 0; i < range.count; ++i) {
    const auto at = static_cast<size_t>(range.start + static_cast<int64_t>(i) * range.step);
    out.AppendPart(marked, offsets[at], offsets[at + 1]);
  }
  return out;
}

std::string EscapeHtml(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace prefixd::jinja
