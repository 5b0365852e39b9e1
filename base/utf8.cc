#include "base/utf8.h"

#include "base/check.h"

namespace prefixd {
namespace {

// For a first byte: how many bytes follow, and the range of the second byte (Unicode standard, table 3-7).
// following is -1 when no code point begins with the byte.
struct Lead {
  int following;
  unsigned char low, high;
};
Lead LeadOf(unsigned char first) {
  if (first >= 0xC2 && first <= 0xDF) return {1, 0x80, 0xBF};
  if (first == 0xE0) return {2, 0xA0, 0xBF};
  if (first == 0xED) return {2, 0x80, 0x9F};
  if (first >= 0xE1 && first <= 0xEF) return {2, 0x80, 0xBF};
  if (first == 0xF0) return {3, 0x90, 0xBF};
  if (first >= 0xF1 && first <= 0xF3) return {3, 0x80, 0xBF};
  if (first == 0xF4) return {3, 0x80, 0x8F};
  return {-1, 0, 0};
}

}  // namespace

Utf8Part FirstUtf8Part(std::string_view bytes) {
  PREFIXD_CHECK(!bytes.empty());
  const auto first = static_cast<unsigned char>(bytes[0]);
  if (first < 0x80) return {1, Utf8Part::kValid};
  const Lead lead = LeadOf(first);
  if (lead.following < 0) return {1, Utf8Part::kInvalid};
  unsigned char low = lead.low, high = lead.high;
  const size_t length = static_cast<size_t>(lead.following) + 1;
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {i, Utf8Part::kIncomplete};
    const auto byte = static_cast<unsigned char>(bytes[i]);
    if (byte < low || byte > high) return {i, Utf8Part::kInvalid};
    low = 0x80, high = 0xBF;
  }
  return {length, Utf8Part::kValid};
}

bool IsValidUtf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const Utf8Part part = FirstUtf8Part(bytes);
    if (part.kind != Utf8Part::kValid) return false;
    bytes.remove_prefix(part.length);
  }
  return true;
}

std::string RepairUtf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const Utf8Part part = FirstUtf8Part(bytes);
    out += part.kind == Utf8Part::kValid ? bytes.substr(0, part.length) : kReplacementCharacter;
    bytes.remove_prefix(part.length);
  }
  return out;
}

std::string PrintableLine(std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string line;
  for (const char c : RepairUtf8(bytes)) {
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7F) {
      line += c;
    } else {
      line += std::string("\\u00") + kHex[c >> 4] + kHex[c & 15];
    }
  }
  return line;
}

void AppendUtf8(std::string* out, char32_t c) {
  if (c < 0x80) {
    *out += static_cast<char>(c);
  } else if (c < 0x800) {
    *out += {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
  } else if (c < 0x10000) {
    *out += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3F)),
             static_cast<char>(0x80 | (c & 0x3F))};
  } else {
    *out += {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3F)),
             static_cast<char>(0x80 | (c >> 6 & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
  }
}

}  // namespace prefixd
