// Element types, the types of KV, and the layout of one KV block. A block holds the K and V of `block_tokens`
// consecutive tokens for every layer. Pure values; any thread.
//
//   block:   [layer][K|V][kv_head] planes of head_dim * block_tokens elements
//
// The part of one layer is contiguous. So is a whole block in the host tier, in records and on a GPU; in the
// pool with which the CPU backends compute, its layers lie apart (kernels/backend_memory.h).
//
// The order of the elements inside a plane belongs to the backend, which names it in
// Backend::kv_layout_name(). The sizes and offsets below are the same for every order. The CPU backends have
//
//   K plane: [head_dim][block_tokens]
//   V plane: [block_tokens][head_dim]
//
// In the K plane tokens are adjacent: vector lanes run over tokens, and each score is one chain of additions
// over head_dim. In the V plane dimensions are adjacent: vector lanes run over head_dim. bench/README.md has
// the measurements behind this order.
//
// Of the type q8_0 the elements are integers of 8 bits. Each kQuantBlock dimensions of a token have a scale,
// an f16. The scales of a plane follow its elements, in the same order:
//
//   K plane: [head_dim / kQuantBlock][block_tokens]
//   V plane: [block_tokens][head_dim / kQuantBlock]
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"

namespace prefixd {

enum class DType : uint8_t { kF32, kF16, kBF16 };

constexpr size_t DTypeBytes(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }
constexpr std::string_view DTypeName(DType dtype) {
  return dtype == DType::kF32 ? "f32" : dtype == DType::kF16 ? "f16" : "bf16";
}

inline constexpr int kQuantBlock = 32;  // elements that share a scale, in all quantised formats and types

// How K and V are stored: as elements of a DType, as q8_0, or as fp8, which the backend cuda alone computes
// with. kernels/numerics.h defines q8_0 (rule 10) and fp8 (rule 11).
class KvType {
 public:
  enum Kind : uint8_t { kF32, kF16, kBF16, kQ8_0, kFp8 };

  constexpr KvType() = default;
  // Both are implicit: a kind and an element type are types of KV.
  constexpr KvType(Kind kind) : kind_(kind) {}
  constexpr KvType(DType dtype) : kind_(dtype == DType::kF32 ? kF32 : dtype == DType::kF16 ? kF16 : kBF16) {}

  constexpr Kind kind() const { return kind_; }
  constexpr bool quantized() const { return kind_ == kQ8_0; }
  constexpr std::string_view name() const {
    constexpr std::string_view kNames[] = {"f32", "f16", "bf16", "q8_0", "fp8"};
    return kNames[kind_];
  }
  // The type of the elements. Requires that they have one.
  constexpr bool has_dtype() const { return kind_ <= kBF16; }
  DType dtype() const {
    PREFIXD_CHECK(has_dtype()) << name();
    return kind_ == kF32 ? DType::kF32 : kind_ == kF16 ? DType::kF16 : DType::kBF16;
  }

  constexpr size_t element_bytes() const { return kind_ == kF32 ? 4 : has_dtype() ? 2 : 1; }
  // Whether heads of this size can be stored.
  constexpr bool Fits(int head_dim) const { return !quantized() || head_dim % kQuantBlock == 0; }
  // The number of scales of a head, and the bytes of K or V of one token and head. Require a size that fits.
  constexpr int Scales(int head_dim) const { return quantized() ? head_dim / kQuantBlock : 0; }
  constexpr size_t HeadBytes(int head_dim) const {
    return static_cast<size_t>(head_dim) * element_bytes() + static_cast<size_t>(Scales(head_dim)) * 2;
  }

  friend constexpr bool operator==(KvType a, KvType b) { return a.kind_ == b.kind_; }

 private:
  Kind kind_ = kF32;
};

// The Backend::kv_layout_name() of the CPU backends.
inline constexpr std::string_view kCpuKvLayoutName = "layer,K|V,head,K:dim,token,V:token,dim";

struct KvLayout {
  int layers = 0;        // > 0
  int kv_heads = 0;      // > 0
  int head_dim = 0;      // > 0, even; it fits the type
  int block_tokens = 0;  // a power of two
  KvType type;

  // Sizes of one plane, one layer of a block, one block and one token; and the byte offset of a plane in its
  // layer of a block, and in a block that is contiguous.
  constexpr size_t PlaneElements() const { return static_cast<size_t>(head_dim) * block_tokens; }
  constexpr size_t PlaneBytes() const { return type.HeadBytes(head_dim) * block_tokens; }
  constexpr size_t LayerBytes() const { return PlaneBytes() * 2 * kv_heads; }
  constexpr size_t BlockBytes() const { return LayerBytes() * layers; }
  constexpr size_t TokenBytes() const { return BlockBytes() / block_tokens; }
  constexpr size_t KOffset(int head) const { return head * PlaneBytes(); }
  constexpr size_t VOffset(int head) const { return KOffset(kv_heads + head); }
  constexpr size_t KOffset(int layer, int head) const { return layer * LayerBytes() + KOffset(head); }
  constexpr size_t VOffset(int layer, int head) const { return layer * LayerBytes() + VOffset(head); }
  // The byte offset of the scales in a plane of a quantised type.
  constexpr size_t ScalesOffset() const { return PlaneElements() * type.element_bytes(); }

  friend bool operator==(const KvLayout&, const KvLayout&) = default;
};

}  // namespace prefixd
