// AllFinite: looks for NaN and infinity in stored KV. A pure function; any thread.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/kv_layout.h"

namespace prefixd {

// Whether none of the elements of `dtype` in `bytes`, which is a multiple of their size long and may have any
// alignment, is NaN or infinite.
bool AllFinite(std::span<const std::byte> bytes, DType dtype);

}  // namespace prefixd
