// The byte-level alphabet of GPT-2: each of the 256 bytes has a printable code point, so that any bytes can
// be spelled as a token. The 188 bytes that print in Latin-1 stand for themselves, the others follow from
// U+0100 on. Pure functions over constant tables; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace prefixd {

// The code point that stands for a byte, as UTF-8 of one or two bytes.
std::string_view SpellByte(unsigned char byte);
// SpellByte of all bytes.
std::string SpellBytes(std::string_view bytes);
// The bytes that `text` (valid UTF-8) spells; nothing when a code point is outside the alphabet.
std::optional<std::string> UnspellBytes(std::string_view text);

}  // namespace prefixd
