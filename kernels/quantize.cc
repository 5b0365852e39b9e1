#include "kernels/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "kernels/dummy_weights.h"
#include "kernels/host_memory.h"
#include "kernels/numerics.h"
#include "kernels/quant_run.h"

namespace prefixd {
namespace {

constexpr size_t kScaleBytes = 2;

// Stores the scale of a block. Returns false where it is too large.
bool StoreScale(float scale, std::byte* block) {
  const uint16_t half = numerics::F32ToF16(scale);
  std::memcpy(block, &half, kScaleBytes);
  return (half & 0x7C00u) != 0x7C00u;
}

float Inverse(float scale) {
  return std::abs(scale) >= std::numeric_limits<float>::min() ? 1.0f / scale : 0.0f;
}

bool QuantizeQ8(const float* x, std::byte* block) {
  float largest = 0;
  for (int k = 0; k < kQuantBlock; ++k) largest = std::max(largest, std::abs(x[k]));
  const float scale = largest / 127.0f, inverse = Inverse(scale);
  for (int k = 0; k < kQuantBlock; ++k) {
    const float scaled = x[k] * inverse;  // within -127.1 .. 127.1
    // Half away from 0. What is added has a fraction only below 2^23, so the sum is rounded at most once.
    const float whole = std::trunc(scaled), rest = scaled - whole;
    const float rounded = whole + (rest >= 0.5f ? 1.0f : rest <= -0.5f ? -1.0f : 0.0f);
    block[kScaleBytes + static_cast<size_t>(k)] = static_cast<std::byte>(static_cast<int>(rounded));
  }
  return StoreScale(scale, block);
}

bool QuantizeQ4(const float* x, std::byte* block) {
  float largest = 0;
  for (int k = 0; k < kQuantBlock; ++k) {
    if (std::abs(x[k]) > std::abs(largest)) largest = x[k];
  }
  const float scale = largest / -8.0f, inverse = Inverse(scale);
  const auto integer = [&](int k) { return std::min(15, static_cast<int>(x[k] * inverse + 8.5f)); };
  for (int k = 0; k < kQuantBlock / 2; ++k) {
    block[kScaleBytes + static_cast<size_t>(k)] =
        static_cast<std::byte>(integer(k) | integer(k + kQuantBlock / 2) << 4);
  }
  return StoreScale(scale, block);
}

}  // namespace

bool QuantizeRow(WeightFormat format, const float* x, int cols, std::byte* to) {
  const bool known = format == WeightFormat::kQ8_0 || format == WeightFormat::kQ4_0;
  PREFIXD_CHECK(known && format.Fits(cols)) << cols << " columns of " << format.name();
  bool fits = true;
  for (int k = 0; k < cols; k += kQuantBlock, x += kQuantBlock, to += format.block_bytes())
    fits &= format == WeightFormat::kQ8_0 ? QuantizeQ8(x, to) : QuantizeQ4(x, to);
  return fits;
}

void WidenRow(WeightFormat format, const std::byte* row, int cols, float* out) {
  if (!format.quantized()) {
    const DType dtype = format.dtype();
    for (int k = 0; k < cols; ++k) out[k] = LoadElement(row, dtype, static_cast<size_t>(k));
    return;
  }
  PREFIXD_CHECK(format.Fits(cols)) << cols << " columns of " << format.name();
  const QuantFormat of = QuantFormatOf(format);
  for (int at = 0; at < cols; at += format.block(), row += format.block_bytes()) {
    for (int run = 0; run < of.runs(); ++run, out += kQuantBlock)
      WidenRun(of, ReadRun(format, row, run), out);
  }
}

std::vector<std::byte> DummyRows(const DummyMatrix& dummy, int first_row, int rows) {
  const size_t row_bytes = dummy.format.RowBytes(dummy.cols), cols = static_cast<size_t>(dummy.cols);
  std::vector<std::byte> bytes(static_cast<size_t>(rows) * row_bytes);
  std::vector<float> row(cols);
  for (size_t r = 0; r < static_cast<size_t>(rows); ++r) {
    const uint64_t first = (static_cast<size_t>(first_row) + r) * cols;
    for (size_t k = 0; k < cols; ++k) row[k] = DummyWeight(dummy.seed, first + k, dummy.largest);
    if (!dummy.format.quantized()) {
      for (size_t k = 0; k < cols; ++k)
        StoreElement(bytes.data() + r * row_bytes, dummy.format.dtype(), k, row[k]);
      continue;
    }
    const bool fits = QuantizeRow(dummy.format, row.data(), dummy.cols, bytes.data() + r * row_bytes);
    PREFIXD_CHECK(fits) << "dummy weights of " << dummy.largest << " are too large for "
                        << dummy.format.name();
  }
  return bytes;
}

}  // namespace prefixd
