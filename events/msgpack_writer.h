// Writes the types of msgpack that KV events have, each in its shortest form
// (https://github.com/msgpack/msgpack/blob/master/spec.md). Debian's libraries for msgpack need the headers
// of Boost 1.74, which cannot be installed beside those of 1.81.
//
// Pure functions that append to `out`; any thread.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace prefixd::msgpack {

// Appends `bytes` bytes of the number, the highest first.
inline void PutBig(std::string* out, uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) out->push_back(static_cast<char>(value >> (8 * i)));
}

inline void PutTagged(std::string* out, uint8_t tag, uint64_t value, int bytes) {
  out->push_back(static_cast<char>(tag));
  PutBig(out, value, bytes);
}

inline void PutNil(std::string* out) { out->push_back(static_cast<char>(0xc0)); }

inline void PutUnsigned(std::string* out, uint64_t value) {
  if (value < 0x80) return out->push_back(static_cast<char>(value));
  if (value <= UINT8_MAX) return PutTagged(out, 0xcc, value, 1);
  if (value <= UINT16_MAX) return PutTagged(out, 0xcd, value, 2);
  if (value <= UINT32_MAX) return PutTagged(out, 0xce, value, 4);
  PutTagged(out, 0xcf, value, 8);
}

inline void PutDouble(std::string* out, double value) {
  PutTagged(out, 0xcb, std::bit_cast<uint64_t>(value), 8);
}

// Requires text.size() < 2^32.
inline void PutText(std::string* out, std::string_view text) {
  if (text.size() < 32) {
    out->push_back(static_cast<char>(0xa0 | text.size()));
  } else if (text.size() <= UINT8_MAX) {
    PutTagged(out, 0xd9, text.size(), 1);
  } else if (text.size() <= UINT16_MAX) {
    PutTagged(out, 0xda, text.size(), 2);
  } else {
    PutTagged(out, 0xdb, text.size(), 4);
  }
  out->append(text);
}

// The head of an array; its `size` items follow. Requires size < 2^32.
inline void PutArray(std::string* out, size_t size) {
  if (size < 16) return out->push_back(static_cast<char>(0x90 | size));
  if (size <= UINT16_MAX) return PutTagged(out, 0xdc, size, 2);
  PutTagged(out, 0xdd, size, 4);
}

// The head of a map of fewer than 16 keys; each key and its value follow.
inline void PutSmallMap(std::string* out, size_t size) { out->push_back(static_cast<char>(0x80 | size)); }

}  // namespace prefixd::msgpack
