// WeightFormat: how the elements of a weight matrix are stored. A matrix is row-major. A row is a run of
// blocks of columns; the elements of a block share what the format stores once for them, such as a scale.
// Every DType is a format, with blocks of one element. A quantised format stores integers:
//
//   q8_0   blocks of 32: an f16 scale d, then i8 q[32]; element k is d * q[k]
//   q4_0   blocks of 32: an f16 scale d, then 16 bytes with q[32], each 0 to 15, q[k] in the low half of byte
//          k and q[k + 16] in its high half; element k is d * (q[k] - 8)
//
// These are the bytes of the formats of the same names in GGUF files, little-endian. kernels/quantize.h makes
// and reads them, kernels/numerics.h (rule 9) defines their products. Matrices of a model may have different
// formats. Plain values; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "kernels/kv_layout.h"

namespace prefixd {

class WeightFormat {
 public:
  enum Kind : uint8_t { kF32, kF16, kBF16, kQ8_0, kQ4_0 };

  constexpr WeightFormat() = default;
  // Both are implicit: a kind and an element type are formats.
  constexpr WeightFormat(Kind kind) : kind_(kind) {}
  constexpr WeightFormat(DType dtype)
      : kind_(dtype == DType::kF32   ? kF32
              : dtype == DType::kF16 ? kF16
                                     : kBF16) {}

  constexpr Kind kind() const { return kind_; }
  constexpr bool quantized() const { return kind_ == kQ8_0 || kind_ == kQ4_0; }
  constexpr std::string_view name() const {
    constexpr std::string_view kNames[] = {"f32", "f16", "bf16", "q8_0", "q4_0"};
    return kNames[kind_];
  }
  // The type of the elements. Requires a format that is not quantised.
  DType dtype() const {
    PREFIXD_CHECK(!quantized()) << name();
    return kind_ == kF32 ? DType::kF32 : kind_ == kF16 ? DType::kF16 : DType::kBF16;
  }

  constexpr int block() const { return quantized() ? kQuantBlock : 1; }
  constexpr size_t block_bytes() const {
    constexpr size_t kBytes[] = {4, 2, 2, 2 + kQuantBlock, 2 + kQuantBlock / 2};
    return kBytes[kind_];
  }
  // Whether a row of so many columns is a whole number of blocks.
  constexpr bool Fits(int cols) const { return cols % block() == 0; }
  // Requires columns that fit.
  size_t RowBytes(int cols) const {
    PREFIXD_CHECK(Fits(cols)) << cols << " columns of " << name();
    return static_cast<size_t>(cols / block()) * block_bytes();
  }

  friend constexpr bool operator==(WeightFormat a, WeightFormat b) { return a.kind_ == b.kind_; }

 private:
  Kind kind_ = kF32;
};

}  // namespace prefixd
