// Tier: where the KV of a node may lie. The kernels read the device tier only. Plain values; any thread.
#pragma once

#include <cstdint>

namespace prefixd {

// From the fastest tier to the slowest. The device and host tiers are pools of blocks in memory; the disk
// tier is a store of records under block keys.
enum class Tier : uint8_t { kDevice, kHost, kDisk };
inline constexpr int kTiers = 3;
inline constexpr int kPoolTiers = 2;  // those that are pools: kDevice and kHost

}  // namespace prefixd
