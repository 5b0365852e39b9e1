// Tier: where the KV of a node may lie. The kernels read the device tier only. Plain values; any thread.
#pragma once

#include <array>
#include <cstdint>

namespace prefixd {

// From the fastest tier to the slowest. The device and host tiers are pools of blocks in memory; the disk
// tier and the remote tier, which other daemons share, are stores of records under block keys.
enum class Tier : uint8_t { kDevice, kHost, kDisk, kRemote };
inline constexpr int kTiers = 4;
inline constexpr int kPoolTiers = 2;  // those that are pools: kDevice and kHost
inline constexpr std::array kLowerTiers = {Tier::kHost, Tier::kDisk, Tier::kRemote};

constexpr bool HasRecords(Tier tier) { return tier >= Tier::kDisk; }

}  // namespace prefixd
