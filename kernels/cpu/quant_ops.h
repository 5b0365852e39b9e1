// QuantOps is a table of functions like Ops (ops.h, whose rules hold here, too): the products of quantised
// weights by numerics rule 9, for one instruction set.
//
// Weights lie in panels of kQuantPanel outputs (QuantMatrix); the last panel is padded with zeros. A panel
// has the codes of each run of 32 columns, and after all of them what each block of its format has besides
// (kernels/quant_format.h). Both take as many bytes as in the format.
//
// Columns of a run are taken in steps of 4. Its codes of p bits are
//
//   [p][kQuantPanel][4] bytes   word w of output j is the bytes [w][j][0 .. 3]. The p bits of byte [w][j][k]
//                               from bit p i on are the code of step s = w + p i, column 4 s + k. The bits
//                               that are left of each byte are those of the last steps (PiecesOf)
//
// so that a step is a 32-bit lane of each output, which is what the instructions multiply and add. Codes of 8
// bits are stored as the integers that they stand for, i8. A block has
//
//   [kQuantPanel] f16 or u8     the scales d
//   [kQuantPanel] f16           the offsets m, if the format has them
//   [bytes][kQuantPanel]        its factors: of 8 bits one a byte; else the low halves of two a byte,
//                               followed by the higher two bits of four a byte, if they have 6. A run has
//                               c[0], n[0], c[1], n[1]; or those of them that the format has
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/quant_format.h"

namespace prefixd::cpu {

inline constexpr int kQuantPanel = 16;
inline constexpr int kQuantSteps = kQuantBlock / 4;  // of a run

// Where a part of the codes of a step is: the `bits` bits of each code from bit `to` on are those of its byte
// of word `word` from bit `at` on.
struct CodePiece {
  int word, at, to, bits;
};
struct CodePieces {
  int count;
  CodePiece piece[3];
};

// Returns the pieces of the codes of `bits` bits of a step. The first steps lie whole in their bytes. The
// others take what is left in the bytes of the first word, of the second, and so on, bit after bit. Requires
// 2 to 6 or 8 bits.
constexpr CodePieces PiecesOf(int bits, int step) {
  const int whole = 8 / bits * bits, left = 8 - whole;  // bits of a byte
  CodePieces pieces = {};
  if (step < whole) {
    pieces.piece[pieces.count++] = {.word = step % bits, .at = step / bits * bits, .to = 0, .bits = bits};
    return pieces;
  }
  int from = (step - whole) * bits;  // of what is left in all words
  for (int to = 0; to < bits;) {
    const int first = from % left, rest = bits - to;
    const int taken = left - first < rest ? left - first : rest;
    pieces.piece[pieces.count++] = {.word = from / left, .at = whole + first, .to = to, .bits = taken};
    from += taken;
    to += taken;
  }
  return pieces;
}

// y[r][n] (+)= the product of row r of x and row n of the weights.
struct QuantJob {
  const std::byte* weights;
  size_t panel_bytes;
  WeightFormat::Kind kind;  // quantised
  int outputs;
  int blocks;          // of x: runs of 32 columns
  const std::byte* x;  // groups of QuantOps::tile_rows rows, each packed by QuantOps::pack_rows
  int rows;
  float* y;  // [rows][outputs], rows `stride` floats apart
  int stride;
  bool accumulate;  // add to y instead of overwriting it
};

// How many sums a run of a packed row of x has, of 4 bytes.
constexpr int SumsOfX(const QuantFormat& format) { return format.offset && format.by_half ? 2 : 1; }
// The bytes of such a run: scale, sums, and integers of `integer_bytes` bytes.
constexpr size_t RowBlockBytes(const QuantFormat& format, size_t integer_bytes) {
  return size_t{4} * static_cast<size_t>(1 + SumsOfX(format)) + integer_bytes * kQuantBlock;
}

struct QuantOps {
  int tile_rows;
  int panels_together;  // that gemm multiplies at the same time, if it is given as many, by many rows
  // Computes the panels first_panel .. end_panel - 1 of the row groups first_group .. end_group - 1.
  void (*gemm)(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group);
  // Quantises x[count][blocks * 32] and packs it as one group of QuantJob::x, whose job has `rows` rows, for
  // weights of `kind`. For each run: [count] scales, [SumsOfX][count] sums, and the integers [8][count][4],
  // to which an instruction set may add 128, or which it may have as rows, [count][32], or as i16:
  // [8][2][count][2], the first and third of four before the second and fourth. The sums are the T of rule 9
  // as f32 if the kind has an offset, else those of each half as i16.
  void (*pack_rows)(WeightFormat::Kind kind, const float* x, int count, int rows, int blocks,
                    std::byte* packed);
  // The bytes of a run of a row that pack_rows packs for such a job; fewer than those of its floats.
  size_t (*row_block_bytes)(WeightFormat::Kind kind, int rows);
};

const QuantOps& Avx2QuantOps();
const QuantOps& Avx512QuantOps();
const QuantOps& Avx512VnniQuantOps();
const QuantOps& AmxQuantOps();  // where AmxRunsHere (amx.h)

}  // namespace prefixd::cpu
