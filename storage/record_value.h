// What a record on the disk is worth per byte: how often and how lately it was used, times what it costs to
// compute it again. Uses count by the LRFU rule (Lee et al., "LRFU: a spectrum of policies", 2001): every use
// has the weight 1 at its time, and weights halve with every half-life. Time is counted in bytes that were
// written to the store, so a store that nobody writes to forgets nothing.
//
// A weight is kept as its logarithm at tick 0, the heat: a record of heat h has the weight 2^(h - tick) at
// `tick`. So nothing needs to be updated while time passes. Pure functions; any thread.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace prefixd {

// Ticks are half-lives: half of the capacity written halves a weight.
inline double TicksOf(uint64_t written_bytes, uint64_t capacity) {
  return static_cast<double>(written_bytes) / (static_cast<double>(capacity) / 2);
}

// The heat of a record that is used once, at `tick`.
inline float FirstHeat(double tick) { return static_cast<float>(tick); }
// The heat after another use.
inline float AddUse(float heat, double tick) {
  return static_cast<float>(tick + std::log2(1 + std::exp2(heat - tick)));
}

// The cost per byte on a scale of 256 steps, 16 of which double it.
inline uint8_t CostClass(double cost, uint64_t bytes) {
  const double per_mebibyte = cost * (1 << 20) / static_cast<double>(std::max<uint64_t>(bytes, 1));
  return static_cast<uint8_t>(std::clamp(16 * std::log2(std::max(per_mebibyte, 1.0)), 0.0, 255.0));
}

// The logarithm of the worth of a byte, comparable among records at any one time.
inline double LogWorth(float heat, uint8_t cost_class) { return heat + cost_class / 16.0; }

}  // namespace prefixd
