// Python's str on UTF-8: its methods, and how Python writes and reads numbers. Positions and lengths are in
// code points where Python's are. Pure functions, any thread. A byte that is not part of valid UTF-8 counts
// as one character.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/marked_text.h"

namespace prefixd::jinja {

// Python's int, limited to 127 bits and a sign. Operators raise on overflow.
using Int = __int128;

// Returns the number of bytes of the character at `at`, 1 to 4. Requires at < text.size().
size_t CharacterSize(std::string_view text, size_t at);
// Returns the code point of the character at `at`, or U+FFFD when it is not valid UTF-8.
char32_t CharacterAt(std::string_view text, size_t at);
void AppendUtf8(std::string* out, char32_t code_point);
size_t CountCharacters(std::string_view text);
bool IsValidUtf8(std::string_view text);
bool IsSpace(char32_t c);  // str.isspace

enum class Side { kLeft, kRight, kBoth };
// str.strip, lstrip and rstrip: removes white space, or the characters in `set`.
std::string_view Strip(std::string_view text, Side side, std::optional<std::string_view> set = std::nullopt);

// str.split and str.rsplit, on white space or on a separator, which must not be empty. At most `max` splits;
// any number when `max` is negative. The results point into `text`.
std::vector<std::string_view> SplitSpace(std::string_view text, int64_t max, bool from_right);
std::vector<std::string_view> SplitOn(std::string_view text, std::string_view separator, int64_t max,
                                      bool from_right);
std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends);

// Returns the position in bytes of the first `what` in `text` at or after `from`, or npos. Takes linear time
// for any input, which std::string_view::find does not.
size_t FindText(std::string_view text, std::string_view what, size_t from = 0);

// Returns how many times str.replace would replace `old`. An empty `old` matches between all characters.
size_t CountOccurrences(std::string_view text, std::string_view old);
MarkedText Replace(const MarkedText& text, std::string_view old, const MarkedText& with, int64_t count);

// Unicode's full case mappings, which may change the length. Lower handles a final sigma.
std::string Lower(std::string_view text);
std::string Upper(std::string_view text);
std::string Capitalize(std::string_view text);
// str.title: a word is a run of cased letters.
std::string TitleMethod(std::string_view text);
// The filter `title`: a word begins after white space or one of -({[<
std::string TitleFilter(std::string_view text);

// str.isalpha, isdigit and so on: whether `text` is not empty and all characters are in the class.
enum class CharacterClass { kAlpha, kDecimal, kDigit, kAlnum, kSpace, kPrintable };
bool AllOf(std::string_view text, CharacterClass which);
bool IsCased(std::string_view text, bool upper);  // str.isupper, str.islower

// The positions that a Python slice selects: start, start + step and so on, `count` of them.
struct SliceRange {
  int64_t start = 0;
  int64_t step = 1;
  size_t count = 0;
};
SliceRange ResolveSlice(std::optional<Int> start, std::optional<Int> stop, Int step, size_t length);
MarkedText SliceText(const MarkedText& text, const SliceRange& range, size_t length);

std::string EscapeHtml(std::string_view text);  // escapes & < > ' " as MarkupSafe does
std::string ReprStr(std::string_view text);     // repr(str)
std::string ReprInt(Int value);
std::string IntDigits(Int value, unsigned base, bool upper);   // digits of the magnitude
std::string ReprFloat(double value);                           // repr(float)
std::optional<Int> ParseInt(std::string_view text, int base);  // int(str, base); base is 0 or 2 to 36
std::optional<double> ParseFloat(std::string_view text);       // float(str)

}  // namespace prefixd::jinja
