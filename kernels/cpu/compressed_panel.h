// A compressed panel has bf16 weights in about three quarters of their bytes, without loss: a product of few
// rows takes as long as its weights take to come from memory. The upper byte of a weight holds its sign and
// seven of the eight bits of its exponent. A panel has few different upper bytes, so four bits name one.
// packed_matrix.h says what a panel is. Pure functions; any thread.
//
// A panel of `outputs` outputs, a multiple of 16, and `terms` terms, a multiple of 4, is
//   steps       [terms / 4], each of 4 terms: codes [outputs / 16][32], then lower bytes [outputs / 16][64]
//   table       [16] upper bytes, by code
//   count       of the exceptions, u32, and 12 bytes that are not used
//   exceptions  CompressedException [count], in ascending order: weights whose upper byte the table lacks
// and memory that is not used. The bytes of 16 outputs and 4 terms lie in the order of the bytes of two
// vectors of pairs of terms, interleaved in runs of 8: the first two terms of outputs 0 to 3, the last two of
// outputs 0 to 3, the first two of outputs 4 to 7 and so on. Code i < 32 is the lower half of byte i, code
// i + 32 its upper half.
#pragma once

#include <cstddef>
#include <cstdint>

namespace prefixd::cpu {

inline constexpr int kCompressedTerms = 4;                              // of a step
inline constexpr size_t kCompressedCodes = 32, kCompressedLowers = 64;  // bytes of 16 outputs in a step
inline constexpr size_t kCompressedTable = 16;
inline constexpr size_t kCompressedHeader = 32;  // the table, the count, and what is not used
inline constexpr int kMostCompressedOutputs = 64;

struct CompressedException {
  uint32_t place;  // of the weight in the panel as PackedMatrix has it
  uint16_t value;
  uint16_t unused;
};

// Compresses a panel where it lies, 16-byte aligned. Returns false, and leaves it as it is, if more than one
// weight of 64 would be an exception. Requires outputs <= kMostCompressedOutputs, terms >= 8, and less than
// 2^31 weights.
bool CompressPanel(std::byte* panel, int outputs, int terms);

// Writes the weights of output `output`, 0 <= output < outputs, to row[terms], widened.
void ReadCompressedRow(const std::byte* panel, int outputs, int terms, int output, float* row);
// The bytes of a compressed panel that a product reads.
size_t CompressedBytes(const std::byte* panel, int outputs, int terms);

}  // namespace prefixd::cpu
