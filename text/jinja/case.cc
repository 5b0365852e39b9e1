// Case conversion of Python's str: the full case mappings of Unicode.
#include <utf8proc.h>

#include <algorithm>
#include <utility>

#include "text/jinja/text.h"

namespace prefixd::jinja {
namespace {

utf8proc_category_t Category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

bool InRanges(char32_t c, const std::pair<char32_t, char32_t>* begin,
              const std::pair<char32_t, char32_t>* end) {
  return std::any_of(begin, end, [&](const auto& range) { return c >= range.first && c <= range.second; });
}

// Unicode's Other_Uppercase and Other_Lowercase: characters that count as upper or lower case although their
// category is not that of a letter of that case.
constexpr std::pair<char32_t, char32_t> kOtherUpper[] = {
    {0x2160, 0x216F}, {0x24B6, 0x24CF}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};
constexpr std::pair<char32_t, char32_t> kOtherLower[] = {
    {0xAA, 0xAA},       {0xBA, 0xBA},       {0x2B0, 0x2B8},     {0x2C0, 0x2C1},    {0x2E0, 0x2E4},
    {0x345, 0x345},     {0x37A, 0x37A},     {0x1D2C, 0x1D6A},   {0x1D78, 0x1D78},  {0x1D9B, 0x1DBF},
    {0x2071, 0x2071},   {0x207F, 0x207F},   {0x2090, 0x209C},   {0x2170, 0x217F},  {0x24D0, 0x24E9},
    {0x2C7C, 0x2C7D},   {0xA69C, 0xA69D},   {0xA770, 0xA770},   {0xA7F8, 0xA7F9},  {0xAB5C, 0xAB5F},
    {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA}};

bool IsUpper(char32_t c) {
  return Category(c) == UTF8PROC_CATEGORY_LU || InRanges(c, std::begin(kOtherUpper), std::end(kOtherUpper));
}
bool IsLower(char32_t c) {
  return Category(c) == UTF8PROC_CATEGORY_LL || InRanges(c, std::begin(kOtherLower), std::end(kOtherLower));
}
bool IsCasedLetter(char32_t c) { return IsUpper(c) || IsLower(c) || Category(c) == UTF8PROC_CATEGORY_LT; }

// Unicode's Case_Ignorable: characters that the rule for a final sigma skips.
bool IsCaseIgnorable(char32_t c) {
  constexpr std::u32string_view kPunctuation =
      U"'.:\u00B7\u0387\u055F\u05F4\u2018\u2019\u2024\u2027\uFE13\uFE52\uFE55\uFF07\uFF0E\uFF1A";
  const auto category = Category(c);
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_ME ||
         category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_LM ||
         category == UTF8PROC_CATEGORY_SK || kPunctuation.find(c) != std::u32string_view::npos;
}

constexpr char32_t kCapitalSigma = 0x3A3;

// Returns whether the sigma at `at` is final: a cased letter precedes it and none follows it.
bool EndsWord(std::string_view text, size_t at) {
  size_t before = at;
  const auto back = [&] {
    do --before;
    while (before > 0 && (static_cast<unsigned char>(text[before]) & 0xC0) == 0x80);
    return CharacterAt(text, before);
  };
  bool cased = false;
  while (before > 0) {
    const char32_t c = back();
    if (IsCaseIgnorable(c)) continue;
    cased = IsCasedLetter(c);
    break;
  }
  if (!cased) return false;
  for (size_t after = at + CharacterSize(text, at); after < text.size();
       after += CharacterSize(text, after)) {
    const char32_t c = CharacterAt(text, after);
    if (!IsCaseIgnorable(c)) return !IsCasedLetter(c);
  }
  return true;
}

using Mapped = std::u32string;

Mapped FoldOf(char32_t c) {
  utf8proc_int32_t folded[4];
  int boundary = UTF8PROC_BOUNDCLASS_START;
  const auto size =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), folded, 4, UTF8PROC_CASEFOLD, &boundary);
  if (size <= 0 || size > 4) return {c};
  return Mapped(folded, folded + size);
}

