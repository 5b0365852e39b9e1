// UTF-8: telling valid text from other bytes, and making any bytes valid. Pure functions; any thread.
//
// Functions that say "valid UTF-8" of an argument do not check it; RepairUtf8 makes any bytes so.
#pragma once

#include <cstddef>
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

}  // namespace prefixd
