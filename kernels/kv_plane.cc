#include "kernels/kv_plane.h"

#include "kernels/host_memory.h"
#include "kernels/numerics.h"

namespace prefixd {
namespace {

// Of entry i of a token that has `width` of them: elements, or scales.
size_t IndexOf(const KvLayout& layout, KvPart part, int width, int token, int i) {
  const auto of = [](int n) { return static_cast<size_t>(n); };
  return part == KvPart::kK ? of(i) * of(layout.block_tokens) + of(token) : of(token) * of(width) + of(i);
}

}  // namespace

void StoreHead(const KvLayout& layout, KvPart part, int token, const float* head, std::byte* plane) {
  const auto element = [&](int d) { return IndexOf(layout, part, layout.head_dim, token, d); };
  if (layout.type == KvType::kFp8) {
    for (int d = 0; d < layout.head_dim; ++d)
      plane[element(d)] = static_cast<std::byte>(numerics::F32ToE4M3(head[d]));
    return;
  }
  if (!layout.type.quantized()) {
    for (int d = 0; d < layout.head_dim; ++d) StoreElement(plane, layout.type.dtype(), element(d), head[d]);
    return;
  }
  const int scales = layout.type.Scales(layout.head_dim);
  for (int b = 0; b < scales; ++b, head += kQuantBlock) {
    int8_t integers[kQuantBlock];
    const float scale = numerics::QuantizeBlock(head, kQuantBlock, integers);
    for (int k = 0; k < kQuantBlock; ++k)
      plane[element(b * kQuantBlock + k)] = static_cast<std::byte>(integers[k]);
    StoreElement(plane + layout.ScalesOffset(), DType::kF16, IndexOf(layout, part, scales, token, b), scale);
  }
}

float LoadNumber(const KvLayout& layout, KvPart part, const std::byte* plane, int token, int d) {
  const size_t element = IndexOf(layout, part, layout.head_dim, token, d);
  if (layout.type == KvType::kFp8) return numerics::F32FromE4M3(static_cast<uint8_t>(plane[element]));
  if (!layout.type.quantized()) return LoadElement(plane, layout.type.dtype(), element);
  const int scales = layout.type.Scales(layout.head_dim);
  const float scale = LoadElement(plane + layout.ScalesOffset(), DType::kF16,
                                  IndexOf(layout, part, scales, token, d / kQuantBlock));
  return scale * static_cast<float>(static_cast<int8_t>(plane[element]));
}

}  // namespace prefixd
