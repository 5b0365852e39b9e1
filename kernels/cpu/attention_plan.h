// CpuAttention runs the attention of a batch as independent jobs on the threads. A job covers one sequence,
// one KV head and a run of positions. If there are too few jobs for the threads, as when one long sequence
// decodes, CpuAttention splits them: a unit of work is then one job over one span. The results of the units
// are folded in the order of the spans, as rule 7 of kernels/numerics.h says. One owner calls it.
//
// Invariants
//   1. Reserve allocates all memory, ScratchBytes bytes. Run allocates nothing.
//   2. The memory of a thread does not grow with the context. The units of split jobs run in waves of at most
//      AttentionLimits::wave_units units per thread. After a wave its results are folded into one total per
//      row, which the next wave continues.
//   3. The bits of a result depend neither on the number of threads nor on the size of a wave.
#pragma once

#include <span>

#include "base/status.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host_memory.h"
#include "kernels/operations.h"

namespace prefixd {

// The arguments of Operations::Attention.
struct AttentionArgs {
  AttentionParams params;
  const float* q;
  int stride;
  int layer;
  const KvPool* pool;
  float* out;
};

// What the calls of CpuAttention::Run have in common. All values are positive.
struct AttentionLimits {
  int heads = 0;  // a multiple of kv_heads
  int kv_heads = 0;
  int head_dim = 0;
  int max_rows = 0;  // of a step
  int context = 0;   // the largest number of tokens of a sequence
  // A thread without a unit waits for the end of the wave. With 16 units per thread that is at most 1/16 of
  // the time; it is less where the units are equal, because their number is a multiple of the threads.
  int wave_units = 16;

  friend bool operator==(const AttentionLimits&, const AttentionLimits&) = default;
};

class CpuAttention {
 public:
  CpuAttention(const cpu::Ops& ops, ThreadPool& threads) : ops_(ops), threads_(threads) {}

  // Returns the bytes that Reserve allocates.
  static size_t ScratchBytes(const cpu::Ops& ops, int threads, const AttentionLimits& limits);

  // Allocates the memory for batches within the limits, in place of what an earlier call allocated. Returns
  // kResourceExhausted, with the size, when it is not available; no call of Run may follow then.
  Status Reserve(const AttentionLimits& limits);

  // Implements Operations::Attention. Requires what operations.h states for its arguments, and that Reserve
  // has returned ok for limits that hold: the same heads, KV heads and head size, and no more rows and
  // tokens.
  void Run(const BatchView& batch, const AttentionArgs& args);

 private:
  // A run of positions of a sequence. Job number `piece * kv_heads + kv_head` is that of a piece and a head.
  struct Piece {
    const SequenceSpan* sequence;
    int first;  // row of the sequence
    int positions;
  };
  // The spans of one job that a wave computes. A job of one span is not split: `partials` is null.
  struct Segment {
    int job;
    int first_span, end_span;
    bool continued;   // earlier waves computed the job's spans before first_span
    float* partials;  // one slot per span; if continued, the total of the earlier spans is in a slot before
    int first_unit;   // number of units, and of positions to fold, in the segments before
    int first_fold;
  };
  // The sizes of the arrays. A slot holds the partial results of a job over one span: [position][head].
  struct Sizes {
    int positions;  // of a job, at most
    size_t worker_floats;
    size_t slot_floats;
    size_t slots;  // of a wave, without the one for the totals; 0: jobs are never split
    size_t pieces;
    size_t segments;
    size_t bytes;
  };
  // The next job and span to compute, and the segments of the current wave.
  struct Wave {
    int jobs;
    size_t slot_floats;  // for the jobs of this batch
    int slots;
    int job = 0;
    int span = 0;
    int segments = 0;
    int units = 0;
    int folds = 0;
  };

  static Sizes SizesFor(const cpu::Ops& ops, int threads, const AttentionLimits& limits);
  // Divides the memory into the arrays below.
  void Divide();
  void CheckLimits(const BatchView& batch, const AttentionArgs& args) const;
  void AddPieces(const SequenceSpan& sequence, const KvPool& pool);
  cpu::AttendJob MakeJob(int job, const AttentionArgs& args) const;
  float* worker_scratch(int worker) const { return workers_ + worker * sizes_.worker_floats; }

  void RunInWaves(int jobs, int most_positions, const AttentionArgs& args);
  void FillWave(Wave& wave, const AttentionArgs& args);
  void Attend(const Wave& wave, int unit, int worker, const AttentionArgs& args);
  void Fold(const Wave& wave, int unit, const AttentionArgs& args);

  const cpu::Ops& ops_;
  ThreadPool& threads_;
  AttentionLimits limits_;
  Sizes sizes_ = {};
  HostMemory memory_;
  float* workers_ = nullptr;  // [threads][worker_floats]
  float* slots_ = nullptr;    // a slot for the totals of a job that the next wave continues, then the wave's
  std::span<Piece> pieces_;
  std::span<Segment> segments_;
  size_t piece_count_ = 0;
};

}  // namespace prefixd
