// The inner loops of one instruction set as a table of functions over plain structs. The table is all that a
// source compiled for AVX2 or AVX-512 exports: such a source calls no inline function or template from
// outside its own namespace, or the linker might choose its copy for everybody. Functions have no state and
// no threads; callers split the work.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/activation.h"
#include "kernels/kv_layout.h"

namespace prefixd::cpu {

// y[r][n] (+)= sum over k of x[r][k] w[n][k].
struct GemmJob {
  const void* weights;  // panels of Ops::panel outputs, each [terms][panel]; the last one padded with zeros
  DType dtype;
  int outputs;
  int terms;
  const float* x;  // packed: blocks of Ops::tile_rows rows, each [terms][rows of the block]; one row is its
                   // own packing
  int rows;
  float* y;  // [rows][outputs]
  bool accumulate;
};

// Attention of some consecutive positions of one sequence for the heads that share one KV head, over some
// spans.
struct AttendJob {
  const float* q;  // first head of the first position; positions q_stride floats apart, heads head_dim
  int q_stride;
  int group;  // heads
  int head_dim;
  float scale;
  int window;  // tokens that a position sees, itself among them; 0: all up to itself
  int first_position;
  int positions;

  const std::byte* pool;
  size_t block_bytes;
  size_t k_offset;  // of the planes inside a block
  size_t v_offset;
  const uint32_t* blocks;
  int block_tokens;
  DType dtype;

  // The spans first_span .. end_span - 1. Those after a position or before its window are not its own.
  int first_span;
  int end_span;
  // Where all spans are here, the result: out, positions out_stride floats apart, heads head_dim. Otherwise
  // `out` is null and `partial` takes what Ops::fold wants, heads Ops::partial_floats(head_dim) floats apart,
  // positions partial_stride.
  float* out;
  int out_stride;
  float* partial;
  size_t partial_stride;
};

struct Ops {
  int panel;      // outputs per panel
  int tile_rows;  // rows per block of packed x
  void (*gemm)(const GemmJob& job, int first_panel, int end_panel, int first_block, int end_block);
  // Packs x[count][terms] as one block.
  void (*pack_rows)(const float* x, int count, int terms, float* packed);

  void (*rms_norm)(const float* x, const float* weight, float eps, int rows, int dim, float* out);
  void (*rope)(float* x, int heads, int head_dim, const float* cosines);  // sines follow
  void (*add_bias)(const float* bias, int rows, int width, float* x);
  void (*gated_activation)(Activation activation, const float* x, int rows, int width, float* out);
  // Rounds n values to `dtype`; `to` has room for n rounded up to 16.
  void (*narrow)(const float* from, int n, DType dtype, void* to);

  size_t (*attend_scratch)(const AttendJob& job);  // floats
  void (*attend)(const AttendJob& job, float* scratch);
  size_t (*partial_floats)(int head_dim);
  // Folds `spans` partial results, span_stride floats apart, in order; writes head_dim floats. Overwrites the
  // first.
  void (*fold)(float* partials, int spans, size_t span_stride, int head_dim, float* out);
};

const Ops& Avx2Ops();
const Ops& Avx512Ops();

}  // namespace prefixd::cpu
