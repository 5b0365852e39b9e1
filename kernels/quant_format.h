// QuantFormat: what a quantised format (kernels/weight_format.h) stores, in the terms that all of them share.
// A row is a sequence of runs of kQuantBlock columns. Number k of a run is
//
//   d * c[k / 16] * q[k]                     or, in a format with an offset,
//   d * c[k / 16] * q[k] + m * n[k / 16]
//
// d and m are fractions that a block stores once. The factors c and n are integers; they are 1 in a format
// that has none. q[k] is an integer too, for which a code of a few bits stands. Each product is exact in f32.
// kernels/quant_run.h reads a run, and kernels/numerics.h (rule 9) defines the products of runs.
//
// Constants only. The sources of one instruction set use them in constant expressions (cpu/ops.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>

#include "kernels/weight_format.h"

namespace prefixd {

struct QuantFormat {
  int bits;                            // of a code: 2 to 6, or 8
  int zero = 0;                        // q = code - zero
  const uint8_t* codebook = nullptr;   // or, if there is one, codebook[code] - zero
  int factor_bits = 0;                 // 4, 6 or 8, and then signed; 0: there are no factors
  int factor_zero = 0;                 // a factor is what is stored, less this
  bool by_half = false;                // factors are of 16 columns; else c[0] = c[1] and n[0] = n[1]
  bool offset = false;                 // there is an m
  bool offset_factors = false;         // there are n, and m is the negative of what is stored
  bool exponent = false;               // d is a power of two in one byte (E8M0), else f16; m is f16
  size_t scale_at = 0, offset_at = 0;  // the bytes of a block where d and m are

  constexpr int runs() const { return factor_bits == 0 ? 1 : 8; }  // of a block
  constexpr int FactorsOfRun() const {
    return factor_bits == 0 ? 0 : (by_half ? 2 : 1) * (offset_factors ? 2 : 1);
  }
  constexpr int FactorBytes() const { return runs() * FactorsOfRun() * factor_bits / 8; }  // of a block
  constexpr int LeastFactor() const { return factor_bits == 0 ? 1 : factor_bits == 8 ? -128 : -factor_zero; }
  constexpr int LargestFactor() const {
    return factor_bits == 0 ? 1 : factor_bits == 8 ? 127 : (1 << factor_bits) - 1 - factor_zero;
  }
  constexpr int ScaleBytes() const { return exponent ? 1 : 2; }
  constexpr int HeadBytes() const { return ScaleBytes() + (offset ? 2 : 0) + FactorBytes(); }
  // Of a code, or of an entry of the codebook.
  constexpr int Largest() const {
    int largest = codebook == nullptr ? (1 << bits) - 1 : 0;
    for (int code = 0; codebook != nullptr && code < 1 << bits; ++code)
      largest = codebook[code] > largest ? codebook[code] : largest;
    return largest;
  }
};

// The integers of IQ4_NL and IQ4_XS, plus 128, and those of MXFP4, the doubled numbers of E2M1, plus 12.
inline constexpr uint8_t kUnevenCodebook[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                                129, 141, 153, 166, 181, 197, 217, 241};
inline constexpr uint8_t kE2M1Codebook[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

// Requires a quantised format.
constexpr QuantFormat QuantFormatOf(WeightFormat format) {
  constexpr QuantFormat kFormats[] = {
      // kQ8_0, kQ4_0, kQ4_1, kQ5_0, kQ5_1, kIQ4_NL, kMXFP4
      {.bits = 8, .zero = 128},
      {.bits = 4, .zero = 8},
      {.bits = 4, .offset = true, .offset_at = 2},
      {.bits = 5, .zero = 16},
      {.bits = 5, .offset = true, .offset_at = 2},
      {.bits = 4, .zero = 128, .codebook = kUnevenCodebook},
      {.bits = 4, .zero = 12, .codebook = kE2M1Codebook, .exponent = true},
      // kQ2_K, kQ3_K, kQ4_K, kQ5_K, kQ6_K, kIQ4_XS
      {.bits = 2,
       .factor_bits = 4,
       .by_half = true,
       .offset = true,
       .offset_factors = true,
       .scale_at = 80,
       .offset_at = 82},
      {.bits = 3, .zero = 4, .factor_bits = 6, .factor_zero = 32, .by_half = true, .scale_at = 108},
      {.bits = 4, .factor_bits = 6, .offset = true, .offset_factors = true, .offset_at = 2},
      {.bits = 5, .factor_bits = 6, .offset = true, .offset_factors = true, .offset_at = 2},
      {.bits = 6, .zero = 32, .factor_bits = 8, .by_half = true, .scale_at = 208},
      {.bits = 4, .zero = 128, .codebook = kUnevenCodebook, .factor_bits = 6, .factor_zero = 32},
  };
  static_assert(std::size(kFormats) == WeightFormat::kKinds - WeightFormat::kQ8_0);
  return kFormats[format.kind() - WeightFormat::kQ8_0];
}

}  // namespace prefixd
