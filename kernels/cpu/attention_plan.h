// CpuAttention runs the attention of a step as independent jobs on the threads. A job is a piece of the step
// (attention_pieces.h) for one KV head, or for some where there are jobs enough and each has few positions,
// as when many sequences decode. The jobs of a round run together; those of the next round continue
// their results. If a round has too few jobs for the threads, as when one long sequence decodes, CpuAttention
// splits them: a unit of work is then one job over one span. The results of the units are folded in the order
// of the spans, as rule 7 of kernels/numerics.h says. One owner calls it.
//
// Invariants
//   1. Reserve allocates all memory, ScratchBytes bytes. Run allocates nothing.
//   2. The memory does not grow with the context beyond one span: it is some for each thread, and a total for
//      each row and head, in which the rounds leave their results for each other. The units of split jobs run
//      in waves of at most AttentionLimits::wave_units units per thread. After a wave its results are folded
//      into the totals, which the next wave continues.
//   3. The bits of a result depend neither on the number of threads, nor on the size of a wave, nor on what
//      the sequences of a step share.
//   4. A step is cut into pieces once for each window of its layers, as long as they have at most two.
#pragma once

#include <array>
#include <span>

#include "base/status.h"
#include "kernels/attention_reads.h"
#include "kernels/cpu/attention_pieces.h"
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

// What the steps of CpuAttention have in common. All values are positive.
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

  // Sets the batch for the calls of Run that follow. The caller keeps `batch` and the memory that it points
  // to alive and unchanged until the last of them.
  void BeginStep(const BatchView& batch);

  // Implements Operations::Attention. Requires what operations.h states for its arguments, and that Reserve
  // has returned ok for limits that hold: the same heads, KV heads and head size, and no more rows and
  // tokens.
  void Run(const AttentionArgs& args);

  // What the calls of Run since BeginStep have read.
  AttentionReads reads() const { return reads_; }

 private:
  // The pieces of the step for the layers with one window, in the blocks of one pool.
  struct Plan {
    AttentionPieces pieces;
    const KvPool* pool = nullptr;  // null: not planned in this step
    int window = 0;
  };
  // The spans of one job that a wave computes. A job of one span is not split: `partials` is null.
  struct Segment {
    int job;
    int first_span, end_span;
    float* partials;  // a slot for each span
    int first_unit;   // number of units, and of positions to fold, in the segments before
    int first_fold;
  };
  // The sizes of the arrays. A slot holds the partial results of a job over one span: [position][head].
  struct Sizes {
    int positions;  // of a job, at most
    size_t worker_floats;
    size_t total_floats;  // of all rows; 0: no job is ever split, and no piece is shared
    size_t slot_floats;
    size_t slots;  // of a wave; 0: jobs are never split
    size_t piece_bytes;
    size_t segments;
    size_t bytes;
  };
  // A round of the pieces of a plan. The jobs of a piece follow each other. Jobs of several KV heads read
  // faster. Those of the last pieces have one KV head each, so that no thread waits long for another. Waves
  // have jobs of one KV head.
  struct Round {
    std::span<const AttentionPiece> pieces;
    const AttentionArgs& args;
    int merged;         // number of the first pieces, whose jobs have several KV heads
    int kv_heads;       // of their jobs; the last job of a piece may have fewer. 1 if `merged` is 0
    int jobs_of_piece;  // number of the jobs of one of them
    int jobs;
  };
  // What a job computes: the KV heads first .. first + count - 1 of a piece.
  struct KvHeads {
    int piece, first, count;
  };
  // The next job and span to compute, and the segments of the current wave.
  struct Wave {
    size_t slot_floats;  // for the jobs of this round
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
  void CheckLimits(const AttentionArgs& args) const;
  const AttentionPieces& PiecesFor(const AttentionArgs& args);
  Round MakeRound(std::span<const AttentionPiece> pieces, const AttentionArgs& args) const;
  // The most KV heads that a job of the round should have. Requires that it has pieces.
  int HeadsTogether(std::span<const AttentionPiece> pieces, const KvLayout& layout) const;
  static KvHeads KvHeadsOf(const Round& round, int job);
  cpu::AttendJob MakeJob(const Round& round, int job) const;
  float* worker_scratch(int worker) const { return workers_ + worker * sizes_.worker_floats; }

  void RunRound(const Round& round);
  void RunInWaves(const Round& round, int most_positions);
  void FillWave(const Round& round, Wave& wave);
  void Attend(const Round& round, const Wave& wave, int unit, int worker);
  void Fold(const Round& round, const Wave& wave, int unit);

  const cpu::Ops& ops_;
  ThreadPool& threads_;
  AttentionLimits limits_;
  Sizes sizes_ = {};
  HostMemory memory_;
  float* workers_ = nullptr;  // [threads][worker_floats]
  float* totals_ = nullptr;   // [max_rows][heads][partial_floats]
  float* slots_ = nullptr;    // of a wave
  std::span<Segment> segments_;

  BatchView batch_;
  std::array<Plan, 2> plans_;
  size_t next_plan_ = 0;  // the one that the next new window replaces
  AttentionReads reads_;
};

}  // namespace prefixd
