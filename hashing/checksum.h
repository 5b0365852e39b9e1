// The checksum of stored bytes: XXH3-64, seed 0. It finds damage by accident (bit rot, torn writes), not by
// an attacker. Pure function; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace prefixd {

uint64_t Checksum(std::span<const std::byte> bytes);

}  // namespace prefixd
