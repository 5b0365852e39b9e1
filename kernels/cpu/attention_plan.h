// Attention of a batch as independent units for the threads: (sequence, KV head, run of positions), cut
// further by spans where that leaves threads idle, as when one long sequence decodes. One owner.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"

namespace prefixd {

// The block of a position, CHECKed to be in the table and in the pool.
BlockId BlockOf(const SequenceSpan& sequence, int position, const KvPool& pool);

// The arguments of Backend::Attention.
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
  void Run(const BatchView& batch, const AttentionArgs& args);

 private:
  // The results of one row's spans, to be folded.
  struct Folding {
    float* partials;
    int spans;
    float* out;  // the row's heads
  };

  void AddJobs(const SequenceSpan& sequence, const AttentionArgs& args);
  void CutBySpans(const AttentionArgs& args);
  void FoldSpans(const AttentionArgs& args);

  const cpu::Ops& ops_;
  ThreadPool& threads_;
  std::vector<cpu::AttendJob> jobs_;
  std::vector<cpu::AttendJob> whole_jobs_;
  std::vector<Folding> foldings_;
  size_t span_stride_ = 0;  // floats between the spans of one row
  Scratch partials_;
  std::vector<Scratch> scratch_;  // per worker
};

}  // namespace prefixd
