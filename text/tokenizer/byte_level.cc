#include "text/tokenizer/byte_level.h"

#include <array>
#include <cstdint>

#include "text/tokenizer/unicode.h"

namespace prefixd {
namespace {

constexpr char32_t kAlphabetEnd = 0x144;  // 0x100 + the 68 bytes that do not print

bool Prints(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

struct Alphabet {
  std::array<std::string, 256> spelled;
  std::array<int16_t, kAlphabetEnd> byte_of;  // -1: not in the alphabet

  Alphabet() {
    byte_of.fill(-1);
    char32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const char32_t point = Prints(byte) ? static_cast<char32_t>(byte) : next++;
      AppendUtf8(&spelled[byte], point);
      byte_of[point] = static_cast<int16_t>(byte);
    }
  }
};

const Alphabet& TheAlphabet() {
  static const Alphabet alphabet;
  return alphabet;
}

}  // namespace

std::string_view SpellByte(unsigned char byte) { return TheAlphabet().spelled[byte]; }

std::string SpellBytes(std::string_view bytes) {
  const Alphabet& alphabet = TheAlphabet();
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char byte : bytes) out += alphabet.spelled[static_cast<unsigned char>(byte)];
  return out;
}

std::optional<std::string> UnspellBytes(std::string_view text) {
  const Alphabet& alphabet = TheAlphabet();
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size(); at += Utf8Length(text[at])) {
    const char32_t point = Utf8At(&text[at]);
    if (point >= kAlphabetEnd || alphabet.byte_of[point] < 0) return std::nullopt;
    out += static_cast<char>(alphabet.byte_of[point]);
  }
  return out;
}

}  // namespace prefixd
