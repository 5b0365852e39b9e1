// Backend and ModelRunner: the port through which the program computes. A backend is a device or an
// instruction set: it allocates memory for weights and KV and makes a runner for a model. A runner runs the
// steps of its model: one step computes all rows of a batch, stores their KV, and draws and scores tokens.
// The CPU backends (`ref`, `avx2`, `avx512`, `avx512bf16`) give bit-identical results, which
// kernels/numerics.h defines.
//
// Memory: kernels read and write backend memory (kernels/backend_memory.h). The caller never dereferences a
// pointer to it. What goes in is copied by Upload and UploadRows, and what comes out of a step is in host
// memory.
//
// Steps: Launch begins a step and returns; the backend computes it on threads or a device of its own.
// Collect waits for its end and gives its Status. The steps in flight, at most most_steps() of them, are
// computed and collected in the order of their launches. A step that is launched while another is in flight
// may take tokens that the other one draws (kernels/batch.h): so a device need not wait for the host between
// two tokens of a sequence.
//
// Threads: one owner (the engine thread; before that, the thread that loads the model) calls every member,
// except that any thread may call progress(), draw_cpu_seconds(), Done() and lost(), and UploadRows as it
// says.
//
// Invariants
//   1. An output row depends on the inputs of that row alone. It never depends on the number of rows,
//      sequences, threads or chunks, nor on the place of its KV blocks in the pool.
//   2. Attention reads K and V as stored, rounded or quantised to KvLayout::type. This includes K and V that
//      the same step stored.
//   3. StepMemory has all memory of a step, from the start, except for the log probabilities that its
//      LogitRows report.
//   4. Every launched step ends, also when the device fails; Collect then returns the error, and everything
//      that the step stored or drew is invalid. A step that takes tokens from a step that failed is invalid,
//      too, whatever its own Status is; it touches no memory but its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "kernels/attention_reads.h"
#include "kernels/backend_memory.h"
#include "kernels/batch.h"
#include "kernels/kv_layout.h"
#include "kernels/logit_row.h"
#include "kernels/model_plan.h"

namespace prefixd {

// What one step computes. The caller keeps all that it points to alive and unchanged until Collect. Where
// most_steps() is above 1, Launch has read it when it returns: then `logit_rows`, their results and `logits`
// stay alive until Collect, and the rest need not.
struct StepInput {
  BatchView batch;
  // Computed from the logits of the rows that they name: distinct rows of the batch, in any order. The step
  // writes their results.
  std::span<LogitRow> logit_rows;
  KvPool* pool = nullptr;   // stores the KV of the batch; of the runner's model
  float* logits = nullptr;  // host memory, [logit_rows.size()][vocab], for the logits; null: not wanted
};

// Bytes of backend memory that a runner allocates at its creation, beside the weights.
struct StepMemory {
  size_t activations = 0;  // of the rows of the largest step
  size_t scratch = 0;      // of attention, matrix products and draws
  size_t pinned = 0;       // beside it, of the host: what copies to a device of its own go through
  size_t total() const { return activations + scratch; }
};

// Gets the share of some memory that is allocated, again and again, the last time 1.
using MemoryProgress = std::function<void(double)>;

// A device that has a memory of its own.
struct DeviceInfo {
  std::string name;      // "NVIDIA H200"
  std::string versions;  // of the software that drives it
  uint64_t free_bytes = 0, bytes = 0;
};

class ModelRunner {
 public:
  virtual ~ModelRunner() = default;  // waits for the steps in flight
  virtual const ModelShape& shape() const = 0;
  virtual const StepLimits& limits() const = 0;
  virtual StepMemory memory() const = 0;

  // How many steps may be in flight; 1 or 2. A constant.
  virtual int most_steps() const { return 1; }
  // Begins a step. Calls `on_done`, if it is not empty, from any thread when the step has ended; on_done must
  // not call the runner. Requires fewer than most_steps() steps in flight, and a step within limits(). If it
  // takes tokens of a step before, that one is in flight.
  virtual void Launch(const StepInput& input, std::function<void()> on_done) = 0;
  // Returns whether the oldest step in flight has ended, so that Collect will not wait. False without a step.
  virtual bool Done() const = 0;
  // Waits for the end of the oldest step in flight. kUnavailable: the device failed.
  virtual Status Collect() = 0;
  // Of the step that was collected last. Zero: the backend does not count.
  virtual AttentionReads attention_reads() const { return {}; }
  // Grows while a step computes, at least once per layer, or once for a step in which every row decodes. So a
  // step in flight hangs when it stays equal for longer than that takes.
  virtual uint64_t progress() const = 0;
  // CPU time of the process while the steps so far computed the results of their logit_rows from the logits.
  // 0 where a device does that.
  virtual double draw_cpu_seconds() const { return 0; }
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
  // The device whose memory the backend allocates, as it is now. Empty: it is the memory of the host.
  // kUnavailable: the device failed.
  virtual Result<std::optional<DeviceInfo>> Device() { return std::optional<DeviceInfo>(); }
  // The device failed, and no process that has used it may use it again. All that computes returns
  // kUnavailable from then on.
  virtual bool lost() const { return false; }

