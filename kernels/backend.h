// Backend computes everything that reads weights or KV. Each device and instruction set implements this
// interface. The CPU backends (`ref`, `avx2`, `avx512`) give bit-identical results. kernels/numerics.h
// defines what they compute, and kernels/ref implements that definition as plain code.
//
// Threads: one owner (the engine thread) calls every member. A backend may run compute threads of its own.
// Order: operations run in the order of the calls. A device may only enqueue them; Synchronize() and ToHost()
// wait for them.
//
// Memory: kernels read and write "backend memory": RAM on a CPU, device memory on a GPU. The caller never
// dereferences a pointer to it. Activations are f32, row-major, [rows][width]. Operations on rows that are
// slices of wider rows take an explicit stride, in floats. The caller guarantees shapes, pointers and
// indices; a violation is a bug of the caller, and the backend stops the process with PREFIXD_CHECK. The
// checks cost O(1) per call or per row.
//
// Invariants
//   1. An output row depends on the inputs of that row alone. It never depends on the number of rows,
//      sequences, threads or chunks, nor on the place of its KV blocks in the pool.
//   2. Attention reads K and V as stored, rounded to KvLayout::dtype. This includes K and V that the same
//      step stored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/check.h"
#include "base/status.h"
#include "base/types.h"
#include "kernels/activation.h"
#include "kernels/kv_layout.h"
#include "kernels/sampling.h"

namespace prefixd {

// A piece of backend memory, 64-byte aligned and zeroed at allocation. The holder of the Buffer owns it.
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

// A matrix in host memory, row-major [rows][cols], at any alignment.
struct MatrixSource {
  const void* data;  // not null
  DType dtype;
  int rows;  // > 0
  int cols;  // > 0
};

// The rows of one sequence in a step: consecutive tokens at consecutive positions.
struct SequenceSpan {
  int first_row;                    // index of its first row in the step
  int rows;                         // > 0
  int position;                     // of first_row; `blocks` holds the KV of all earlier positions
  std::span<const BlockId> blocks;  // block table; covers position + rows tokens
};

// The input of one step. `sequences` cover the rows 0 .. rows()-1 in order without gaps.
struct BatchView {
  std::span<const TokenId> tokens;  // [rows]
  std::span<const SequenceSpan> sequences;
  int rows() const { return static_cast<int>(tokens.size()); }
};

// KV memory for a fixed number of blocks.
class KvPool {
 public:
  virtual ~KvPool() = default;
  const KvLayout& layout() const { return layout_; }
  uint32_t blocks() const { return blocks_; }
  // Returns backend memory of one block, layout().BlockBytes() long. Requires id < blocks().
  std::byte* block(BlockId id) const {
    PREFIXD_CHECK(id < blocks_) << "block " << id << " of " << blocks_;
    return base_ + static_cast<size_t>(id) * layout_.BlockBytes();
  }

 protected:
  KvPool(KvLayout layout, uint32_t blocks) : layout_(layout), blocks_(blocks) {}
  KvLayout layout_;
  uint32_t blocks_;
  std::byte* base_ = nullptr;
};

enum class GemmOutput {
  kStore,       // y = x W^T
  kAccumulate,  // y = y + (x W^T), for the residual stream
};

// The attention parameters of one layer.
struct AttentionParams {
  int heads;       // query heads; a multiple of the pool's KV heads
  float scale;     // multiplies the scores
  int window = 0;  // number of tokens that a position sees, itself included; 0: itself and all before it
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;
  virtual int threads() const = 0;
  // Part of the model fingerprint: KV computed under one numerics version is never reused under another.
  virtual std::string_view numerics_version() const = 0;
  // Names the order of the elements of a KV block. Part of the model fingerprint: a backend never reads KV
  // that was stored in another order. docs/FORMAT.md has the orders.
  virtual std::string_view kv_layout_name() const = 0;

