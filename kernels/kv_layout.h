// Element types, and the layout of one KV block: `block_tokens` consecutive tokens of every layer, contiguous.
// Pure values; any thread.
//
//   block:  [layer][K|V][kv_head] planes of head_dim * block_tokens elements
//   K plane: [head_dim][block_tokens]   so that the lanes of a score run over tokens, each score one chain over head_dim
//   V plane: [block_tokens][head_dim]   so that the lanes of an output run over head_dim
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

// Names the order above in the model fingerprint: KV in another order is another model's KV.
inline constexpr std::string_view kKvLayoutName = "layer,K|V,head,K:dim,token,V:token,dim";

struct KvLayout {
  int layers = 0;
  int kv_heads = 0;
  int head_dim = 0;      // even
  int block_tokens = 0;  // a power of two
  DType dtype = DType::kF32;

  constexpr size_t PlaneElements() const { return static_cast<size_t>(head_dim) * block_tokens; }
  constexpr size_t PlaneBytes() const { return PlaneElements() * DTypeBytes(dtype); }
  constexpr size_t BlockBytes() const { return PlaneBytes() * 2 * layers * kv_heads; }
  constexpr size_t TokenBytes() const { return BlockBytes() / block_tokens; }
  constexpr size_t KOffset(int layer, int head) const {
    return (static_cast<size_t>(layer) * 2 * kv_heads + head) * PlaneBytes();
  }
  constexpr size_t VOffset(int layer, int head) const { return KOffset(layer, head) + kv_heads * PlaneBytes(); }

  friend bool operator==(const KvLayout&, const KvLayout&) = default;
};

}  // namespace prefixd