  // Returns kResourceExhausted, with the requested size, when the memory is not available.
  virtual Result<std::unique_ptr<Buffer>> Allocate(size_t bytes) = 0;
  // A matrix whose rows UploadRows writes before it is used. The sizes are above 0, and the columns fit the
  // format. kResourceExhausted as for Allocate. kUnsupported: the backend has no kernels for the format.
  virtual Result<std::unique_ptr<Matrix>> AllocateMatrix(int rows, int cols, WeightFormat format) = 0;
  // Whether the backend multiplies with this format.
  virtual bool HasKernels(WeightFormat /*format*/) const { return true; }
  // The format to which weights are widened while they load, where there are no kernels for the type that
  // they have in files: that of the numbers which its products round to.
  virtual WeightFormat WideFormat() const { return WeightFormat::kBF16; }
  // Copies rows into a matrix of AllocateMatrix, from row `first_row` on; they have its cols and format. The
  // copy has ended on return. Any number of threads at a time. Each row is written once.
  // kUnavailable: the device failed.
  virtual Status UploadRows(Matrix& to, int first_row, const MatrixSource& from) = 0;
  // Makes one matrix of matrices of AllocateMatrix or MakeDummy with the same cols: their rows one below the
  // other, each in its own format. Requires at least one. kUnsupported: the backend has no kernels for it.
  virtual Result<std::unique_ptr<Matrix>> Stack(std::vector<std::unique_ptr<Matrix>> parts) = 0;
  // How many threads at a time are of use for UploadRows. > 0.
  virtual int upload_threads() const = 0;
  // Makes the same matrix as UploadRows of a source that has these weights, where it will be used.
  virtual Result<std::unique_ptr<Matrix>> MakeDummy(const DummyMatrix& dummy) = 0;
  // Returns the Matrix::bytes() of a matrix of these sizes.
  virtual size_t PackedBytes(int rows, int cols, WeightFormat format) const = 0;
  // A pool for steps, in the order that kernels read fastest.
  // kUnsupported: the backend has no kernels for the type of the layout.
  virtual Result<std::unique_ptr<KvPool>> AllocateKv(const KvLayout& layout, uint32_t blocks) = 0;
  // A pool in host memory, for the host tier, in the order kBlocks. The planes of its blocks have the order
  // of this backend. What they have before they are written is not defined. Where this takes long, it calls
  // `progress`, which may be empty.
  virtual Result<std::unique_ptr<KvPool>> AllocateHostKv(const KvLayout& layout, uint32_t blocks,
                                                         const MemoryProgress& progress) = 0;
  // For pools of AllocateKv with this layout.
  virtual Result<std::unique_ptr<KvCopier>> CreateKvCopier(const KvLayout& layout) = 0;
  // Copies host memory into `to` at byte `offset`. Requires offset + from.size() <= to.bytes().
  virtual void Upload(Buffer& to, size_t offset, std::span<const std::byte> from) = 0;
  // Copies one whole block inside a pool. The copy comes after the steps launched before it and before those
  // launched after it. Requires that no step is in flight.
  virtual void CopyBlock(KvPool& pool, BlockId from, BlockId to) = 0;

  // Returns the memory() of a runner with these arguments.
  virtual StepMemory StepMemoryFor(const ModelShape& shape, const StepLimits& limits) const = 0;
  // Makes the runner of a model whose weights this backend packed. The backend must outlive it, and has at
  // most one runner at a time. Returns
  // kResourceExhausted, with the size, when the memory is not available. Requires positive limits, and
  // limits.context <= plan.weights.positions.
  virtual Result<std::unique_ptr<ModelRunner>> CreateRunner(ModelPlan plan, const StepLimits& limits) = 0;
};

}  // namespace prefixd
