// Reads quantised weights run by run (kernels/quant_format.h), and makes blocks of numbers of them. This is
// the definition of the numbers that a quantised format stores: plain code, which the tests compare bit for
// bit with the library gguf. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/quant_format.h"

namespace prefixd {

inline constexpr int kQuantHalf = kQuantBlock / 2;  // columns that share their factors

struct QuantRun {
  float scale = 0, offset = 0;     // d and m
  int factors[2] = {1, 1};         // c
  int offset_factors[2] = {1, 1};  // n
  uint8_t codes[kQuantBlock];
};

// Returns run `run` of a block. Requires a quantised format and a run that its blocks have.
QuantRun ReadRun(WeightFormat format, const std::byte* block, int run);

// Returns q of a code.
inline int IntegerOf(const QuantFormat& format, uint8_t code) {
  return (format.codebook != nullptr ? format.codebook[code] : code) - format.zero;
}

// Writes the numbers of a run to out[kQuantBlock]. The sum with an offset is rounded.
void WidenRun(const QuantFormat& format, const QuantRun& run, float* out);

// Returns d where it is stored at `at`.
float ReadScale(const QuantFormat& format, const std::byte* at);

}  // namespace prefixd
