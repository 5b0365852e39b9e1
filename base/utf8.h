// UTF-8: validation, repair, encoding and decoding. Pure functions; any thread.
//
// A function that requires valid UTF-8 does not check it. RepairUtf8 makes any bytes valid.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace prefixd {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// The first part of a byte string: a code point, an invalid part, or the begin of a code point whose other
// bytes are missing. An invalid part is a maximal subpart in the sense of the Unicode standard, chapter 3,
// "U+FFFD substitution of maximal subparts": RepairUtf8 replaces it by one U+FFFD.
struct Utf8Part {
  enum Kind : unsigned char { kValid, kInvalid, kIncomplete };
  size_t length;  // in bytes; for kIncomplete the length of the whole string
  Kind kind;
};
// Requires that `bytes` is not empty. Returns kIncomplete when `bytes` ends before the end of its first code
// point.
Utf8Part FirstUtf8Part(std::string_view bytes);

bool IsValidUtf8(std::string_view bytes);
// Returns the text with every invalid part, and an incomplete part at the end, replaced by U+FFFD.
std::string RepairUtf8(std::string_view bytes);
// The same with control characters as the escapes of JSON, so that a terminal shows one line.
std::string PrintableLine(std::string_view bytes);
// Appends the UTF-8 encoding of `code_point`. Does not check that the code point is valid.
void AppendUtf8(std::string* out, char32_t code_point);

// Returns the length in bytes of the code point that begins with `first`. Requires valid UTF-8.
inline size_t Utf8Length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}
// Decodes the code point at `at`. Requires valid UTF-8.
inline char32_t Utf8At(const char* at) {
  const auto* p = reinterpret_cast<const unsigned char*>(at);
  if (p[0] < 0x80) return p[0];
  if (p[0] < 0xE0) return static_cast<char32_t>((p[0] & 0x1F) << 6 | (p[1] & 0x3F));
  if (p[0] < 0xF0) return static_cast<char32_t>((p[0] & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F));
  return static_cast<char32_t>((p[0] & 0x07) << 18 | (p[1] & 0x3F) << 12 | (p[2] & 0x3F) << 6 |
                               (p[3] & 0x3F));
}

}  // namespace prefixd
