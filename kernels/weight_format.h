// WeightFormat: how the elements of a weight matrix are stored. A matrix is row-major. A row is a sequence of
// blocks of columns; the elements of a block share what the format stores once for them, such as a scale.
// Every DType is a format, with blocks of one element. A quantised format stores integers:
//
//   q8_0   blocks of 32: an f16 scale d, then i8 q[32]; element k is d * q[k]
//   q4_0   blocks of 32: an f16 scale d, then 16 bytes with q[32], each 0 to 15, q[k] in the low half of byte
//          k and q[k + 16] in its high half; element k is d * (q[k] - 8)
//   others the blocks of 32 or 256 that GGUF files have for the type of this name: kernels/quant_format.h
//          says what they store, kernels/quant_run.cc where
//
// All are the bytes of the formats of the same names in GGUF files, little-endian. kernels/quantize.h makes
// the first two and reads all, kernels/numerics.h (rule 9) defines their products. Matrices of a model may
// have different formats. Plain values; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "kernels/kv_layout.h"

namespace prefixd {

class WeightFormat {
 public:
  enum Kind : uint8_t {
    kF32,
    kF16,
    kBF16,
    kQ8_0,  // the first that is quantised
    kQ4_0,
    kQ4_1,
    kQ5_0,
    kQ5_1,
    kIQ4_NL,
    kMXFP4,
    kQ2_K,
    kQ3_K,
    kQ4_K,
    kQ5_K,
    kQ6_K,
    kIQ4_XS,
  };
  static constexpr int kKinds = kIQ4_XS + 1;

  constexpr WeightFormat() = default;
  // Both are implicit: a kind and an element type are formats.
  constexpr WeightFormat(Kind kind) : kind_(kind) {}
  constexpr WeightFormat(DType dtype)
      : kind_(dtype == DType::kF32   ? kF32
              : dtype == DType::kF16 ? kF16
                                     : kBF16) {}

  constexpr Kind kind() const { return kind_; }
  constexpr bool quantized() const { return kind_ >= kQ8_0; }
  constexpr std::string_view name() const { return row().name; }
  // The type of the elements. Requires a format that is not quantised.
  DType dtype() const {
    PREFIXD_CHECK(!quantized()) << name();
    return kind_ == kF32 ? DType::kF32 : kind_ == kF16 ? DType::kF16 : DType::kBF16;
  }

  constexpr int block() const { return row().block; }  // columns
  constexpr size_t block_bytes() const { return row().bytes; }
  // Whether a row of so many columns is a whole number of blocks.
  constexpr bool Fits(int cols) const { return cols % block() == 0; }
  // Requires columns that fit.
  size_t RowBytes(int cols) const {
    PREFIXD_CHECK(Fits(cols)) << cols << " columns of " << name();
    return static_cast<size_t>(cols / block()) * block_bytes();
  }

  friend constexpr bool operator==(WeightFormat a, WeightFormat b) { return a.kind_ == b.kind_; }

 private:
  struct Row {
    std::string_view name;
    int block;
    size_t bytes;
  };
  constexpr Row row() const {
    constexpr int kLarge = 256;
    constexpr Row kRows[] = {
        {"f32", 1, 4},
        {"f16", 1, 2},
        {"bf16", 1, 2},
        {"q8_0", kQuantBlock, 2 + 32},
        {"q4_0", kQuantBlock, 2 + 16},
        {"q4_1", kQuantBlock, 2 + 2 + 16},
        {"q5_0", kQuantBlock, 2 + 4 + 16},
        {"q5_1", kQuantBlock, 2 + 2 + 4 + 16},
        {"iq4_nl", kQuantBlock, 2 + 16},
        {"mxfp4", kQuantBlock, 1 + 16},
        {"q2_k", kLarge, 16 + 64 + 2 + 2},
        {"q3_k", kLarge, 32 + 64 + 12 + 2},
        {"q4_k", kLarge, 2 + 2 + 12 + 128},
        {"q5_k", kLarge, 2 + 2 + 12 + 32 + 128},
        {"q6_k", kLarge, 128 + 64 + 16 + 2},
        {"iq4_xs", kLarge, 2 + 2 + 4 + 128},
    };
    static_assert(sizeof kRows / sizeof kRows[0] == kKinds);
    return kRows[kind_];
  }

  Kind kind_ = kF32;
};

}  // namespace prefixd
