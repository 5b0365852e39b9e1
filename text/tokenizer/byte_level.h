// The byte-level alphabet of GPT-2. Each of the 256 bytes has a printable code point, so that any bytes can
// be spelled as a token. The 188 bytes that print in Latin-1 are their own code points; the others map to
// U+0100 and up. Pure functions over constant tables; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace prefixd {

// Returns the code point of a byte, as UTF-8 of one or two bytes.
std::string_view SpellByte(unsigned char byte);
// Returns SpellByte of all bytes, joined.
std::string SpellBytes(std::string_view bytes);
// Returns the bytes that `text` (valid UTF-8) spells; nothing if a code point is not in the alphabet.
std::optional<std::string> UnspellBytes(std::string_view text);

}  // namespace prefixd
