// Element types, and the layout of one KV block. A block holds the K and V of `block_tokens` consecutive
// tokens for every layer, in one contiguous piece of memory. Pure values; any thread.
//
//   block:   [layer][K|V][kv_head] planes of head_dim * block_tokens elements
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
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace prefixd {

enum class DType : uint8_t { kF32, kF16, kBF16 };

constexpr size_t DTypeBytes(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }
constexpr std::string_view DTypeName(DType dtype) {
  return dtype == DType::kF32 ? "f32" : dtype == DType::kF16 ? "f16" : "bf16";
}

// The Backend::kv_layout_name() of the CPU backends.
inline constexpr std::string_view kCpuKvLayoutName = "layer,K|V,head,K:dim,token,V:token,dim";

struct KvLayout {
  int layers = 0;        // > 0
  int kv_heads = 0;      // > 0
  int head_dim = 0;      // > 0, even
  int block_tokens = 0;  // a power of two
  DType dtype = DType::kF32;

  // Sizes of one plane, one block and one token, and the byte offset of a plane in its block.
  constexpr size_t PlaneElements() const { return static_cast<size_t>(head_dim) * block_tokens; }
  constexpr size_t PlaneBytes() const { return PlaneElements() * DTypeBytes(dtype); }
  constexpr size_t BlockBytes() const { return PlaneBytes() * 2 * layers * kv_heads; }
  constexpr size_t TokenBytes() const { return BlockBytes() / block_tokens; }
  constexpr size_t KOffset(int layer, int head) const {
    return (static_cast<size_t>(layer) * 2 * kv_heads + head) * PlaneBytes();
  }
  constexpr size_t VOffset(int layer, int head) const {
    return KOffset(layer, head) + kv_heads * PlaneBytes();
  }

  friend bool operator==(const KvLayout&, const KvLayout&) = default;
};

}  // namespace prefixd
