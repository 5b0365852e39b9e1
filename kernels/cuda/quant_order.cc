#include "kernels/cuda/quant_order.h"

#include <cstring>

#include "base/check.h"

namespace prefixd::cuda {

size_t DeviceRowBytes(WeightFormat format, int cols) {
  if (!format.quantized()) return format.RowBytes(cols);
  return static_cast<size_t>(QuantRowBytes(QuantBits(format), cols));
}

void PackQuantizedRows(WeightFormat format, int cols, const std::byte* from, int rows, std::byte* to) {
  PREFIXD_CHECK(format.quantized() && format.Fits(cols)) << cols << " columns of " << format.name();
  constexpr size_t kScaleBytes = 2;
  const size_t block_bytes = format.block_bytes(), row_bytes = DeviceRowBytes(format, cols);
  const auto scales = static_cast<size_t>(IntegerBytes(QuantBits(format), cols));
  for (int row = 0; row < rows; ++row, to += row_bytes) {
    std::memset(to + scales, 0, row_bytes - scales);
    for (size_t b = 0; b < static_cast<size_t>(cols / kQuantBlock); ++b, from += block_bytes) {
      std::memcpy(to + scales + b * kScaleBytes, from, kScaleBytes);
      std::memcpy(to + b * (block_bytes - kScaleBytes), from + kScaleBytes, block_bytes - kScaleBytes);
    }
  }
}

}  // namespace prefixd::cuda
