// Ops is a table of functions over plain structs: the inner loops for one instruction set. The functions have
// no state and start no threads; callers split the work and may call them from any thread. Callers guarantee
// the arguments: the functions check nothing.
//
// Invariant
//   1. A source that is compiled for AVX2 or AVX-512 exports its table and nothing else. It calls no inline
//      function and no template from outside its own namespace. The linker might otherwise choose that
//      source's copy of such a function for the whole program, which then fails on an older CPU.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/activation.h"
#include "kernels/kv_layout.h"
#include "kernels/kv_place.h"
#include "kernels/sample_loops.h"

namespace prefixd::cpu {

// The order in which the products of bf16 weights are added.
enum class Chain {
  kTerms,  // numerics rule 2, as for all other weights
  kPairs,  // numerics rule 8
};

// y[r][n] (+)= sum over k of x[r][k] w[n][k].
struct GemmJob {
  const void* weights;  // panels of Ops::panel outputs, in the order of PackedMatrix
  DType dtype;
  int outputs;
  int terms;       // of kPairs even: a missing last one is zero in x and in the weights
  const float* x;  // blocks of rows, each packed by Ops::pack_rows, `terms` floats for each row
  int rows;
  int block_rows;  // rows of all blocks but the last; at most Ops::tile_rows
  float* y;        // [rows][outputs], rows `stride` floats apart
  int stride;
  bool accumulate;              // add to y instead of overwriting it
  Chain chain = Chain::kTerms;  // kPairs: of bf16 weights only
  // Of bf16 weights: [panels] 1 where a panel is compressed (compressed_panel.h). Null: none is.
  const uint8_t* compressed = nullptr;
};

// Attention over some spans, for some positions and the query heads that share one KV head, or each of some
// KV heads. The positions are consecutive ones of one sequence; or they are of several sequences that have
// the same blocks in these spans, and see all of their tokens: then first_position, for which any position
// after the spans does, stands for them.
// With several KV heads, at most kMostKvHeads, the members below are those of the first one; the others
// follow it in q, in the blocks and in the results. Few positions are computed faster so: the planes of the
// heads lie side by side in memory, and memory gives long runs faster than short ones.
inline constexpr int kMostKvHeads = 8;

struct AttendJob {
  const float* q;  // first head of row 0 of the step; heads are head_dim floats apart
  int q_stride;    // floats between rows
  int group;       // number of query heads of a KV head
  int kv_heads;    // above 1 only where `partial` is null
  int head_dim;
  float scale;
  int window;  // number of tokens that a position sees, itself included; 0: itself and all before it
  int first_position;
  int positions;
  const int* rows;  // [positions] the row of each position in q, out and total

  KvPlace kv;              // the layer
  size_t k_offset;         // of the K plane inside the layer of a block
  size_t v_offset;         // of the V plane
  size_t plane_bytes;      // between the planes of KV heads
  const uint32_t* blocks;  // block table
  int block_tokens;
  KvType::Kind type;

  // The job covers the spans first_span .. end_span - 1. Each position takes part in those spans that hold a
  // token that it sees.
  int first_span;
  int end_span;
  // A job that covers the last spans of its positions writes results to `out`. With a null `out` it writes
  // partial results: to `partial`, for Ops::fold, or to `total`, for a job that continues them, if `partial`
  // is null. The heads of partial results are Ops::partial_floats(head_dim) floats apart.
  float* out;             // heads are head_dim floats apart
  int out_stride;         // floats between rows
  float* partial;         // of the first position
  size_t partial_stride;  // floats between positions
  float* total;           // of row 0 of the step
  size_t total_stride;    // floats between rows
  bool continues;         // `total` has the partial result of the spans before first_span, of every position
};

struct Ops {
  int panel;      // outputs per panel
  int tile_rows;  // most rows of a block of packed x
  // Computes the panels first_panel .. end_panel - 1 of the row blocks first_block .. end_block - 1.
  void (*gemm)(const GemmJob& job, int first_panel, int end_panel, int first_block, int end_block);
  // Packs x[count][terms] as one block of GemmJob::x, in the order that `gemm` reads for a chain. With
  // kTerms a single row is the same packed and unpacked; with kPairs a row has terms + terms % 2 floats.
  void (*pack_rows)(Chain chain, const float* x, int count, int terms, float* packed);

  void (*rms_norm)(const float* x, const float* weight, float eps, int rows, int dim, float* out);
  // Rotates the heads of one row. `cosines` is head_dim / 2 floats, followed by as many sines.
  void (*rope)(float* x, int heads, int head_dim, const float* cosines);
  void (*add_bias)(const float* bias, int rows, int width, float* x);
  void (*gated_activation)(Activation activation, const float* x, int rows, int width, float* out);
  // Rounds n values to `dtype`. `to` has room for n rounded up to a multiple of 16.
  void (*narrow)(const float* from, int n, DType dtype, void* to);

  // Quantises kQuantBlock numbers by numerics rule 10, and returns the scale as it is stored.
  uint16_t (*quantize_block)(const float* x, int8_t* integers);
  // Returns the number of floats of scratch, 64-byte aligned, that `attend` needs for the job.
  size_t (*attend_scratch)(const AttendJob& job);
  void (*attend)(const AttendJob& job, float* scratch);
  // Returns the number of floats of one partial result.
  size_t (*partial_floats)(int head_dim);
  // Folds `count` partial results, `stride` floats apart, in order, into `total`, the partial result of the
  // spans before. Then writes head_dim floats to `out`, unless it is null.
  void (*fold)(float* total, const float* partials, int count, size_t stride, int head_dim, float* out);

  SampleLoops sampling;
};

const Ops& Avx2Ops() noexcept;
const Ops& Avx512Ops() noexcept;
const Ops& Avx512Bf16Ops() noexcept;

}  // namespace prefixd::cpu
