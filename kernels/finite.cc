#include "kernels/finite.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "base/check.h"

namespace prefixd {

// An element is finite unless all bits of its exponent are set. The loop takes eight bytes at a time. It
// inverts the exponent bits and clears all others, so an element that is not finite becomes 0. Adding one
// less than the highest bit then carries into that bit for every finite element.
bool AllFinite(std::span<const std::byte> bytes, DType dtype) {
  PREFIXD_CHECK(bytes.size() % DTypeBytes(dtype) == 0) << bytes.size();
  constexpr uint64_t kEvery32 = 0x0000000100000001, kEvery16 = 0x0001000100010001;
  const uint64_t exponent = dtype == DType::kF32   ? kEvery32 * 0x7F800000
                            : dtype == DType::kF16 ? kEvery16 * 0x7C00
                                                   : kEvery16 * 0x7F80;
  const uint64_t top = dtype == DType::kF32 ? kEvery32 << 31 : kEvery16 << 15;
  const uint64_t below_top = dtype == DType::kF32 ? kEvery32 * 0x7FFFFFFF : kEvery16 * 0x7FFF;
  constexpr size_t kLanes = 8;  // independent chains, so that the compiler can vectorise them
  std::array<uint64_t, kLanes> finite;
  finite.fill(top);
  for (; bytes.size() >= sizeof finite; bytes = bytes.subspan(sizeof finite)) {
    std::array<uint64_t, kLanes> words;
    std::memcpy(words.data(), bytes.data(), sizeof words);
    for (size_t i = 0; i < kLanes; ++i) finite[i] &= (~words[i] & exponent) + below_top;
  }
  std::array<uint64_t, kLanes> rest{};  // bytes past the end count as finite
  if (!bytes.empty()) std::memcpy(rest.data(), bytes.data(), bytes.size());
  for (size_t i = 0; i < kLanes; ++i) finite[i] &= (~rest[i] & exponent) + below_top;
  return std::ranges::all_of(finite, [&](uint64_t lane) { return lane == top; });
}

bool AllFinite(std::span<const std::byte> block, const KvLayout& layout) {
  PREFIXD_CHECK(block.size() == layout.BlockBytes()) << block.size() << " of " << layout.BlockBytes();
  if (layout.type.has_dtype()) return AllFinite(block, layout.type.dtype());
  if (layout.type == KvType::kFp8)
    return std::ranges::none_of(block, [](std::byte b) { return (b & std::byte{0x7F}) == std::byte{0x7F}; });
  // The numbers are products with integers, so they are finite where the scales are.
  for (; !block.empty(); block = block.subspan(layout.PlaneBytes()))
    if (!AllFinite(block.first(layout.PlaneBytes()).subspan(layout.ScalesOffset()), DType::kF16))
      return false;
  return true;
}

}  // namespace prefixd
