// Seeded random numbers. Everything random in prefixd is a function of a seed that a log line or a test
// names. The functions are pure; a Prng has one owner.
#pragma once

#include <cstdint>

#include "base/check.h"

namespace prefixd {

// One step of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
constexpr uint64_t SplitMix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

// A value for (seed, index) without state: the same pair gives the same bits everywhere.
constexpr uint64_t RandomAt(uint64_t seed, uint64_t index) {
  return SplitMix64(SplitMix64(seed) ^ SplitMix64(~index));
}

// The top 53 bits as a double in [0, 1).
constexpr double ToUnitInterval(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1.0p-53; }

// A stream of values; one owner.
class Prng {
 public:
  // The seed is mixed first. Without that, neighbouring seeds give the same stream, shifted by one.
  explicit Prng(uint64_t seed) : state_(SplitMix64(seed)) {}
  uint64_t Next() { return SplitMix64(state_ += 0x9E3779B97F4A7C15ull); }
  // Uniform in [0, bound); bound > 0. The bias is below 2^-32 for the bounds in use.
  uint64_t Below(uint64_t bound) {
    PREFIXD_CHECK(bound > 0);
    return static_cast<uint64_t>((static_cast<__uint128_t>(Next()) * bound) >> 64);
  }
  // Uniform in [low, high]; low <= high, and not all of int64_t.
  int64_t Between(int64_t low, int64_t high) {
    PREFIXD_CHECK(low <= high) << low << " > " << high;
    return low + static_cast<int64_t>(Below(static_cast<uint64_t>(high - low) + 1));
  }
  double Unit() { return ToUnitInterval(Next()); }
  bool Chance(double probability) { return Unit() < probability; }

 private:
  uint64_t state_;
};

}  // namespace prefixd
