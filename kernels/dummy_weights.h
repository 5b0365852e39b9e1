// Dummy weights: numbers that stand for weights where only the shape of a model counts (`--load dummy`). A
// number is a function of a seed and of its place, so every backend, on any number of threads and in any
// process, makes the same ones. Pure functions, for host and device.
//
//   DummyBits    the output of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
//                generators", 2014), number `index` of the generator that begins with the state `seed`
//   DummyWeight  its upper 24 bits as a number from -2^23 to 2^23 - 1, times largest / 2^23, in f32. Who
//                stores it rounds it to the stored type, as kernels/numerics.h does.
//
// A change, here or of the seeds (model/model_loader.h), needs another kDummyWeightsName, which is part of
// the model fingerprint.
#pragma once

#include <cstdint>
#include <string_view>

namespace prefixd {

inline constexpr std::string_view kDummyWeightsName = "dummy-1";

constexpr uint64_t DummyBits(uint64_t seed, uint64_t index) {
  uint64_t bits = seed + (index + 1) * 0x9E3779B97F4A7C15u;
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9u;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBu;
  return bits ^ (bits >> 31);
}

// Within [-largest, largest).
constexpr float DummyWeight(uint64_t seed, uint64_t index, float largest) {
  const auto number = static_cast<int32_t>(DummyBits(seed, index) >> 40) - (1 << 23);
  return static_cast<float>(number) * (largest * 0x1p-23f);
}

}  // namespace prefixd
