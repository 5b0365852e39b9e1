// AllFinite: looks for NaN and infinity in weights and in stored KV. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/kv_layout.h"

namespace prefixd {

// Whether none of the elements of `dtype` in `bytes`, which is a multiple of their size long and may have any
// alignment, is NaN or infinite.
bool AllFinite(std::span<const std::byte> bytes, DType dtype);
// The same for the numbers of a block, which is layout.BlockBytes() long.
bool AllFinite(std::span<const std::byte> block, const KvLayout& layout);

}  // namespace prefixd