Mapped LowerOf(std::string_view text, size_t at, char32_t c) {
  if (c == kCapitalSigma) return {EndsWord(text, at) ? char32_t{0x3C2} : char32_t{0x3C3}};
  if (c == 0x130) return U"i\u0307";
  return {static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)))};
}

// A character that folds to several letters has the same number of letters in upper case.
Mapped UpperOf(char32_t c) {
  const auto simple = [](char32_t x) {
    return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(x)));
  };
  Mapped folded = FoldOf(c);
  if (folded.size() == 1 || Category(c) == UTF8PROC_CATEGORY_LU) return {simple(c)};
  std::transform(folded.begin(), folded.end(), folded.begin(), simple);
  return folded;
}

Mapped TitleOf(char32_t c) {
  constexpr char32_t kIota = 0x3B9, kIotaBelow = 0x345;
  const auto simple = static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c)));
  Mapped folded = FoldOf(c);
  const bool one = folded.size() == 1 || (simple != c && c != 0xDF) || Category(c) == UTF8PROC_CATEGORY_LU ||
                   Category(c) == UTF8PROC_CATEGORY_LT;  // utf8proc maps U+00DF, the sharp s, to U+1E9E
  if (one) return {simple};
  if (c == 0x149) return UpperOf(c);
  folded[0] = TitleOf(folded[0])[0];
  if (folded.back() == kIota) folded.back() = kIotaBelow;
  return folded;
}

// Returns `text` with each character replaced by map(character, position). Keeps bytes that are not valid
// UTF-8.
template <typename Map>
std::string MapCharacters(std::string_view text, Map map) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const char32_t c = CharacterAt(text, at);
    const size_t size = CharacterSize(text, at);
    const Mapped mapped = map(c, at);
    if (mapped.size() == 1 && mapped[0] == c) {
      out.append(text, at, size);
    } else {
      for (const char32_t m : mapped) AppendUtf8(&out, m);
    }
    at += size;
  }
  return out;
}

}  // namespace

std::string Lower(std::string_view text) {
  return MapCharacters(text, [&](char32_t c, size_t at) { return LowerOf(text, at, c); });
}

std::string Upper(std::string_view text) {
  return MapCharacters(text, [](char32_t c, size_t) { return UpperOf(c); });
}

std::string Capitalize(std::string_view text) {
  return MapCharacters(text,
                       [&](char32_t c, size_t at) { return at == 0 ? TitleOf(c) : LowerOf(text, at, c); });
}

std::string TitleMethod(std::string_view text) {
  bool inside = false;
  return MapCharacters(text, [&](char32_t c, size_t at) {
    const bool was_inside = std::exchange(inside, IsCasedLetter(c));
    return was_inside ? LowerOf(text, at, c) : TitleOf(c);
  });
}

std::string TitleFilter(std::string_view text) {
  const auto separates = [](char32_t c) {
    return IsSpace(c) || std::u32string_view(U"-({[<").find(c) != std::u32string_view::npos;
  };
  std::string out;
  for (size_t begin = 0; begin < text.size();) {
    const bool separator = separates(CharacterAt(text, begin));
    const size_t first = CharacterSize(text, begin);
    size_t end = begin + first;
    while (end < text.size() && separates(CharacterAt(text, end)) == separator)
      end += CharacterSize(text, end);
    out += Upper(text.substr(begin, first)) + Lower(text.substr(begin + first, end - begin - first));
    begin = end;
  }
  return out;
}

bool IsCased(std::string_view text, bool upper) {
  bool any = false;
  for (size_t at = 0; at < text.size(); at += CharacterSize(text, at)) {
    const char32_t c = CharacterAt(text, at);
    if (Category(c) == UTF8PROC_CATEGORY_LT || (upper ? IsLower(c) : IsUpper(c))) return false;
    any = any || (upper ? IsUpper(c) : IsLower(c));
  }
  return any;
}

}  // namespace prefixd::jinja
