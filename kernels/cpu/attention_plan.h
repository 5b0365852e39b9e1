// CpuAttention runs the attention of a batch as independent jobs on the threads. A job covers one sequence,
// one KV head and a run of positions. If there are too few jobs for the threads, as when one long sequence
// decodes, it splits the jobs further by spans. One owner calls it.
#pragma once

#include <vector>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"
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

class CpuAttention {
 public:
  CpuAttention(const cpu::Ops& ops, ThreadPool& threads)
      : ops_(ops), threads_(threads), scratch_(threads.threads()) {}
  // Implements Operations::Attention. Requires what operations.h states for its arguments.
  void Run(const BatchView& batch, const AttentionArgs& args);

 private:
  // Combines the partial results of one position's spans, for all heads of one KV head.
  struct FoldJob {
    float* partials;
    int spans;
    float* out;  // the position's heads
  };

  void AddJobs(const SequenceSpan& sequence, const AttentionArgs& args);
  void SplitBySpans(const AttentionArgs& args);
  void FoldSpans(const AttentionArgs& args);

  const cpu::Ops& ops_;
  ThreadPool& threads_;
  std::vector<cpu::AttendJob> jobs_;
  std::vector<cpu::AttendJob> unsplit_jobs_;
  std::vector<FoldJob> fold_jobs_;
  size_t span_stride_ = 0;  // floats between the spans of one position
  Scratch partials_;
  std::vector<Scratch> scratch_;  // per worker
};

}  // namespace prefixd
