#include "grammar/code_points.h"

#include <algorithm>

namespace prefixd::grammar {
namespace {

const CodePointSet kDigits = {{'0', '9'}};
const CodePointSet kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CodePointSet kSpace = {{'\t', '\r'}, {' ', ' '}};
const CodePointSet kMostDigits = {{'0', '9'}, {0x660, kLastCodePoint}};
const CodePointSet kMostWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}, {0x80, kLastCodePoint}};
const CodePointSet kMostSpace = {{'\t', '\r'},     {0x1C, ' '},      {0x85, 0x85},     {0xA0, 0xA0},
                                 {0x1680, 0x1680}, {0x180E, 0x180E}, {0x2000, 0x200B}, {0x2028, 0x2029},
                                 {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};

}  // namespace

CodePointSet Normal(CodePointSet set) {
  std::sort(set.begin(), set.end(), [](auto a, auto b) { return a.first < b.first; });
  CodePointSet out;
  for (const CodePointRange& range : set) {
    if (!out.empty() && range.first <= out.back().last + 1) {
      out.back().last = std::max(out.back().last, range.last);
    } else {
      out.push_back(range);
    }
  }
  return out;
}

CodePointSet Complement(const CodePointSet& set) {
  CodePointSet out;
  uint32_t next = 0;
  for (const CodePointRange& range : set) {
    if (next < range.first) out.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCodePoint) out.push_back({next, kLastCodePoint});
  return out;
}

CodePointSet NamedClass(char letter, bool most) {
  switch (letter) {
    case 'd':
      return most ? kMostDigits : kDigits;
    case 'w':
      return most ? kMostWord : kWord;
    case 's':
      return most ? kMostSpace : kSpace;
    case 'D':
      return Complement(most ? kDigits : kMostDigits);
    case 'W':
      return Complement(most ? kWord : kMostWord);
    default:
      return Complement(most ? kSpace : kMostSpace);
  }
}

size_t CompleteBytes(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<uint8_t>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const size_t length = byte < 0xC0 || byte > 0xF4 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
    return length > back ? text.size() - back : text.size();
  }
  return text.size();
}

}  // namespace prefixd::grammar
