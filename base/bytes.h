// Bytes that other processes read too: little-endian numbers, and sizes in human-readable form. Pure
// functions; any thread.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/status.h"

namespace prefixd {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "prefixd supports little-endian machines only");

// Appends the bytes of an integer or float, little-endian.
template <typename T>
void PutLittle(std::string* out, T value) {
  static_assert(std::is_arithmetic_v<T>);
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Reads a little-endian number. `from` may have any alignment; requires sizeof(T) readable bytes.
template <typename T>
T GetLittle(const void* from) {
  static_assert(std::is_arithmetic_v<T>);
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Parses "4096", "64KiB", "2 GiB" or "1.5GB" into bytes. KiB MiB GiB TiB are powers of 1024, KB MB GB TB of
// 1000. kInvalidArgument: the text is not a size.
Result<uint64_t> ParseSize(std::string_view text);
// Formats 1572864 as "1.5 MiB".
std::string FormatSize(uint64_t bytes);

}  // namespace prefixd
