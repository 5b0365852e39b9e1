// The order of quantised weights in device memory, and of the rows of activations that multiply them. Pure
// functions, for host and device; PackQuantizedRows is for the host alone.
//
// Both are rows, [rows][cols], that begin at 16 bytes:
//
//   weights        the integers of the row; the f16 scales of its blocks; zeros up to a multiple of 16 bytes
//   activations    the i8 of the row;       the f32 scales of its blocks; up to a multiple of 16 bytes
//
// The integers of a block are those of kernels/weight_format.h: of q8_0 32 bytes, of q4_0 16 bytes, of which
// byte k has the columns k and k + 16. ldmatrix gives to lane l the word l % 4 of 16 bytes of row l / 4,
// which is what its fragments of Mma16832 want: of q8_0 a register, with 4 neighbouring columns; of q4_0 the
// low halves of a word are one register, and the high halves the one with the columns 16 further on. So a
// row is copied straight, and its numbers are expanded in registers.
#pragma once

#include <cstddef>

#include "kernels/cuda/device_base.h"
#include "kernels/kv_layout.h"
#include "kernels/weight_format.h"

namespace prefixd::cuda {

// `bits` of an integer: 8 or 4. All require columns that are whole blocks.
constexpr int QuantBits(WeightFormat format) { return format == WeightFormat::kQ8_0 ? 8 : 4; }
PREFIXD_HOST_DEVICE constexpr int IntegerBytes(int bits, int cols) { return cols * bits / 8; }
PREFIXD_HOST_DEVICE constexpr int RoundedTo16(int bytes) { return (bytes + 15) / 16 * 16; }
// The bytes of a row.
PREFIXD_HOST_DEVICE constexpr int QuantRowBytes(int bits, int cols) {
  return IntegerBytes(bits, cols) + RoundedTo16(cols / kQuantBlock * 2);
}
PREFIXD_HOST_DEVICE constexpr int QuantXRowBytes(int cols) {
  return cols + RoundedTo16(cols / kQuantBlock * 4);
}

// The bytes of a row of any format in device memory.
size_t DeviceRowBytes(WeightFormat format, int cols);
// Brings rows of a quantised format, as they are in files, into this order; writes `rows` times
// DeviceRowBytes bytes.
void PackQuantizedRows(WeightFormat format, int cols, const std::byte* from, int rows, std::byte* to);

}  // namespace prefixd::cuda
