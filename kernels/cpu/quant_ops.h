// QuantOps is a table of functions like Ops (ops.h, whose rules hold here, too): the products of quantised
// weights by numerics rule 9, for one instruction set.
//
// Weights lie in panels of kQuantPanel outputs (QuantMatrix); the last panel is padded with zeros. In a panel
// each block of 32 columns has
//
//   q8_0   [8][kQuantPanel][4] i8:  of step s, output j and k: column 4 s + k
//   q4_0   [4][kQuantPanel][4] u8:  of step s, output j and k: column 4 s + k in the low half of the byte,
//                                   column 4 s + k + 16 in the high half
//
// and the f16 scales [blocks][kQuantPanel] come after all blocks. So a step of 4 columns is a 32-bit lane of
// each output, which is what the instructions multiply and add.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/weight_format.h"

namespace prefixd::cpu {

inline constexpr int kQuantPanel = 16;

// y[r][n] (+)= the product of row r of x and row n of the weights.
struct QuantJob {
  const std::byte* weights;
  size_t panel_bytes;
  WeightFormat::Kind kind;  // kQ8_0 or kQ4_0
  int outputs;
  int blocks;          // of 32 columns
  const std::byte* x;  // groups of QuantOps::tile_rows rows, each packed by QuantOps::pack_rows
  int rows;
  float* y;  // [rows][outputs], rows `stride` floats apart
  int stride;
  bool accumulate;  // add to y instead of overwriting it
};

// The bytes of a block of one packed row of x: a scale, the sum of the integers, and the integers.
inline constexpr size_t kQuantRowBlockBytes = 8 + kQuantBlock;

struct QuantOps {
  int tile_rows;
  // Computes the panels first_panel .. end_panel - 1 of the row groups first_group .. end_group - 1.
  void (*gemm)(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group);
  // Quantises x[count][blocks * 32] and packs it as one group of QuantJob::x, for weights of `kind`. For each
  // block: [count] scales, [count] sums of the integers as i32, and the integers [8][count][4].
  void (*pack_rows)(WeightFormat::Kind kind, const float* x, int count, int blocks, std::byte* packed);
};

const QuantOps& Avx2QuantOps();
const QuantOps& Avx512QuantOps();
const QuantOps& Avx512VnniQuantOps();

}  // namespace prefixd::cpu
