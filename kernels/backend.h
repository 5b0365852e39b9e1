// Backend: everything that is computed over weights and KV, behind one interface. CPU backends (`ref`, `avx2`, `avx512`)
// give the same bits as each other; what they compute is defined in kernels/numerics.h and by the plain code of kernels/ref.
//
// Threads: one owner (the engine thread) calls every member. A backend may have compute threads of its own as servants.
// Order: operations run in the order of the calls. On a device they are enqueued; Synchronize() or ToHost() waits.
//
// Memory: "backend memory" is where kernels read and write: RAM on a CPU, device memory on a GPU. A pointer to it is never
// dereferenced by the caller. Activations are f32, row-major, [rows][width], with an explicit row stride where rows are
// slices of wider ones. Shapes are the caller's promise (PREFIXD_CHECKed), not the outside's.
//
// Invariants
//   1. The value of an output row depends on the inputs of that row alone: never on how many rows, sequences, threads or
//      chunks there are, nor on where its KV blocks lie in the pool.
//   2. Attention reads K and V as stored (rounded to KvLayout::dtype), also those stored in the same step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/status.h"
#include "base/types.h"
#include "kernels/activation.h"
#include "kernels/kv_layout.h"

namespace prefixd {

// Owned backend memory, 64-byte aligned, zeroed.
class Buffer {
 public:
  virtual ~Buffer() = default;
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  float* f32() const { return static_cast<float*>(data_); }

 protected:
  Buffer(void* data, size_t bytes) : data_(data), bytes_(bytes) {}
  void* data_;
  size_t bytes_;
};

// A weight matrix in the backend's own packed layout: `rows` outputs by `cols` inputs.
class Matrix {
 public:
  virtual ~Matrix() = default;
  int rows() const { return rows_; }
  int cols() const { return cols_; }
  virtual size_t bytes() const = 0;

 protected:
  Matrix(int rows, int cols) : rows_(rows), cols_(cols) {}
  int rows_, cols_;
};

// Host memory, row-major [rows][cols], of any alignment.
struct MatrixSource {
  const void* data;
  DType dtype;
  int rows;
  int cols;
};

// The rows of one sequence in a step: consecutive tokens at consecutive positions.
struct SequenceSpan {
  int first_row;                     // of the step's rows
  int rows;                          // > 0
  int position;                      // of the first row; KV of all earlier positions is in `blocks`
  std::span<const BlockId> blocks;   // block table; covers position + rows tokens
};

// What one step computes. Spans cover rows 0..rows-1 in order without gaps.
struct BatchView {
  std::span<const TokenId> tokens;   // [rows]
  std::span<const SequenceSpan> sequences;
  int rows() const { return static_cast<int>(tokens.size()); }
};

// KV memory for a fixed number of blocks.
class KvPool {
 public:
  virtual ~KvPool() = default;
  const KvLayout& layout() const { return layout_; }
  uint32_t blocks() const { return blocks_; }
  // Backend memory of one block, layout().BlockBytes() long.
  std::byte* block(BlockId id) const { return base_ + static_cast<size_t>(id) * layout_.BlockBytes(); }

 protected:
  KvPool(KvLayout layout, uint32_t blocks) : layout_(layout), blocks_(blocks) {}
  KvLayout layout_;
  uint32_t blocks_;
  std::byte* base_ = nullptr;
};

enum class GemmOutput {
  kStore,       // y = x W^T
  kAccumulate,  // y = y + (x W^T): the residual stream
};

// How a layer attends.
struct AttentionParams {
  int heads;       // query heads; a multiple of the pool's KV heads
  float scale;     // of the scores
  int window = 0;  // tokens that a position sees, itself among them; 0: all up to itself
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;
  virtual int threads() const = 0;
  // Part of the model fingerprint: KV computed under another numerics version is another model's KV.
  virtual std::string_view numerics_version() const = 0;

  // kResourceExhausted, with the size asked for, when memory cannot be had.
  virtual Result<std::unique_ptr<Buffer>> Allocate(size_t bytes) = 0;
  // Stacks the sources' rows into one matrix (as for Q, K and V). All have the same cols and dtype. Copies.
  virtual Result<std::unique_ptr<Matrix>> Pack(std::span<const MatrixSource> sources) = 0;
  virtual Result<std::unique_ptr<KvPool>> AllocateKv(const KvLayout& layout, uint32_t blocks) = 0;
  virtual void Upload(Buffer& to, size_t offset, std::span<const std::byte> from) = 0;

  // Names the batch of the operations that follow. `batch` and what it points to stay until Synchronize or ToHost has returned.
  virtual void BeginStep(const BatchView& batch) = 0;

  // out[r] = row tokens[r] of `table`, as f32. out: [rows][table.cols()].
  virtual void Embed(const Matrix& table, float* out) = 0;
  // out[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight. x, out: [rows][dim]; may be the same.
  virtual void RmsNorm(const float* x, const float* weight, float eps, int rows, int dim, float* out) = 0;
  // y[r][n] (+)= sum over k of x[r][k] w[n][k]. x: [rows][w.cols()], y: [rows][w.rows()].
  virtual void Gemm(const Matrix& w, const float* x, int rows, float* y, GemmOutput output) = 0;
  // x[r][i] = x[r][i] + bias[i]. x: [rows][width].
  virtual void AddBias(const float* bias, int rows, int width, float* x) = 0;
  // Every head of every row of the batch in place, as RmsNorm over head_dim with one weight[head_dim] for all heads.
  // x: first head of row 0, rows `stride` floats apart.
  virtual void HeadRmsNorm(float* x, int stride, int heads, int head_dim, const float* weight, float eps) = 0;
  // Rotates `heads` heads of every row in place (pairs i, i + head_dim/2; the Hugging Face order) by its position.
  // x: first head of row 0, rows `stride` floats apart. table: [positions][2][head_dim/2], cosines then sines.
  virtual void Rope(float* x, int stride, int heads, int head_dim, const float* table) = 0;
  // Rounds k and v of every row to the pool's dtype and stores them at the row's position.
  // k, v: first head of row 0, rows `stride` floats apart, heads head_dim apart.
  virtual void StoreKv(const float* k, const float* v, int stride, int layer, KvPool& pool) = 0;
  // Causal attention of every row over its own sequence, grouped heads: the row at position p sees the positions
  // max(0, p - window + 1) .. p, and without a window 0 .. p. What is stored below a window takes no part, be it NaN.
  // q: first head of row 0, rows `stride` floats apart. out: [rows][heads * head_dim].
  virtual void Attention(const float* q, int stride, const AttentionParams& params, int layer, const KvPool& pool,
                         float* out) = 0;
  // out[r][i] = activation(x[r][i]) * x[r][width + i]. x: [rows][2 * width], out: [rows][width].
  virtual void GatedActivation(Activation activation, const float* x, int rows, int width, float* out) = 0;
  // out[i] = x[indices[i]]. x: [..][dim], out: [indices.size()][dim].
  virtual void GatherRows(const float* x, std::span<const int> indices, int dim, float* out) = 0;
  // Copies whole blocks inside one pool, in order. Enqueued like any operation.
  virtual void CopyBlock(KvPool& pool, BlockId from, BlockId to) = 0;

  // Waits for everything enqueued. An error is final: the results of the step are lost.
  virtual Status Synchronize() = 0;
  // Synchronizes and returns host memory with `bytes` bytes of `from`, valid until the next call of any member.
  virtual Result<const void*> ToHost(const void* from, size_t bytes) = 0;
};

}  // namespace prefixd
