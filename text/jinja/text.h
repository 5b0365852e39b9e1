// Python's str, on UTF-8: what its methods do to text, and how Python spells numbers and strings. Positions
// and lengths are in code points wherever Python's are. Pure functions, any thread. Bytes that are not UTF-8
// count as one character each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace prefixd::jinja {

// Python's int, as far as chat templates need it: all of int64 and uint64, and operators that refuse to
// overflow.
using Int = __int128;

// The bytes of the character at `at` (1 to 4); `at` < text.size().
size_t CharacterSize(std::string_view text, size_t at);
// The code point of the character at `at`; U+FFFD where it is not UTF-8.
char32_t CharacterAt(std::string_view text, size_t at);
void AppendUtf8(std::string* out, char32_t code_point);
size_t CountCharacters(std::string_view text);
bool IsValidUtf8(std::string_view text);
bool IsSpace(char32_t c);  // str.isspace

enum class Side { kLeft, kRight, kBoth };
// str.strip and kin: whitespace, or any of the characters in `set`.
std::string_view Strip(std::string_view text, Side side, std::optional<std::string_view> set = std::nullopt);

// str.split and str.rsplit on whitespace or on a separator (not empty); at most `max` splits where `max` >=
// 0.
std::vector<std::string_view> SplitSpace(std::string_view text, int64_t max, bool from_right);
std::vector<std::string_view> SplitOn(std::string_view text, std::string_view separator, int64_t max,
                                      bool from_right);
std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends);

// Where `what` first stands in `text` from `from` on, or npos; takes time in proportion to both, whatever
// they hold, which std::string_view::find does not.
size_t FindText(std::string_view text, std::string_view what, size_t from = 0);

// How often str.replace would replace; an empty `old` stands between all characters.
size_t CountOccurrences(std::string_view text, std::string_view old);
std::string Replace(std::string_view text, std::string_view old, std::string_view with, int64_t count);

// Unicode's full case mappings, which may change the length; Lower knows the sigma at the end of a word.
std::string Lower(std::string_view text);
std::string Upper(std::string_view text);
std::string Capitalize(std::string_view text);
std::string TitleMethod(std::string_view text);  // str.title: a word is a run of cased letters
std::string TitleFilter(
    std::string_view text);  // the filter `title`: a word begins after white space or one of -({[<

// str.isalpha and kin: there is a character, and all satisfy the class.
enum class CharacterClass { kAlpha, kDecimal, kDigit, kAlnum, kSpace, kPrintable };
bool AllOf(std::string_view text, CharacterClass which);
bool IsCased(std::string_view text, bool upper);  // str.isupper, str.islower

// Positions that a Python slice of a sequence of `length` visits: start, start + step, ... `count` of them.
struct SliceRange {
  int64_t start = 0;
  int64_t step = 1;
  size_t count = 0;
};
SliceRange ResolveSlice(std::optional<Int> start, std::optional<Int> stop, Int step, size_t length);
std::string SliceText(std::string_view text, const SliceRange& range, size_t length);

std::string EscapeHtml(std::string_view text);   // & < > ' " as MarkupSafe writes them
std::string QuotePython(std::string_view text);  // repr(str)
std::string IntText(Int value);
std::string IntDigits(Int value, unsigned base, bool upper);   // of the magnitude
std::string FloatText(double value);                           // repr(float)
std::optional<Int> ParseInt(std::string_view text, int base);  // int(str, base); base 0, 2 to 36
std::optional<double> ParseFloat(std::string_view text);       // float(str)

}  // namespace prefixd::jinja
