// Bytes that have a meaning outside this process: little-endian numbers, and sizes as people write them.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/status.h"

namespace prefixd {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the formats of prefixd are written by little-endian machines");

// Appends the bytes of an integer or float, little-endian.
template <typename T>
void PutLittle(std::string* out, T value) {
  static_assert(std::is_arithmetic_v<T>);
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Reads from memory of any alignment; the caller has checked that sizeof(T) bytes are there.
template <typename T>
T GetLittle(const void* from) {
  static_assert(std::is_arithmetic_v<T>);
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// "4096", "64KiB", "2 GiB", "1.5GB" -> bytes. KiB MiB GiB TiB are powers of 1024, KB MB GB TB of 1000.
Result<uint64_t> ParseSize(std::string_view text);
// 1572864 -> "1.5 MiB".
std::string FormatSize(uint64_t bytes);

}  // namespace prefixd
