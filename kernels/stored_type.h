// StoredType: how a file of weights stores the elements of a tensor. The types of safetensors that kernels
// read are among them, and those of GGUF. A row is a run of blocks; the elements of a block share what the
// type stores once for them, such as a scale. kernels/weight_format.h has the formats that kernels multiply
// with: a type whose bytes are those of a format stays as it is while weights load, any other is widened.
//
// WidenStored is the definition of the numbers that a type stores. It is plain code, and the tests compare
// every bit with the library gguf. Plain values and pure functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "kernels/kv_layout.h"
#include "kernels/weight_format.h"

namespace prefixd {

class StoredType {
 public:
  enum Kind : uint8_t {
    kF32,
    kF16,
    kBF16,
    kQ8_0,
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

  // Both are implicit: a kind and an element type are types.
  constexpr StoredType(Kind kind) : kind_(kind) {}
  constexpr StoredType(DType dtype)
      : kind_(dtype == DType::kF32   ? kF32
              : dtype == DType::kF16 ? kF16
                                     : kBF16) {}

  constexpr Kind kind() const { return kind_; }
  // The name in GGUF, and in safetensors where that has the type: "Q4_1".
  std::string_view name() const;
  // The element type of a type whose blocks have one element.
  std::optional<DType> dtype() const;
  // The format that has the same bytes, if there is one.
  std::optional<WeightFormat> format() const;

  size_t block() const;        // elements
  size_t block_bytes() const;  // of a block
  // Requires whole blocks.
  size_t Bytes(size_t elements) const;

  friend constexpr bool operator==(StoredType a, StoredType b) { return a.kind_ == b.kind_; }

 private:
  Kind kind_;
};

// The names of all types, for messages: "F32, F16, ...".
std::string NamesOfStoredTypes();

// Writes the numbers of `elements`, which are whole blocks, to `to`. `from` may have any alignment.
void WidenStored(StoredType type, const std::byte* from, size_t elements, float* to);

// Whether all numbers of whole blocks are finite.
bool StoredFinite(StoredType type, std::span<const std::byte> bytes);

}  // namespace prefixd
