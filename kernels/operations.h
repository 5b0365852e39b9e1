// Operations: the operations of a step on host memory, as one instruction set computes them. kernels/ref
// implements the definition of kernels/numerics.h as plain code, kernels/cpu fast code with the same bits.
// kernels/host runs a model as a list of these operations.
//
// Threads: one owner calls every member. An operation has ended on return; it may use compute threads of its
// own meanwhile.
//
// Memory: activations are f32, row-major, [rows][width]. Operations on rows that are slices of wider rows
// take an explicit stride, in floats. The caller guarantees shapes, pointers and indices; a violation is a
// bug of the caller and stops the process with PREFIXD_CHECK. The checks cost O(1) per call or per row.
//
// Invariants: 1 and 2 of kernels/backend.h.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "kernels/activation.h"
#include "kernels/attention_reads.h"
#include "kernels/backend_memory.h"
#include "kernels/batch.h"
#include "kernels/logit_row.h"
#include "kernels/model_plan.h"
#include "kernels/numerics.h"

namespace prefixd {

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

class Operations {
 public:
  virtual ~Operations() = default;
  virtual std::string_view name() const = 0;
  virtual int threads() const = 0;
  virtual numerics::Version version() const = 0;

  // As the members of Backend. UploadRows computes on the threads that call it.
  virtual Result<std::unique_ptr<Matrix>> AllocateMatrix(int rows, int cols, WeightFormat format) = 0;
  virtual void UploadRows(Matrix& to, int first_row, const MatrixSource& from) = 0;
  Result<std::unique_ptr<Matrix>> Stack(std::vector<std::unique_ptr<Matrix>> parts);
  virtual Result<std::unique_ptr<Matrix>> MakeDummy(const DummyMatrix& dummy) = 0;
  virtual size_t PackedBytes(int rows, int cols, WeightFormat format) const = 0;
  // Stacks the rows of the sources into one matrix (as for Q, K and V): AllocateMatrix and UploadRows.
  // Requires at least one source; all have the same cols and format.
  Result<std::unique_ptr<Matrix>> Pack(std::span<const MatrixSource> sources);

  // Return the bytes of working memory that the steps of a model need, and allocate them. No step within
  // `limits` allocates more. Reserve returns kResourceExhausted, with the size, when they are not available.
  // Without Reserve each operation allocates what it needs: that is for tests and benchmarks of operations.
  virtual size_t ScratchBytes(const ModelShape& shape, const StepLimits& limits) const = 0;
  virtual Status Reserve(const ModelShape& shape, const StepLimits& limits) = 0;

  // Sets the batch for the operations that follow. The caller keeps `batch` and the memory that it points to
  // alive and unchanged until the last of them.
  virtual void BeginStep(const BatchView& batch) = 0;

  // out[r] = row number tokens[r] of `table`, as f32, for the tokens of the batch. out: [rows][table.cols()].
  virtual void Embed(const Matrix& table, float* out) = 0;
  // out[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight. x, out: [rows][dim]; out may be x.
  virtual void RmsNorm(const float* x, const float* weight, float eps, int rows, int dim, float* out) = 0;
  // y[r][n] (+)= sum over k of x[r][k] w[n][k]. x: [rows][w.cols()], y: [rows][w.rows()]. In version
  // cpu-4, x is rounded to bf16 if w is, and quantised if w is. The parts of a stack are multiplied in turn.
  void Gemm(const Matrix& w, const float* x, int rows, float* y, GemmOutput output);
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
  // tile (numerics rule 7) in which the first window begins need not be valid.
  // q: first head of row 0, rows `stride` floats apart. out: [rows][heads * head_dim].
  virtual void Attention(const float* q, int stride, const AttentionParams& params, int layer,
                         const KvPool& pool, float* out) = 0;
  // What the calls of Attention since BeginStep have read. `ref` does not count.
  virtual AttentionReads attention_reads() const { return {}; }
  // out[r][i] = activation(x[r][i]) * x[r][width + i]. x: [rows][2 * width], out: [rows][width].
  virtual void GatedActivation(Activation activation, const float* x, int rows, int width, float* out) = 0;
  // out[i] = x[indices[i]]. x: [..][dim], out: [indices.size()][dim]. Every index is >= 0.
  virtual void GatherRows(const float* x, std::span<const int> indices, int dim, float* out) = 0;
  // Sets the results of the rows, as ReadLogits does. logits: [rows.size()][vocab], of the rows in their
  // order. A result depends on its own row alone. Returns the error of a row, if there is one; the results
  // are invalid then. Requires vocab > 0.
  virtual Status ReadRows(std::span<LogitRow> rows, const float* logits, int vocab) = 0;

 protected:
  // Gemm of a matrix that is no stack, with rows of y that are `stride` floats apart.
  virtual void Multiply(const Matrix& w, const float* x, int rows, float* y, int stride,
                        GemmOutput output) = 0;
};

}  // namespace prefixd
