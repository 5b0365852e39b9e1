// Bytes as lower-case hex digits, for tests of bytes.
#pragma once

#include <string>
#include <string_view>

namespace prefixd::testing_support {

inline std::string Hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (const char byte : bytes) {
    hex += kDigits[static_cast<unsigned char>(byte) >> 4];
    hex += kDigits[static_cast<unsigned char>(byte) & 15];
  }
  return hex;
}

}  // namespace prefixd::testing_support
