// Weights in host memory: makes rows of q8_0 and q4_0 from numbers, and reads the numbers of a row of any
// format. kernels/weight_format.h has the formats. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/backend_memory.h"
#include "kernels/weight_format.h"

namespace prefixd {

// Quantises x[cols] as GGUF files have it. All arithmetic is f32; d is stored rounded to f16, but the
// integers are made with d as it was before that. For a block of numbers x[k]:
//
//   q8_0   d = max |x[k]| / 127; q[k] = x[k] * (1 / d), rounded to the nearest integer, halves away from 0
//   q4_0   d = m / -8, m being the number of the largest |x[k]|, the first of several;
//          q[k] = min(15, x[k] * (1 / d) + 8.5 without its fraction)
//
// Where |d| is below 2^-126, 1 / d counts as 0. Writes format.RowBytes(cols) bytes. Returns false, with
// nothing defined in `to`, when f16 has no finite d. Requires a quantised format that fits, and numbers that
// are finite.
bool QuantizeRow(WeightFormat format, const float* x, int cols, std::byte* to);

// Writes the numbers of a row of any format, at any alignment, to out[cols].
void WidenRow(WeightFormat format, const std::byte* row, int cols, float* out);

// Returns rows of a dummy matrix: its numbers (kernels/dummy_weights.h), rounded to the type, or quantised.
// Requires a format that is not quantised, or one of QuantizeRow.
std::vector<std::byte> DummyRows(const DummyMatrix& dummy, int first_row, int rows);

}  // namespace prefixd
