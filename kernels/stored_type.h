// StoredType: how a file of weights stores the elements of a tensor. The types of safetensors that kernels
// read are among them, and those of GGUF. Each is a format of kernels/weight_format.h, by the name that files
// have for it. A backend without kernels for a format gets such weights widened.
//
// The tests compare every bit of the numbers with the library gguf. Plain values and pure functions; any
// thread.
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
  using Kind = WeightFormat::Kind;
  using enum WeightFormat::Kind;
  static constexpr int kKinds = WeightFormat::kKinds;

  // Both are implicit: a kind and an element type are types.
  constexpr StoredType(Kind kind) : format_(kind) {}
  constexpr StoredType(DType dtype) : format_(dtype) {}

  constexpr Kind kind() const { return format_.kind(); }
  constexpr WeightFormat format() const { return format_; }
  // The name in GGUF, and in safetensors where that has the type: "Q4_1".
  std::string_view name() const;
  // The element type of a type whose blocks have one element.
  std::optional<DType> dtype() const;
  size_t block() const { return static_cast<size_t>(format_.block()); }  // elements
  size_t block_bytes() const { return format_.block_bytes(); }
  // Requires whole blocks.
  size_t Bytes(size_t elements) const;

  friend constexpr bool operator==(StoredType a, StoredType b) { return a.format_ == b.format_; }

 private:
  WeightFormat format_;
};

// The names of all types, for messages: "F32, F16, ...".
std::string NamesOfStoredTypes();

// Writes the numbers of `elements`, which are whole blocks, to `to`. `from` may have any alignment.
void WidenStored(StoredType type, const std::byte* from, size_t elements, float* to);

// Whether all numbers of whole blocks are finite.
bool StoredFinite(StoredType type, std::span<const std::byte> bytes);

}  // namespace prefixd
