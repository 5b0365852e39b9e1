// The kernels of the CUDA backend: one row for each, from which the module makes its launches, the emulation
// its functions, and the tests their list. A kernel is a function template of device code that takes one
// struct of params by reference; a row has the name of its id, the struct, and the instance.
//
// To add a kernel: a struct here, the function in a *_kernels.h, a row in the table, and a test in
// tests/kernels/cuda against the plain code of kernels/ref.
//
// Pointers of params are to device memory. T: type of the weights, H: type of the KV; kernels/cuda/numerics.h
// defines the results. Where T is quantised, weights and the activations that they multiply are rows in the
// order of quant_order.h. A row whose number is at or above `rows` does not exist: nothing of it is read or
// written, whatever the launch rounds up to.
#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/sampling.h"

namespace prefixd::cuda {

// What a draw leaves on the device. Log probabilities are made of it on the host: logit - largest - ln(sum).
struct DrawResult {
  int32_t token;
  int32_t rank;   // of the token; this and what follows are 0 without log probabilities
  float logit;    // of the token, unchanged; a NaN is -inf
  float largest;  // logit
  double sum;     // of e^(logit - largest); where the largest is infinite, of the tokens that have it
};

// 1 warp for each row or, but for Dummy, for each 256 columns of a row; blocks of 4 warps.

// out[r] = table[tokens[r]] as f32. table: [vocab][dim] of T. A token below 0 is drawn[-1 - token].token.
struct EmbedParams {
  const void* table;
  const int32_t* tokens;  // [rows]
  float* out;             // [rows][dim]
  int rows, dim;
  const DrawResult* drawn = nullptr;  // by the step before; for tokens below 0
};
// out = RmsNorm(x), rounded to T. 1 block for each row.
struct RmsNormParams {
  const float* x;       // [rows][dim]
  const float* weight;  // [dim]
  void* out;            // [rows][dim] of T
  float eps;
  int rows, dim;
};
// out[i] = x[indices[i]], elements of `element` bytes.
struct GatherParams {
  const void* x;
  const int32_t* indices;  // [rows]
  void* out;
  int rows, row_bytes;  // a multiple of 4
};
// out[r][i] = activation(x[r][i]) * x[r][width + i], rounded to T.
struct ActivationParams {
  const float* x;  // [rows][2 * width]
  void* out;       // [rows][width] of T
  Activation activation;
  int rows, width;
};

// out[r][i] = the dummy weight (kernels/dummy_weights.h) with the index r * cols + i, rounded to T.
struct DummyParams {
  void* out;  // [rows][cols] of T
  uint64_t seed;
  float largest;
  int rows, cols;
};

// y[r][n] (+)= x[r] . w[n] (+ bias[n]). Block (x, y) of Gemm makes the outputs of 64 weight rows for 64 rows
// of x; block x of GemmFew those of 16 weight rows for up to 16 rows of x. GemmFew gives the bits of Gemm,
// for a k that is a multiple of 8. GemmQuantized and GemmFewQuantized are the same for quantised weights.
struct GemmParams {
  const void* w;      // [n][k] of T
  const void* x;      // [rows][k] of T
  const float* bias;  // [n]; null: none
  float* y;           // [rows][n]
  int rows, n, k;     // k: any
  bool accumulate;
  int stride = 0;  // floats from a row of y to the next; 0: n
};

// Where a row of a step lies: its position, and its sequence in BlockTables. Below 0: there is no such row,
// its launch is larger than the step. It has no unit, stores no KV, and what is computed of it nobody reads.
struct RowPlace {
  int32_t position;
  int32_t sequence;
};
struct BlockTables {
  const int32_t* blocks;  // [sequences][stride]
  int32_t stride;
};
// The KV of the pool. A block id times block_bytes needs 64 bits.
struct KvBlocks {
  std::byte* base;
  uint64_t block_bytes;
  int32_t block_tokens, kv_heads, head_dim, layer;
};

// Norms and rotates q and k, and stores q for attention and k and v in their blocks. 1 warp for each head
// (heads + 2 kv_heads) of each row.
struct QkvParams {
  const float* qkv;     // [rows][(heads + 2 kv_heads) * head_dim]
  const float* q_norm;  // [head_dim]; null: none
  const float* k_norm;
  const float* rope;  // [positions][2][head_dim / 2]
  const RowPlace* places;
  BlockTables tables;
  KvBlocks kv;
  void* q;  // [rows][heads][head_dim] of H
  float eps, scale;
  int rows, heads;
};

// RmsNorm of the rows of a product, which each of its blocks makes for itself.
struct FewNorm {
  const float* x = nullptr;       // [rows][k], 16-byte aligned; null: the x of the product is there
  const float* weight = nullptr;  // [k], 16-byte aligned
  float eps = 0;
};
// RmsNorm, if norm.x is not null, then GemmFew, and Qkv of what it makes, without norms: the bits are those
// of the three. product.y and append.qkv are not used. head_dim is a multiple of 16, and H is T. A warp has 8
// dims of the first half of a head, and the 8 of the second half that rope rotates with them.
struct FewQkvParams {
  GemmParams product;
  FewNorm norm;
  QkvParams append;
};
// The same with Activation of what GemmFew makes. product.y and activate.x are not used. A warp has 8 columns
// of the gate and the same ones of up.
struct FewGateParams {
  GemmParams product;
  FewNorm norm;
  ActivationParams activate;
};

// A unit of attention: up to 16 query rows over spans of one sequence. Query row i is head `head` + i % heads
// of step row first_row + i / heads; all its heads share a KV head, and rows * heads <= 16. A unit has one
// span, or all spans from the first that its first row sees to the last of its last row: then it folds them
// in order. A unit without rows is none: it fills up a team.
//
// Instead of consecutive rows it may have the members from `members` on: rows of several sequences that have
// the blocks of its one span in common, all of which they see, without a window. Step row number r of it is
// members[r].row, and the partial of its head h is number members[r].partial + h.
struct AttentionUnit {
  int32_t first_row, rows;
  int32_t head, heads;
  int32_t first_span, spans;
  int32_t partial;       // index of the first of its rows * heads partials
  int32_t members = -1;  // -1: none
};
struct AttentionMember {
  int32_t row, partial;
};
// Units in device memory, where a launch whose params are fixed finds them.
struct AttentionList {
  const AttentionUnit* units;
  const AttentionMember* members;
  int32_t count, unused;
};
// Each warp takes a unit, and writes a partial (numerics.h, rule 6) for each of its query rows. AttentionHalf
// and AttentionF32 serve every shape. Attention<H, D> gives the bits of AttentionHalf, for a head_dim of D
// and blocks of a multiple of 8 tokens; a block of it takes a team of units, which read K and V once. They
// are neighbours in the list, of one KV head, and the first one has rows. They have ascending rows of one
// sequence, or all of them have members, of the same blocks. Attention<H, D, true> does the same by
// warpgroups, on devices of compute capability 9.0.
struct AttentionParams {
  const AttentionUnit* units;
  const AttentionMember* members;
  int32_t unit_count;
  const void* q;  // [rows][heads][head_dim] of H
  const RowPlace* places;
  BlockTables tables;
  KvBlocks kv;
  float* partials;  // [..][2 + head_dim]: m, l, o
  int heads, window;
  int team = 1;  // units; unit_count is a multiple of it
  // Not null: this list instead of `units` and `members`, of any length. A grid for unit_count units takes
  // them in turns.
  const AttentionList* list = nullptr;
};
// Where the partials of a head of a row are: `count` of them, `stride` partials apart. The fold of none is 0.
struct FoldPlace {
  int32_t first, count, stride;
};
// out[row][head] = the fold of its partials, rounded to T. 1 warp for each 32 dims of each head of a row; of
// FoldQuantized, for each 32 numbers of a row, which is a block.
struct FoldParams {
  const float* partials;
  const FoldPlace* places;  // [rows][heads]
  void* out;                // [rows][heads][head_dim] of T
  int rows, heads, head_dim;
};

// A row from which a token is drawn, or of which one is scored (LogitRow).
struct DrawSpec {
  int32_t row;    // of logits
  int32_t given;  // >= 0: no draw
  float temperature, top_p, min_p;
  int32_t top_k;
  uint64_t seed;
  uint32_t position;
  float repetition_penalty, frequency_penalty, presence_penalty;
  int32_t first_bias, biases;    // in DrawParamsTable::bias
  int32_t first_count, counts;   // in DrawParamsTable::counts
  int32_t first_banned, banned;  // in DrawParamsTable::banned
  int32_t first_allowed;         // in DrawParamsTable::allowed; -1: every token is allowed
  int32_t logprobs;              // as LogitRow::logprobs
  int32_t first_result;          // of its log probabilities
  // >= 0: the token of DrawParamsTable::drawn[uncounted] counts as one more of the answer.
  int32_t uncounted;
};
// One block of 256 threads for each spec. `logits` are read; `changed` is where a row with changes is kept.
struct DrawParamsTable {
  const DrawSpec* specs;
  const float* logits;  // [..][vocab]
  float* changed;       // [specs][vocab]
  const LogitBias* bias;
  const TokenCount* counts;
  const int32_t* banned;
  const uint32_t* allowed;  // as SampleRow::allowed
  DrawResult* results;      // [specs]
  int32_t* top_tokens;      // from first_result, `logprobs` of them
  float* top_logits;
  int specs_count, vocab;
  const DrawResult* drawn = nullptr;  // by the step before; for `uncounted`
};

// The rows, by the header that has the functions.
#define PREFIXD_CUDA_ROW_KERNELS(X)                    \
  X(kDummyBF16, DummyParams, Dummy<Bf16>)              \
  X(kDummyF16, DummyParams, Dummy<F16>)                \
  X(kDummyF32, DummyParams, Dummy<float>)              \
  X(kEmbedBF16, EmbedParams, Embed<Bf16>)              \
  X(kEmbedF16, EmbedParams, Embed<F16>)                \
  X(kEmbedF32, EmbedParams, Embed<float>)              \
  X(kEmbedQ8, EmbedParams, EmbedQuantized<Q8>)         \
  X(kEmbedQ4, EmbedParams, EmbedQuantized<Q4>)         \
  X(kRmsNormBF16, RmsNormParams, RmsNorm<Bf16>)        \
  X(kRmsNormF16, RmsNormParams, RmsNorm<F16>)          \
  X(kRmsNormF32, RmsNormParams, RmsNorm<float>)        \
  X(kRmsNormQ, RmsNormParams, RmsNorm<Quantized>)      \
  X(kGather, GatherParams, Gather)                     \
  X(kActivationBF16, ActivationParams, Activate<Bf16>) \
  X(kActivationF16, ActivationParams, Activate<F16>)   \
  X(kActivationF32, ActivationParams, Activate<float>) \
  X(kActivationQ, ActivationParams, Activate<Quantized>)
#define PREFIXD_CUDA_GEMM_KERNELS(X)   \
  X(kGemmBF16, GemmParams, Gemm<Bf16>) \
  X(kGemmF16, GemmParams, Gemm<F16>)   \
  X(kGemmF32, GemmParams, GemmF32)
#define PREFIXD_CUDA_GEMM_QUANT_KERNELS(X)  \
  X(kGemmQ8, GemmParams, GemmQuantized<Q8>) \
  X(kGemmQ4, GemmParams, GemmQuantized<Q4>)
// These and the fused ones call AwaitPredecessor themselves.
#define PREFIXD_CUDA_EARLY_KERNELS(X)        \
  X(kGemmFewBF16, GemmParams, GemmFew<Bf16>) \
  X(kGemmFewF16, GemmParams, GemmFew<F16>)
#define PREFIXD_CUDA_FUSED_KERNELS(X)                   \
  X(kGemmFewQkvBF16, FewQkvParams, GemmFewQkv<Bf16>)    \
  X(kGemmFewQkvF16, FewQkvParams, GemmFewQkv<F16>)      \
  X(kGemmFewGateBF16, FewGateParams, GemmFewGate<Bf16>) \
  X(kGemmFewGateF16, FewGateParams, GemmFewGate<F16>)
#define PREFIXD_CUDA_EARLY_QUANT_KERNELS(X)       \
  X(kGemmFewQ8, GemmParams, GemmFewQuantized<Q8>) \
  X(kGemmFewQ4, GemmParams, GemmFewQuantized<Q4>)
#define PREFIXD_CUDA_QKV_KERNELS(X) \
  X(kQkvBF16, QkvParams, Qkv<Bf16>) \
  X(kQkvF16, QkvParams, Qkv<F16>)   \
  X(kQkvF32, QkvParams, Qkv<float>)
#define PREFIXD_CUDA_QKV_EXPANDED_KERNELS(X) \
  X(kQkvKvQ8, QkvParams, QkvExpanded<KvQ8>)  \
  X(kQkvKvFp8, QkvParams, QkvExpanded<KvFp8>)
#define PREFIXD_CUDA_ATTENTION_EXPANDED_KERNELS(X)              \
  X(kAttention64KvQ8, AttentionParams, Attention<KvQ8, 64>)     \
  X(kAttention64KvFp8, AttentionParams, Attention<KvFp8, 64>)   \
  X(kAttention96KvQ8, AttentionParams, Attention<KvQ8, 96>)     \
  X(kAttention96KvFp8, AttentionParams, Attention<KvFp8, 96>)   \
  X(kAttention128KvQ8, AttentionParams, Attention<KvQ8, 128>)   \
  X(kAttention128KvFp8, AttentionParams, Attention<KvFp8, 128>) \
  X(kAttention256KvQ8, AttentionParams, Attention<KvQ8, 256>)   \
  X(kAttention256KvFp8, AttentionParams, Attention<KvFp8, 256>) \
  X(kAttentionKvQ8, AttentionParams, AttentionHalf<KvQ8>)       \
  X(kAttentionKvFp8, AttentionParams, AttentionHalf<KvFp8>)
#define PREFIXD_CUDA_ATTENTION_WARPGROUP_KERNELS(X)                          \
  X(kAttention64WarpgroupBF16, AttentionParams, Attention<Bf16, 64, true>)   \
  X(kAttention64WarpgroupF16, AttentionParams, Attention<F16, 64, true>)     \
  X(kAttention128WarpgroupBF16, AttentionParams, Attention<Bf16, 128, true>) \
  X(kAttention128WarpgroupF16, AttentionParams, Attention<F16, 128, true>)
#define PREFIXD_CUDA_ATTENTION_KERNELS(X)                     \
  X(kAttention64BF16, AttentionParams, Attention<Bf16, 64>)   \
  X(kAttention64F16, AttentionParams, Attention<F16, 64>)     \
  X(kAttention96BF16, AttentionParams, Attention<Bf16, 96>)   \
  X(kAttention96F16, AttentionParams, Attention<F16, 96>)     \
  X(kAttention128BF16, AttentionParams, Attention<Bf16, 128>) \
  X(kAttention128F16, AttentionParams, Attention<F16, 128>)   \
  X(kAttention256BF16, AttentionParams, Attention<Bf16, 256>) \
  X(kAttention256F16, AttentionParams, Attention<F16, 256>)   \
  X(kAttentionBF16, AttentionParams, AttentionHalf<Bf16>)     \
  X(kAttentionF16, AttentionParams, AttentionHalf<F16>)       \
  X(kAttentionF32, AttentionParams, AttentionF32)             \
  X(kFoldBF16, FoldParams, Fold<Bf16>)                        \
  X(kFoldF16, FoldParams, Fold<F16>)                          \
  X(kFoldF32, FoldParams, Fold<float>)                        \
  X(kFoldQ, FoldParams, FoldQuantized)
#define PREFIXD_CUDA_DRAW_KERNELS(X) X(kDraw, DrawParamsTable, Draw)

#define PREFIXD_CUDA_KERNELS(X)               \
  PREFIXD_CUDA_ROW_KERNELS(X)                 \
  PREFIXD_CUDA_GEMM_KERNELS(X)                \
  PREFIXD_CUDA_GEMM_QUANT_KERNELS(X)          \
  PREFIXD_CUDA_EARLY_KERNELS(X)               \
  PREFIXD_CUDA_EARLY_QUANT_KERNELS(X)         \
  PREFIXD_CUDA_FUSED_KERNELS(X)               \
  PREFIXD_CUDA_QKV_KERNELS(X)                 \
  PREFIXD_CUDA_QKV_EXPANDED_KERNELS(X)        \
  PREFIXD_CUDA_ATTENTION_EXPANDED_KERNELS(X)  \
  PREFIXD_CUDA_ATTENTION_WARPGROUP_KERNELS(X) \
  PREFIXD_CUDA_ATTENTION_KERNELS(X)           \
  PREFIXD_CUDA_DRAW_KERNELS(X)

enum class KernelId : uint16_t {
#define PREFIXD_CUDA_KERNEL(id, params, ...) id,
  PREFIXD_CUDA_KERNELS(PREFIXD_CUDA_KERNEL)
#undef PREFIXD_CUDA_KERNEL
};
#define PREFIXD_CUDA_KERNEL(id, params, ...) +1
inline constexpr int kKernels = 0 PREFIXD_CUDA_KERNELS(PREFIXD_CUDA_KERNEL);
#undef PREFIXD_CUDA_KERNEL

}  // namespace prefixd::cuda
