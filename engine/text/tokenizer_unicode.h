// Text as the tokenizer sees it: UTF-8 that is valid or made so, the classes of code points that split words,
// and NFC. All functions are pure and may be called from any thread.
//
// Invariants
//   1. Classes follow Unicode 16, whatever version the libraries below have: what they lack is in
//   NewerCodePoints().
//   2. Functions that say "valid UTF-8" of an argument do not check it; RepairUtf8 makes any bytes so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace prefixd {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// What stands at the beginning of some bytes. An invalid part is maximal in the sense of the Unicode
// standard, chapter 3, "U+FFFD substitution of maximal subparts": one U+FFFD stands for it.
struct Utf8Part {
  enum Kind : unsigned char { kValid, kInvalid, kIncomplete };
  size_t length;  // in bytes; for kIncomplete all that is there
  Kind kind;
};
// `bytes` is not empty. kIncomplete: all of it is a proper prefix of a code point.
Utf8Part FirstUtf8Part(std::string_view bytes);

bool IsValidUtf8(std::string_view bytes);
// The same text with U+FFFD for every maximal invalid part.
std::string RepairUtf8(std::string_view bytes);
void AppendUtf8(std::string* out, char32_t code_point);

// Length in bytes of the code point whose first byte this is; valid UTF-8.
inline size_t Utf8Length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}
// Decodes the code point at `at`; valid UTF-8.
inline char32_t Utf8At(const char* at) {
  const auto* p = reinterpret_cast<const unsigned char*>(at);
  if (p[0] < 0x80) return p[0];
  if (p[0] < 0xE0) return static_cast<char32_t>((p[0] & 0x1F) << 6 | (p[1] & 0x3F));
  if (p[0] < 0xF0) return static_cast<char32_t>((p[0] & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F));
  return static_cast<char32_t>((p[0] & 0x07) << 18 | (p[1] & 0x3F) << 12 | (p[2] & 0x3F) << 6 |
                               (p[3] & 0x3F));
}

// The split that all pre-tokenisers in use rest on: \p{L}, \p{N}, White_Space, and the rest.
enum class CodePointClass : uint8_t { kOther, kLetter, kNumber, kSpace };
CodePointClass ClassOf(char32_t code_point);
bool IsWhiteSpace(char32_t code_point);  // the property White_Space
// \w of Unicode Technical Standard 18, annex C: alphabetic, marks, decimal digits, connectors, joiners.
bool IsWordCharacter(char32_t code_point);

// Code points that Unicode 15 to 16 gave a general category, for libraries that know version 14 only.
struct NewerCodePoints {
  char32_t first, last;
  char category[3];  // as in "Lo"
};
std::span<const NewerCodePoints> CodePointsNewerThanUnicode14();

// Normalization form C. `text` is valid UTF-8. Time is O(n log n) whatever the text.
std::string NormalizeNfc(std::string_view text);

}  // namespace prefixd
