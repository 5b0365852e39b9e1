// FNV-1a, 64 bits (Fowler, Noll, Vo): a hash of a few bytes, where neither speed nor an adversary counts. The
// keys of the cache are made by hashing/. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace prefixd {

inline constexpr uint64_t kFnvEmpty = 0xCBF29CE484222325u;  // of no bytes

// Adds a byte; a larger number is added as a whole.
constexpr uint64_t FnvAdd(uint64_t hash, uint64_t value) { return (hash ^ value) * 0x100000001B3u; }

constexpr uint64_t FnvAdd(uint64_t hash, std::string_view text) {
  for (const char c : text) hash = FnvAdd(hash, static_cast<unsigned char>(c));
  return hash;
}

}  // namespace prefixd
