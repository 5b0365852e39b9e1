// SHA-256 and HMAC-SHA256, by OpenSSL. Pure functions; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace prefixd {

using Digest = std::array<uint8_t, 32>;

Digest Sha256(std::string_view bytes);
Digest HmacSha256(std::string_view key, std::string_view message);

// Compares every byte, so that the time tells nothing.
bool EqualInConstantTime(const Digest& a, const Digest& b);

inline std::string_view BytesOf(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}
std::string ToHex(const Digest& digest);  // 64 lower-case digits
// Empty: the text is not 64 hexadecimal digits.
std::optional<Digest> DigestFromHex(std::string_view text);

}  // namespace prefixd
