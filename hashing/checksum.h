// The checksum of stored bytes: XXH3-64 with seed 0. It detects accidental damage (bit rot, torn writes), not
// an attack. Pure function; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace prefixd {

uint64_t Checksum(std::span<const std::byte> bytes);

}  // namespace prefixd