  // Returns kResourceExhausted, with the requested size, when the memory is not available.
  virtual Result<std::unique_ptr<Buffer>> Allocate(size_t bytes) = 0;
  // Stacks the rows of the sources into one matrix (as for Q, K and V) and copies the data. Requires at least
  // one source; all have the same cols and dtype.
  virtual Result<std::unique_ptr<Matrix>> Pack(std::span<const MatrixSource> sources) = 0;
  virtual Result<std::unique_ptr<KvPool>> AllocateKv(const KvLayout& layout, uint32_t blocks) = 0;
  // Copies host memory into `to` at byte `offset`. Requires offset + from.size() <= to.bytes().
  virtual void Upload(Buffer& to, size_t offset, std::span<const std::byte> from) = 0;

  // Sets the batch for the operations that follow. The caller keeps `batch` and the memory that it points to
  // alive and unchanged until Synchronize or ToHost has returned.
  virtual void BeginStep(const BatchView& batch) = 0;

  // out[r] = row number tokens[r] of `table`, as f32, for the tokens of the batch. out: [rows][table.cols()].
  virtual void Embed(const Matrix& table, float* out) = 0;
  // out[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight. x, out: [rows][dim]; out may be x.
  virtual void RmsNorm(const float* x, const float* weight, float eps, int rows, int dim, float* out) = 0;
  // y[r][n] (+)= sum over k of x[r][k] w[n][k]. x: [rows][w.cols()], y: [rows][w.rows()].
  virtual void Gemm(const Matrix& w, const float* x, int rows, float* y, GemmOutput output) = 0;
  // x[r][i] = x[r][i] + bias[i]. x: [rows][width].
  virtual void AddBias(const float* bias, int rows, int width, float* x) = 0;
  // Applies RmsNorm over head_dim to every head of every row of the batch, in place. All heads share one
  // weight[head_dim]. x: first head of row 0, rows `stride` floats apart.
  virtual void HeadRmsNorm(float* x, int stride, int heads, int head_dim, const float* weight, float eps) = 0;
  // Rotates `heads` heads of every row in place by the row's position. The pairs are (i, i + head_dim / 2),
  // the order of Hugging Face. head_dim is even.
  // x: first head of row 0, rows `stride` floats apart.
  // table: [positions][2][head_dim / 2], cosines then sines.
  virtual void Rope(float* x, int stride, int heads, int head_dim, const float* table) = 0;
  // Rounds k and v of every row to the pool's dtype and stores them at the row's position.
  // k, v: first head of row 0, rows `stride` floats apart, heads head_dim apart.
  virtual void StoreKv(const float* k, const float* v, int stride, int layer, KvPool& pool) = 0;
  // Causal attention with grouped heads, of every row over its own sequence. The row at position p sees the
  // positions max(0, p - window + 1) .. p, or 0 .. p without a window. Values stored at positions before the
  // window do not influence the result, even if they are NaN. The ids of blocks that lie wholly before the
  // window need not be valid.
  // q: first head of row 0, rows `stride` floats apart. out: [rows][heads * head_dim].
  virtual void Attention(const float* q, int stride, const AttentionParams& params, int layer,
                         const KvPool& pool, float* out) = 0;
  // out[r][i] = activation(x[r][i]) * x[r][width + i]. x: [rows][2 * width], out: [rows][width].
  virtual void GatedActivation(Activation activation, const float* x, int rows, int width, float* out) = 0;
  // out[i] = x[indices[i]]. x: [..][dim], out: [indices.size()][dim]. Every index is >= 0.
  virtual void GatherRows(const float* x, std::span<const int> indices, int dim, float* out) = 0;
  // Copies one whole block inside a pool. Ordered with the other operations.
  virtual void CopyBlock(KvPool& pool, BlockId from, BlockId to) = 0;

  // Waits for all enqueued operations. After an error the results of the step are lost.
  virtual Status Synchronize() = 0;
  // Synchronizes and returns host memory that holds the first `bytes` bytes of `from`. That memory is valid
  // until the next call of any member but Sample.
  virtual Result<const void*> ToHost(const void* from, size_t bytes) = 0;

  // Draws the token of every row, as DrawRow of kernels/sampling.h does, on the compute threads. A token
  // depends on its own row alone. The draw has ended on return; the memory of ToHost stays valid. Requires
  // vocab > 0.
  virtual void Sample(std::span<SampleRow> rows, int vocab) = 0;
};

}  // namespace prefixd
